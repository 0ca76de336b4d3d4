"""Which keys and values are secret, and how texts lose them."""

from dynamodb_wrapper.redaction.secrets import (
    REDACTED,
    REFERENCE_SCHEMES,
    find_secrets,
    is_reference,
    is_secret_key,
    redact,
    redact_known,
    redact_values,
)
from dynamodb_wrapper.redaction.texts import head, presentable, stored_text, tail

__all__ = [
    "REDACTED",
    "REFERENCE_SCHEMES",
    "find_secrets",
    "head",
    "is_reference",
    "is_secret_key",
    "presentable",
    "redact",
    "redact_known",
    "redact_values",
    "stored_text",
    "tail",
]
