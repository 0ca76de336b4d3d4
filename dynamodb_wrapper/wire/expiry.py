"""Whether the TTL of an item has passed."""

from __future__ import annotations

from dynamodb_wrapper.models import utc_now


def seconds_now() -> int:
    """Return the seconds since 1970, which a TTL is compared with."""
    return int(utc_now().timestamp())


def has_passed(ttl: str | None, now: int) -> bool:
    """Tell whether a TTL, as it is stored, has passed; what is no number is none."""
    return ttl is not None and int(float(ttl)) <= now
