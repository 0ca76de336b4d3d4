"""Decide whether a value can be a secret: most that stand beside the name of one are none."""

from __future__ import annotations

import re
from functools import lru_cache

from dynamodb_wrapper.redaction.names import is_password, is_secret_key, is_weak

REFERENCE_SCHEMES = ("secretsmanager", "ssm", "env", "databricks", "vault")
PLAIN = "plain:"
"""Marks a value that is none, although its name or form says so."""

_NOTHING = frozenset(
    "none null nil true false yes no on off undefined nan na unset empty redacted hidden masked "
    "default auto n/a".split()
)
_TYPES = frozenset(
    "str int bytes bool float string optional secretstr any list dict object varchar text integer "
    "boolean".split()
)
_STATES = frozenset(
    "incorrect invalid expired wrong missing required expected unexpected unknown changed ok okay "
    "not failed failure denied rejected accepted valid found given set reset error the a an is was "
    "must cannot could should does did has have had are".split()
)
_DIGITS = re.compile(r"[+-]?[\d_,]+(?:\.\d+)?(?:[a-zA-Z%]{1,3})?")
_DATE = re.compile(r"\d{4}-\d\d-\d\d(?:[T ][\d:.+Z-]*)?")
_PATH = re.compile(
    r"(?:/|\./|\.\./|~/|[A-Za-z]:[\\/]|[a-z][a-z0-9+]{1,10}:/{1,3})[\w./\\~:%+=@*$\{\}-]*"
)
_BASE64_KEY = re.compile(r"[A-Za-z0-9/+]{40}")
_DOTTED = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+")
_CALL = re.compile(r"[A-Za-z_][\w.]*\s*[\[(]")
_IDENTIFIER = re.compile(r"[A-Za-z_]\w*")
_PLACEHOLDER = re.compile(
    r"\$\{?[\w.:-]+\}?|\$\(.*|\{\{.*|\{\w*\}|%\(\w+\)s|%s|%\w+%|<[\w .-]+>|:\w+|\?|"
    r"@\w+(?:\..*)?|!\w+.*"
)
_MASK = re.compile(r"[*•.#-]+|[xX]{3,}|\[?<?(?:redacted|hidden|masked|secret)>?\]?", re.IGNORECASE)
_LEAST_DIGITS = 6
_LONG = 20


@lru_cache(maxsize=1)
def _reference() -> re.Pattern[str]:
    return re.compile(rf"^({'|'.join(REFERENCE_SCHEMES)}):\S+$")


def is_reference(value: object) -> bool:
    """Return whether a value refers to a secret, as ``secretsmanager:…`` and ``env:…`` do."""
    return isinstance(value, str) and bool(_reference().fullmatch(value))


def plain_value(value: str) -> str:
    """Return a value without the mark that says it is no secret."""
    return value[len(PLAIN) :] if value.startswith(PLAIN) else value


def can_be_secret(name: str, value: str) -> bool:
    """Return whether a literal value of a secret name can be a secret."""
    text = value.strip()
    if not text or text.lower() in _NOTHING or is_reference(text) or text.startswith(PLAIN):
        return False
    if _DIGITS.fullmatch(text):
        return is_password(name) and sum(map(str.isdigit, text)) >= _LEAST_DIGITS
    if _MASK.fullmatch(text) or _PLACEHOLDER.fullmatch(text) or _DATE.fullmatch(text):
        return False
    if not any(map(str.isalnum, text)) or text.startswith(("arn:", "${{")):
        return False
    if _PATH.fullmatch(text) and not _is_random_key(text):
        return False
    return looks_random(text) if is_weak(name) else True


def can_be_bare_secret(name: str, value: str) -> bool:
    """Return the same for a value without quotes, which may be code, a type or a state."""
    text = value.strip()
    if not can_be_secret(name, text) or _CALL.match(text):
        return False
    lower = text.lower().rstrip(".:!?")
    if lower in _TYPES or lower in _STATES or lower == name.lower():
        return False
    if _DOTTED.fullmatch(text):
        return not is_secret_key(text) and not any(
            text.startswith(owner) for owner in ("self.", "cls.", "os.", "sys.", "args.", "config.")
        )
    if _IDENTIFIER.fullmatch(text) and "_" in text and is_secret_key(text):
        return False  # a variable: password=db_password
    return lower != name.lower().rpartition(".")[2].rpartition("_")[2].rpartition("-")[2]


def looks_random(text: str) -> bool:
    """Return whether a text has what words have not: digits among letters, or great length."""
    has_digit = any(map(str.isdigit, text))
    has_letter = any(map(str.isalpha, text))
    return (has_digit and has_letter and len(text) >= _LEAST_DIGITS) or (
        len(text) >= _LONG and " " not in text
    )


def is_word(text: str) -> bool:
    """Return whether a text is letters only, as words of prose are."""
    return text.strip("'\"`.,:;!?()").replace("-", "").replace("'", "").isalpha()


def _is_random_key(text: str) -> bool:
    """Return whether it is one of AWS's secret keys, which may begin with a slash."""
    return (
        _BASE64_KEY.fullmatch(text) is not None
        and any(map(str.isupper, text))
        and any(map(str.isdigit, text))
        and text.count("/") <= 3
    )
