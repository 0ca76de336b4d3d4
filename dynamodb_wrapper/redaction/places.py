"""Places of a text that have names: what stands there beside the name of a secret is taken out.

Every pattern is anchored where it can begin and bounded where it repeats, so that the time grows
with the length of a text and not with its square.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from dynamodb_wrapper.redaction.names import is_password, is_secret_key
from dynamodb_wrapper.redaction.shapes import REDACTED
from dynamodb_wrapper.redaction.values import (
    can_be_bare_secret,
    can_be_secret,
    is_word,
    looks_random,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_NAMES = tuple(
    "pass pwd pw secret token credential key connection sas jaas auth cookie signature".split()
)
_COMMANDS = (
    *("mysql", "mariadb", "curl", "http ", "https ", "wget", "redis-cli", "ldap", "identified"),
    *("mongo", "docker", "podman", "helm", "az login", "sqlcmd", "bcp", "sshpass"),
)
_LONGEST_VALUE = 16_384
_LONGEST_BRACKET = 4096
_BRACKETS = 50_000  # looked at in one text; after that a list ends at its first closing bracket
_CLOSING = {"(": ")", "[": "]", "{": "}"}
_PROSE = frozenset(
    "to or and is are instead option options flag flags argument arguments if in for with was not "
    "must can when on from of the a an as at by file first was has have value it be you "
    "your".split()
)
_ARGUMENT = r"(?:\s+|[\"']\s{0,4},\s{0,4}[bBuU]?[\"'])"  # between the words of a command


class Place(NamedTuple):
    """A kind of place; its pattern has a part ``keep``, a part ``value``, perhaps a ``key``."""

    hint: tuple[str, ...]
    pattern: re.Pattern[str]
    holds: Callable[[str, str], bool]


class Span(NamedTuple):
    """Where a secret stands in a text."""

    begin: int
    end: int


def _always(_key: str, value: str) -> bool:
    return bool(value.strip("*")) and not value.startswith(("//", "$"))


def _named(key: str, value: str) -> bool:
    return is_secret_key(key) and can_be_secret(key, value)


def _argument(key: str, value: str) -> bool:
    if not _named(key, value) or value.startswith("-") or value.lower() in _PROSE:
        return False
    return can_be_bare_secret(key, value)


def _pair(key: str, value: str) -> bool:
    # ["password", "user"] names two columns.
    return _named(key, value) and not (is_word(value) and value.islower() and "." not in key)


@lru_cache(maxsize=1)
def _places() -> tuple[Place, ...]:
    compiled = re.compile
    name = r"[A-Za-z_][\w.\-]{0,127}"
    quoted = r"[bBuU]?(?P<q>[\"'])(?P<value>(?:\\.|(?!(?P=q))[^\\\n]){1,8192})(?=(?P=q))"
    return (
        Place(  # elements of XML, such as the replies of STS, and properties of Hadoop
            ("</",),
            compiled(
                rf"(?P<keep><(?:\w{{1,32}}:)?(?P<key>{name})(?:\s[^<>]{{0,200}})?>"
                r"(?:<!\[CDATA\[)?)(?P<value>[^<>\]]{1,16384})(?=</|\]\]>)"
            ),
            _named,
        ),
        Place(
            ("<value>",),
            compiled(
                rf"(?P<keep><name>\s{{0,8}}(?P<key>{name})\s{{0,8}}</name>\s{{0,64}}<value>)"
                r"(?P<value>[^<>]{1,16384})(?=</)"
            ),
            _named,
        ),
        Place(  # {"name": "DB_PASSWORD", "value": "x"}, and the same in YAML
            ("value",),
            compiled(
                rf"(?P<keep>\\*[\"']?\b(?:name|key)\\*[\"']?\s{{0,4}}[:=]\s{{0,4}}\\*[\"']?"
                rf"(?P<key>/?{name}(?:/[\w.\-]{{1,64}}){{0,8}})\\*[\"']?\s{{0,4}},?\s{{0,64}}"
                rf"(?:\\*[\"']?\w{{1,32}}\\*[\"']?\s{{0,4}}:\s{{0,4}}\\*[\"']?[\w\-]{{0,64}}\\*[\"']?,\s{{0,64}}){{0,3}}"
                rf"\\*[\"']?value\\*[\"']?\s{{0,4}}[:=]"
                r"\s{0,4}\\*[\"']?)(?P<value>[^\s\"'\\,;}]{1,8192})",
                re.IGNORECASE,
            ),
            _named,
        ),
        Place(  # ('spark.x.secret.key', 'x'), (b'authorization', b'x')
            ("',", '",', "' ,", '" ,'),
            compiled(
                rf"(?P<keep>[(\[]\s{{0,4}}[bBuU]?(?P<n>[\"'])(?P<key>{name})(?P=n)\s{{0,4}},\s{{0,4}}"
                r"[bBuU]?(?P<q>[\"']))(?P<value>(?:\\.|(?!(?P=q))[^\\\n]){1,8192})"
                r"(?=(?P=q)\s{0,4},?\s{0,4}[)\]])"
            ),
            _pair,
        ),
        Place(  # --password x, -Password x, ['--password', 'x']
            ("-",),
            compiled(
                rf"(?P<keep>(?<![\w\-])-{{1,2}}(?P<key>{name}){_ARGUMENT}[\"']?)"
                r"(?P<value>(?<=[\"'])[^\"'\n]{1,8192}(?=[\"'])|[^\s\"',;]{1,8192})"
            ),
            _argument,
        ),
        Place(
            (" set ", " add ", "'set'", '"set"'),
            compiled(
                rf"(?P<keep>\b(?:config|configure|env|secret){_ARGUMENT}(?:set|add){_ARGUMENT}"
                rf"(?P<key>{name}){_ARGUMENT}[\"']?)(?P<value>[^\s\"',;]{{1,8192}})"
            ),
            _argument,
        ),
        Place(  # mysql -px, sshpass -p x
            ("mysql", "mariadb", "sshpass", "mongo", "docker login", "az login", "psql", "pgcli"),
            compiled(
                r"(?P<keep>\b(?:mysql\w{0,8}|mariadb\w{0,8}|sshpass)\b[^\n|;]{0,120}?"
                r"(?<![\w\-])-p)(?P<value>[^\s\"',;\-][^\s\"',;]{2,256})"
            ),
            _always,
        ),
        Place(
            ("sshpass", "mongo", "docker", "podman", "helm", "az login", "sqlcmd", "bcp"),
            compiled(
                rf"(?P<keep>\b(?:sshpass|mongo\w{{0,8}}|docker{_ARGUMENT}login|podman{_ARGUMENT}login|"
                rf"helm|az{_ARGUMENT}login|sqlcmd|bcp)\b[^\n|;]{{0,120}}?(?<![\w\-])-[pP]{_ARGUMENT}"
                r"[\"']?)(?P<value>[^\s\"',;\-][^\s\"',;]{2,256})"
            ),
            _always,
        ),
        Place(
            ("redis-cli", "ldapsearch", "ldapmodify"),
            compiled(
                rf"(?P<keep>\b(?:redis-cli|ldap\w{{1,12}})\b[^\n|;]{{0,120}}?(?<![\w\-])-[aw]{_ARGUMENT}"
                r"[\"']?)(?P<value>[^\s\"',;\-][^\s\"',;]{2,256})"
            ),
            _always,
        ),
        Place(  # curl -u user:x
            ("curl", "http", "wget"),
            compiled(
                rf"(?P<keep>(?<![\w/:.])(?:curl|https?|wget)(?=[\s\"'])[^\n|;]{{0,120}}?(?<![\w\-])"
                rf"(?:-u|-a|--user|--auth|--proxy-user)(?:=|\s{{0,4}}|{_ARGUMENT})[\"']?"
                r"[^\s\"':,]{1,128}:)(?P<value>[^\s\"',]{1,256})"
            ),
            _always,
        ),
        Place(  # CREATE USER x IDENTIFIED BY 'x', ALTER ROLE x WITH PASSWORD 'x'
            ("identified", "password", "secret", "token"),
            compiled(
                rf"(?P<keep>\b(?:IDENTIFIED\s+(?:BY|AS|WITH\s+[\w'\"]{{1,40}}\s+(?:BY|AS))(?:\s+PASSWORD)?|"
                r"(?:WITH|ENCRYPTED|UNENCRYPTED|ROLE\s+\S{1,64}|USER\s+\S{1,64})\s+PASSWORD|"
                r"(?<![\"'])PASSWORD)\s{1,8})"
                rf"{quoted}",
                re.IGNORECASE,
            ),
            lambda _, value: (
                can_be_secret("password", value) and not (is_word(value) and len(value) <= 3)
            ),
        ),
        Place(
            ("set password", "secret '", 'secret "', "auth("),
            compiled(
                r"(?P<keep>\bSET\s+PASSWORD\s+FOR\s+\S{1,64}\s{0,4}=\s{0,4}(?:PASSWORD\(\s{0,4})?|"
                r"[,(]\s{0,8}SECRET\s{1,8}|"
                rf"Auth\(\s{{0,4}}[\"'][^\"'\n]{{0,128}}[\"']\s{{0,4}},\s{{0,4}}){quoted}",
                re.IGNORECASE,
            ),
            lambda _, value: can_be_secret("password", value),
        ),
        Place(
            ("identified by",),
            compiled(r"(?P<keep>\bIDENTIFIED\s+BY\s+)(?P<value>[^\s\"';,]{3,256})", re.IGNORECASE),
            lambda _, value: value.upper() not in ("PASSWORD", "VALUES", "EXTERNAL"),
        ),
        Place(  # password: | and indented lines
            ("|", ">"),
            compiled(
                rf"(?P<keep>^(?P<i>[ \t]{{0,64}})(?:- )?[\"']?(?P<key>{name})[\"']?:"
                r"[ \t]{0,8}[|>][+\-\d]{0,2}[ \t]{0,8}\n)"
                r"(?P<value>(?:(?P=i)[ \t]{1,64}\S[^\n]{0,2000}(?:\n|\Z)){1,200})",
                re.MULTILINE,
            ),
            lambda key, value: is_secret_key(key) and bool(value.strip()),
        ),
    )


@lru_cache(maxsize=1)
def _assigned() -> re.Pattern[str]:
    # a dict's key may have escaped quotes, a subscript a bracket, an annotation a type
    return re.compile(
        r"(?:(?<![\w.\-])|(?<=%2[0267C])|(?<=%3F)|(?<=%7B))-{0,2}(?P<key>[A-Za-z_][\w.\-]{0,127})"
        r"(?P<quote>\\{0,7}[\"']|%22|%27)?\]?\s{0,8}"
        r"(?P<sep>=>|:=|=(?![=~])|:(?![:/]{1,2}/)"
        r"(?:\s{0,4}[A-Za-z_][\w.\[\]| ]{0,40}\s{0,4}=(?!=))?|%3[AD](?:%20|\+){0,4})\s{0,8}"
    )


@lru_cache(maxsize=1)
def _bare() -> re.Pattern[str]:
    return re.compile(
        r"(?:(?:Bearer|Basic|Token|Digest|ApiKey)\s+)?[^\s\"',;&}\]]{1,8192}", re.IGNORECASE
    )


_OPENING = re.compile(r"[bBuUrRfF]{0,2}(?P<q>\\{0,7}(?:\"\"\"|'''|[\"'])|%22|%27)")
_STRINGS = re.compile(r"\\{0,7}([\"'])((?:(?!\1)[^\\]){0,2048})\\{0,7}\1(\s{0,4}:)?")
_CLAUSE = re.compile(r"[^,;}\n\"']{0,200}")


def find_places(text: str) -> Iterator[str]:
    """Yield the names beside which a text holds secrets."""
    lower = text.lower()
    if any(hint in lower for hint in _NAMES):
        for key, _ in _assignments(text):
            yield key
            return
        for place in _places():
            for match in _matches(place, text, lower):
                yield match.groupdict().get("key") or "a password"
                return


def without_places(text: str) -> str:
    """Return a text without the values of secret names."""
    lower = text.lower()
    if not any(hint in lower for hint in (*_NAMES, *_COMMANDS)):
        return text
    for place in _places():
        spans = [Span(*match.span("value")) for match in _matches(place, text, lower)]
        if spans:
            text = _cut(text, spans)
            lower = text.lower()
    return _cut(text, [span for _, span in _assignments(text)])


def _matches(place: Place, text: str, lower: str) -> Iterator[re.Match[str]]:
    if not any(hint in lower for hint in place.hint):
        return
    for match in place.pattern.finditer(text):
        if place.holds(match.groupdict().get("key") or "", match["value"]):
            yield match


def _cut(text: str, spans: list[Span]) -> str:
    kept, place = [], 0
    for span in spans:
        if span.begin >= place:
            kept += [text[place : span.begin], REDACTED]
            place = span.end
    return "".join([*kept, text[place:]])


def _assignments(text: str) -> Iterator[tuple[str, Span]]:
    """Yield the secret names of a text that are given a value, and where the value stands."""
    place, budget = 0, [_BRACKETS]
    while name := _assigned().search(text, place):
        place = max(name.end(), place + 1)
        key = name["key"]
        dashes = text[name.start() : name.start("key")]
        if dashes == "-" and key[0] == "D":
            key = key[1:]  # -Dpassword=x
        if not key or not is_secret_key(key):
            place = name.end("key")  # the value of another name may have names in it
            continue
        before = text[name.start() - 1 : name.start()] if name.start() else ""
        if before == "/" and not name["quote"]:
            continue  # a part of a path: s3://bucket/token=2024/
        if before == ":" and name["sep"] == ":" and text[name.end() - 1] == ":":
            continue  # a part of an ARN
        span = _value(text, name, key, budget)
        if span is not None:
            place = span.end
            yield key, span


def _value(text: str, name: re.Match[str], key: str, budget: list[int]) -> Span | None:
    """Return where the value after a name stands; None where it is no secret."""
    place = name.end()
    opening = _OPENING.match(text, place)
    if opening is not None:
        span = Span(opening.end(), _closing_quote(text, opening))
        content = text[span.begin : span.end]
        if not can_be_secret(key, content) or _is_expression(content):
            return None
        if name["quote"] or name["sep"] != ":":
            return span
        follows = text[span.end : span.end + 3].lstrip("\"'\\")
        if not _is_in_prose(text, name) and not (follows[:1] == " " and follows[1:2].isalpha()):
            return span
        return span if looks_random(content) else None
    if text[place : place + 1] in _CLOSING:
        return _bracket(text, place, key, budget)
    bare = _bare().match(text, place)
    if bare is None:
        return None
    if bare[0].isalnum() and looks_random(bare[0]):
        return Span(*bare.span())
    if not can_be_bare_secret(key, bare[0].partition(" ")[2] or bare[0].rstrip(",.)")):
        return None
    content = bare[0].rstrip(")>.:") if bare[0].count("(") < bare[0].count(")") else bare[0]
    content = content.rstrip(">.:") if not content.endswith("...") else content
    content = re.split(r"%2[26]|%7[Dd]|%2[Cc]|\\[nrt\"']|\\u00", content)[0] or content
    if not can_be_bare_secret(key, content.partition(" ")[2] or content):
        return None
    if not name["quote"] and _is_prose(text, name, content):
        return None
    return Span(place, place + len(content))


def _closing_quote(text: str, opening: re.Match[str]) -> int:
    """Return where a quoted value ends: at the same quote, with as many backslashes."""
    quote, place = opening["q"], opening.end()
    limit = min(len(text), place + _LONGEST_VALUE)
    while (end := text.find(quote, place, limit)) >= 0:
        escapes = _backslashes(text, end)
        if quote[0] == "%" or (escapes == 0 if quote[0] == "\\" else escapes % 2 == 0):
            return end
        place = end + 1
    line = text.find("\n", opening.end(), limit)
    return limit if line < 0 else line


def _backslashes(text: str, end: int) -> int:
    count = 0
    while end - count > 0 and text[end - count - 1] == "\\" and count < 8:
        count += 1
    return count


def _is_expression(content: str) -> bool:
    """Return whether a quoted text is a template: "password={password}"."""
    return content.startswith(("{", "%(", "${")) and content.endswith(("}", ")s"))


def _bracket(text: str, place: int, key: str, budget: list[int]) -> Span | None:
    """Return the content of a list, tuple or dict, if a text in it can be a secret."""
    opening, limit = text[place], min(len(text), place + _LONGEST_BRACKET)
    closing, depth = _CLOSING[opening], 0
    end = text.find(closing, place, limit)
    if end < 0:
        end = limit = min(len(text), place + _LONGEST_BRACKET // 16)
    elif budget[0] > 0:
        for match in _brackets(opening, closing).finditer(text, place, limit):
            budget[0] -= 1
            depth += 1 if match[0] == opening else -1
            if depth == 0:
                end = match.start()
                break
    inner = text[place + 1 : end]
    if any(not found[3] and can_be_secret(key, found[2]) for found in _STRINGS.finditer(inner)):
        return Span(place + 1, end)
    # [x, y] without quotes, as YAML and settings write lists
    bare = [part.strip() for part in inner.split(",")] if opening == "[" and end < limit else []
    is_bare = any(looks_random(part) and can_be_bare_secret(key, part) for part in bare)
    return Span(place + 1, end) if is_bare and "(" not in inner else None


@lru_cache(maxsize=8)
def _brackets(opening: str, closing: str) -> re.Pattern[str]:
    return re.compile(rf"[{re.escape(opening + closing)}]")


def _is_prose(text: str, name: re.Match[str], content: str) -> bool:
    """Return whether name and value are words of a sentence, or of source code."""
    if name["sep"].startswith("="):
        is_spaced = text[name.end("key") : name.end("key") + 1] == " "
        is_code = is_spaced and content.replace("_", "").replace(".", "").isalpha()
        return is_code and not is_password(name["key"])
    if name["sep"] != ":":
        return False
    if text[name.end() - 1] == "\n" and not is_password(name["key"]):
        return True
    words = _CLAUSE.match(text, name.end())[0].split()  # type: ignore[index]
    if len(words) > 1 and is_word(words[0]) and content == words[0].rstrip(">.:"):
        return True
    return is_word(content) and (_is_in_prose(text, name) or content.lower() in _PROSE)


def _is_in_prose(text: str, name: re.Match[str]) -> bool:
    """Return whether a word of prose stands before the name in its line."""
    before = text[max(0, name.start() - 80) : name.start()].rpartition("\n")[2]
    if not before.endswith(" ") or not before.strip():
        return False
    word = before.split()[-1]
    return is_word(word) and not word.endswith((",", ";", ":", "|"))
