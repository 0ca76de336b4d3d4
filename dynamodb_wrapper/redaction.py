"""Find secrets in settings and take them out of texts.

A key is split into words at ``._-`` and at changes of case; it is secret when the words hold one
of the listed terms and the key is not one of the listed exceptions. A value is secret when it looks
like a credential, under any key. This finds what looks like a secret; it cannot find every one.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

REFERENCE_SCHEMES = ("secretsmanager", "ssm", "env", "databricks", "vault")
REDACTED = "***"
_SHORTEST_SECRET = 8  # a placeholder such as "local" is a word that texts need
_SECRET_TERMS: tuple[tuple[str, ...], ...] = (
    ("password",),
    ("passwd",),
    ("pwd",),
    ("passphrase",),
    ("pass",),
    ("secret",),
    ("secrets",),
    ("token",),
    ("credential",),
    ("credentials",),
    ("apikey",),
    ("api", "key"),
    ("private", "key"),
    ("access", "key"),
    ("account", "key"),
    ("shared", "key"),
    ("encryption", "key"),
    ("connection", "string"),
    ("sas",),
    ("jaas",),
    ("authorization",),
)
# The last word says that the value only describes a secret, or names a column that holds one.
_HARMLESS_LAST_WORDS = frozenset(
    "name arn column columns field fields id type mechanism provider class path url uri endpoint "
    "enabled required length ttl expiry location ref reference count".split()
)
_HARMLESS_KEYS = frozenset({"max_tokens", "token_count", "tokens_per_second", "secret_scope"})
_WORDS = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+")
_REFERENCE = re.compile(rf"^({'|'.join(REFERENCE_SCHEMES)}):\S+$")
# Every pattern is anchored where it can begin and bounded where it repeats, so that the time grows
# with the length of the text and not with its square.
_VALUE_PATTERNS = (
    (
        "a password in a URL",
        re.compile(
            r"(?P<keep>(?<![\w+.\-])[a-zA-Z][\w+.\-]{0,30}://[^\s/:@]{0,256}:)[^\s/]{1,512}(?=@)"
        ),
    ),
    (
        "a password or signature in a connection string",
        re.compile(
            r"(?P<keep>[;?&](?:password|passwd|pwd|secret|token|sig|signature|accountkey)=)[^;&\s]+",
            re.IGNORECASE,
        ),
    ),
    ("an AWS access key id", re.compile(r"(?P<keep>)(?<![A-Z0-9])(?:AKIA|ASIA)[A-Z0-9]{16}\b")),
    (
        "a private key",
        re.compile(
            r"(?P<keep>)-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----"
            r"(?:.*?-----END [A-Z ]{0,40}PRIVATE KEY-----|.*)",
            re.DOTALL,
        ),
    ),
    (
        "a JSON web token",
        re.compile(r"(?P<keep>)(?<![\w\-.])eyJ[\w-]{8,4096}\.[\w-]{8,8192}\.[\w-]{0,2048}"),
    ),
)
_ASSIGNED_NAME = re.compile(r"(?<![\w.\-])(?P<key>[A-Za-z][\w.\-]{0,127})[\"']?\s{0,8}[=:]\s{0,8}")
_ASSIGNED_VALUE = re.compile(  # b'…' as well: the SDK logs headers as bytes
    r"[bB]?\"[^\"\n]*\"|[bB]?'[^'\n]*'|(?:(?:Bearer|Basic)\s+)?[^\s\"',;&}]+", re.IGNORECASE
)
# The replies of STS, which the SDK logs, are XML.
_ELEMENT = re.compile(r"<(?P<key>[A-Za-z][\w.\-]{0,127})>[^<>]{1,16384}(?=</)")
# pydantic's own texts show the refused value.
_PYDANTIC_INPUT = re.compile(r"(?P<keep>\binput_value=)[^\n]{1,2000}(?=, input_type=)")
CUT = " …[cut]"
_KEPT_CHARACTERS = 32_768  # more than is stored, so that no secret is cut in two unseen


@lru_cache(maxsize=4096)
def is_secret_key(key: str) -> bool:
    """Return whether a setting of this name is expected to hold a secret."""
    words = [word.lower() for word in _WORDS.findall(key)]
    if not words or "_".join(words) in _HARMLESS_KEYS or words[-1] in _HARMLESS_LAST_WORDS:
        # An access key id is a credential all the same.
        return words[-3:] == ["access", "key", "id"]
    if words[-1].endswith(("password", "passwd")):  # PGPASSWORD
        return True
    return any(_contains(words, term) for term in _SECRET_TERMS)


def is_reference(value: object) -> bool:
    """Return whether a value refers to a secret, as ``secretsmanager:…`` and ``env:…`` do."""
    return isinstance(value, str) and bool(_REFERENCE.fullmatch(value))


def find_secrets(value: object, path: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
    """Yield ``(path, reason)`` of each literal secret inside nested dicts and lists."""
    if isinstance(value, dict):
        for key, inner in value.items():
            inner_path = (*path, str(key))
            if is_secret_key(str(key)) and _is_literal(inner):
                yield ".".join(inner_path), "its name says it is a secret"
            else:
                yield from find_secrets(inner, inner_path)
    elif isinstance(value, (list, tuple, set, frozenset)):
        for position, inner in enumerate(value):
            yield from find_secrets(inner, (*path, str(position)))
    elif isinstance(value, str):
        for reason, pattern in _VALUE_PATTERNS:
            if pattern.search(value):
                yield ".".join(path) or "value", f"it holds {reason}"
                return


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """Return the text with known secret values and everything that looks like one taken out."""
    text = redact_known(text, secrets)
    for _, pattern in _VALUE_PATTERNS:
        text = pattern.sub(lambda match: match["keep"] + REDACTED, text)
    text = _PYDANTIC_INPUT.sub(rf"\g<keep>{REDACTED}", text)
    if "</" in text:
        text = _ELEMENT.sub(_without_content, text)
    return _redact_assignments(text)


def redact_known(text: str, secrets: Iterable[str]) -> str:
    """Return the text with known secret values taken out, and nothing else."""
    for secret in sorted({s for s in secrets if len(s) >= _SHORTEST_SECRET}, key=len, reverse=True):
        text = text.replace(secret, REDACTED)
    return text


def redact_values(value: Any, secrets: Iterable[str] = ()) -> Any:
    """Return a copy of nested dicts and lists with every secret replaced.

    In keys only known secrets are replaced: a key that looks like a secret is a name.
    """
    known = tuple(secrets)
    if isinstance(value, dict):
        return {
            redact_known(key, known) if isinstance(key, str) else key: REDACTED
            if is_secret_key(str(key)) and _is_literal(inner)
            else redact_values(inner, known)
            for key, inner in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [redact_values(inner, known) for inner in value]
    return redact(value, known) if isinstance(value, str) else value


def _contains(words: list[str], term: tuple[str, ...]) -> bool:
    size = len(term)
    return any(tuple(words[i : i + size]) == term for i in range(len(words) - size + 1))


def _is_literal(value: object) -> bool:
    if isinstance(value, (dict, list, tuple)):
        return any(_is_literal(v) for v in (value.values() if isinstance(value, dict) else value))
    return value not in (None, "", True, False) and not is_reference(value)


def _without_content(element: re.Match[str]) -> str:
    return f"<{element['key']}>{REDACTED}" if is_secret_key(element["key"]) else element[0]


def _redact_assignments(text: str) -> str:
    """Remove the values of secret names; values of other names are searched for secrets."""
    kept, begin, place = [], 0, 0
    while name := _ASSIGNED_NAME.search(text, place):
        place = name.end()
        value = _ASSIGNED_VALUE.match(text, place) if is_secret_key(name["key"]) else None
        if value is None or is_reference(value[0].strip("\"'")):
            continue
        bare = value[0].lstrip("bB")
        quote = bare[0] if bare and bare[0] in "\"'" and len(bare) > 1 else ""
        prefix = value[0][: len(value[0]) - len(bare)] if quote else ""
        kept.append(f"{text[begin:place]}{prefix}{quote}{REDACTED}{quote}")
        begin = place = value.end()
    return "".join([*kept, text[begin:]])


def stored_text(text: str, secrets: Iterable[str], size_bytes: int) -> str:
    """Return the beginning of a text without secrets; a cut is marked."""
    return head(presentable(text, secrets), size_bytes)


def without_known(value: Any, secrets: Iterable[str]) -> Any:
    """Return a copy of a value with known secrets taken out of every text in it, keys included.

    What holds none is returned as it is: dicts, lists, and models of pydantic.
    """
    known = tuple(secrets)
    if isinstance(value, str):
        clean = redact_known(value, known)
        return value if clean == value else clean
    if isinstance(value, dict):
        return {without_known(k, known): without_known(v, known) for k, v in value.items()}
    if isinstance(value, tuple):
        return tuple(without_known(inner, known) for inner in value)
    if isinstance(value, list):
        return [without_known(inner, known) for inner in value]
    if isinstance(value, BaseModel):
        fields = {name: without_known(inner, known) for name, inner in value}
        return value.model_copy(update=fields)
    return value


def presentable(text: str, secrets: Iterable[str], *, kept: int = _KEPT_CHARACTERS) -> str:
    """Return a text as UTF-8 and without secrets; the middle of a very long one is left out.

    Args:
        text: The text.
        secrets: Values to take out.
        kept: Characters kept of each end.
    """
    known = tuple(secrets)
    clean = redact_known(text.encode("utf-8", "replace").decode(), known)
    if len(clean) > 2 * kept:
        clean = f"{clean[:kept]}{CUT}{clean[-kept:]}"
    return redact(clean, known)


def head(text: str, size_bytes: int) -> str:
    """Return the beginning of a text; a cut is marked."""
    raw = text.encode()
    if len(raw) <= size_bytes:
        return text
    return raw[: size_bytes - len(CUT.encode())].decode("utf-8", "ignore") + CUT


def tail(text: str, size_bytes: int) -> str | None:
    """Return the end of a text that is longer than this; None where the head holds all of it."""
    raw = text.encode()
    if len(raw) <= size_bytes:
        return None
    return CUT + raw[-(size_bytes - len(CUT.encode())) :].decode("utf-8", "ignore")
