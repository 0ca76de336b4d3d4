"""Describe why there was no answer: certificates, TLS, proxies, time-outs, the network."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from botocore import exceptions as boto

PROXY_REFUSAL = 407
_SOURCE_LINE = re.compile(r" \(_ssl\.c:\d+\)")
_CERTIFICATE = ("CERTIFICATE_VERIFY_FAILED", "certificate verify failed", "doesn't match")
_AUTHORITIES = ("No such file", "NO_CERTIFICATE_OR_CRL_FOUND", "invalid path", "Permission denied")
_INTERRUPTED = ("EOF", "timed out", "closed")
_PROXY_BUSY = ("Tunnel connection failed: 5", "closed connection", "reset by peer")
_PROXY_STEP = (
    "Check HTTPS_PROXY or HTTP_PROXY, with user and password where the proxy asks for them (407), "
    "or name the host in NO_PROXY."
)


class Failure(NamedTuple):
    """Why there was no answer.

    Attributes:
        text: What happened and what to do, to follow the name of the operation.
        is_retryable: Whether the same request may be answered later without a change.
    """

    text: str
    is_retryable: bool


def failure_of(error: Exception, endpoint: str, region: str) -> Failure:
    """Return the description of one of botocore's exceptions.

    Args:
        error: A ConnectionError or HTTPClientError of botocore.
        endpoint: The address that gave no answer.
        region: The region of the client.
    """
    if isinstance(error, boto.SSLError):
        why = _reason(error)
        if not any(sign in why for sign in _INTERRUPTED):
            return Failure(_tls_failure(why, endpoint), is_retryable=False)
    if isinstance(error, boto.ProxyConnectionError):
        why, proxy = _reason(error), str(error.kwargs.get("proxy_url", ""))
        return Failure(
            f"failed: the proxy {proxy} did not connect to {endpoint}: {why}. {_PROXY_STEP}",
            is_retryable=any(sign in why for sign in _PROXY_BUSY),
        )
    kind = "timed out" if "imeout" in type(error).__name__ else "failed"
    step = "Check the region, DYNAMODB_ENDPOINT_URL and the network."
    return Failure(f"{kind}: no answer from {endpoint} (region {region}). {step}", True)


def proxy_refusal(endpoint: str) -> Failure:
    """Return the description of a reply with status 407, which only a proxy sends."""
    return Failure(
        f"failed: the proxy before {endpoint} asks for a user and a password (407 Proxy "
        f"Authentication Required). {_PROXY_STEP}",
        is_retryable=False,
    )


def _tls_failure(why: str, endpoint: str) -> str:
    if any(sign in why for sign in _AUTHORITIES):
        return (
            f"failed: the certificates of trusted authorities cannot be read: {why}. Correct "
            "AWS_CA_BUNDLE, REQUESTS_CA_BUNDLE or ca_bundle, which names a file of certificates in "
            "PEM form or a directory of them."
        )
    if not any(sign in why for sign in _CERTIFICATE):
        return (
            f"failed: TLS with {endpoint} was not agreed on: {why}. Check whether "
            "DYNAMODB_ENDPOINT_URL should begin with http://, and which versions of TLS the "
            "endpoint, or a proxy before it, speaks."
        )
    if "mismatch" in why or "doesn't match" in why:
        return (
            f"failed: the certificate of {endpoint} is not accepted: certificate verify failed: it "
            "belongs to another host. Correct DYNAMODB_ENDPOINT_URL; if a proxy answers in its "
            "place, check HTTPS_PROXY."
        )
    text = f"failed: the certificate of {endpoint} is not accepted: {why}. "
    if "expired" in why or "not yet valid" in why:
        return f"{text}Check the clock of this machine; else the certificate must be renewed."
    return (
        f"{text}If a proxy, or an endpoint of your own, has a certificate of a private authority, "
        "name the file with that authority's certificate in AWS_CA_BUNDLE."
    )


def _reason(error: Any) -> str:
    """Return the text of the exception that one of botocore's was made of."""
    inner = error.kwargs.get("error", "")
    while type(inner).__module__.startswith("urllib3."):  # it wraps what it caught
        wrapped = [*inner.args[-1:], inner.__cause__, inner.__context__]
        found = next((one for one in wrapped if isinstance(one, Exception)), None)
        if found is None:
            break
        inner = found
    return " ".join(_SOURCE_LINE.sub("", str(inner)).split()).rstrip(".")
