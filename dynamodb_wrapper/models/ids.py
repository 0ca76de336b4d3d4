"""Ids that sort by time."""

from __future__ import annotations

import sys

if sys.version_info >= (3, 14):
    from uuid import uuid7
else:
    from uuid6 import uuid7


def new_run_id() -> str:
    """Return a UUID of version 7 as text: unique, and in the order of creation."""
    return str(uuid7())
