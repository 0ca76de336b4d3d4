"""Find secrets in settings and take them out of texts, on three grounds.

Values that the process knows as secrets, wherever they stand and however they are encoded; what has
the shape of a secret, such as an access key or a private key; and what stands beside the name of a
secret in a place that has names: ``k=v``, JSON, a dict, XML, a command line, SQL. A value there
counts only if it can be a secret: None, a boolean, a path, an ARN, prose or code are none. This
finds what looks like a secret; it cannot find every one.
"""

from dynamodb_wrapper.redaction.names import is_secret_key
from dynamodb_wrapper.redaction.shapes import REDACTED
from dynamodb_wrapper.redaction.texts import (
    CUT,
    find_secrets,
    head,
    presentable,
    redact,
    redact_known,
    redact_values,
    stored_text,
    tail,
    without_known,
)
from dynamodb_wrapper.redaction.values import REFERENCE_SCHEMES, is_reference, plain_value

__all__ = [
    "CUT",
    "REDACTED",
    "REFERENCE_SCHEMES",
    "find_secrets",
    "head",
    "is_reference",
    "is_secret_key",
    "plain_value",
    "presentable",
    "redact",
    "redact_known",
    "redact_values",
    "stored_text",
    "tail",
    "without_known",
]
