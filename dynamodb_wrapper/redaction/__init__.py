"""Which keys and values are secret, and how texts lose them."""

from dynamodb_wrapper.redaction.secrets import (
    REDACTED,
    REFERENCE_SCHEMES,
    find_secrets,
    is_reference,
    is_secret_key,
    redact,
    redact_values,
)

__all__ = [
    "REDACTED",
    "REFERENCE_SCHEMES",
    "find_secrets",
    "is_reference",
    "is_secret_key",
    "redact",
    "redact_values",
]
