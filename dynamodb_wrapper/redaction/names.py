"""Decide by its name whether a setting holds a secret."""

from __future__ import annotations

import re
from functools import lru_cache

_LONGEST = 256  # of a longer name the end decides
_WORDS = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+")
_TERMS: tuple[tuple[str, ...], ...] = (
    ("password",),
    ("passwd",),
    ("pwd",),
    ("passphrase",),
    ("passcode",),
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
    ("signing", "key"),
    ("master", "key"),
    ("storage", "key"),
    ("subscription", "key"),
    ("integration", "key"),
    ("routing", "key"),
    ("license", "key"),
    ("encryption", "key"),
    ("connection", "string"),
    ("sas",),
    ("jaas",),
    ("authorization",),
    ("cookie",),
    ("amz", "signature"),
)
# These words are secrets where the name ends with them, or is nothing else.
_LAST_WORDS = frozenset({"pass", "pw", "auth"})
_SUFFIXES = ("password", "passwd", "passphrase", "apikey", "secretkey", "accesskey", "authtoken")
_PASSWORDS = ("password", "passwd", "pwd", "passphrase", "passcode", "pass", "pw")
_WEAK = frozenset({"auth", "credential", "credentials", "cookie", "sas", "jaas"})
# The last word says that the value only describes a secret, or names what holds one.
_HARMLESS_LAST_WORDS = frozenset(
    "name names arn arns column columns col field fields id ids type types kind mechanism provider "
    "providers class path paths url uri endpoint enabled disabled required length size bits bytes "
    "ttl expiry expires expiration expired at location ref reference references count counts limit "
    "limits file files dir directory version versions policy error errors budget usage used max "
    "min algorithm hint label prompt rotation days seconds minutes hours keytab lookup helper "
    "store stores manager status valid invalid reset changed set exists index number format "
    "encoding namespace metadata through info header headers scope scopes audience issuer "
    "timeout interval retries strength quality check checked source stdin env var variable "
    "template rule rules pattern regex filter separator delimiter".split()
)
_HARMLESS_FIRST_WORDS = frozenset(
    "has is no needs requires require use uses allow allows with without max min num total next "
    "previous prev page continuation prompt completion input output tokens invalid expired missing "
    "unknown unexpected wrong bad stop start end pad eos bos".split()
)
_HARMLESS_TERMS = (
    ("secret", "key", "ref"),
    ("driver", "secrets"),
    ("executor", "secrets"),
    ("public", "key"),
    ("sort", "key"),
)
_HARMLESS_KEYS = frozenset({"tokens_per_second", "token_bucket"})


def is_secret_key(key: str) -> bool:
    """Return whether a setting of this name is expected to hold a secret."""
    return _decided(key[-_LONGEST:])


def is_password(key: str) -> bool:
    """Return whether the name is that of a password, which a number can be."""
    words = _words(key[-_LONGEST:])
    return bool(words) and (words[-1] in _PASSWORDS or words[-1].endswith(_PASSWORDS[:4]))


def is_weak(key: str) -> bool:
    """Return whether what the name holds may as well be no secret, such as a way to log in."""
    words = _words(key[-_LONGEST:])
    return bool(words) and words[-1] in _WEAK


@lru_cache(maxsize=4096)
def _decided(key: str) -> bool:
    words = _words(key)
    if not words or "_".join(words) in _HARMLESS_KEYS:
        return False
    if words[-1] in _HARMLESS_LAST_WORDS:
        return words[-3:] == ["access", "key", "id"]  # a credential all the same
    first = _words(key.rpartition(".")[2])[:1]
    if first and first[0] in _HARMLESS_FIRST_WORDS and len(words) > 1:
        return False
    if any(_contains(words, term) for term in _HARMLESS_TERMS):
        return False
    if words[-1] in _LAST_WORDS or words[-1].endswith(_SUFFIXES):  # PGPASSWORD
        return True
    return any(_contains(words, term) for term in _TERMS)


@lru_cache(maxsize=4096)
def _words(key: str) -> list[str]:
    return [word.lower() for word in _WORDS.findall(key)]


def _contains(words: list[str], term: tuple[str, ...]) -> bool:
    size = len(term)
    return any(tuple(words[i : i + size]) == term for i in range(len(words) - size + 1))
