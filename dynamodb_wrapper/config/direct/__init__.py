"""Requests sent past the boto3 client, which prepares, resends and fails as ever."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dynamodb_wrapper.lazy import loader

if TYPE_CHECKING:
    from dynamodb_wrapper.config.direct.choice import direct_transport
    from dynamodb_wrapper.config.direct.early import EarlyTransport, early_transport
    from dynamodb_wrapper.config.direct.listeners import Events
    from dynamodb_wrapper.config.direct.transport import DirectTransport

_HOMES = {
    "dynamodb_wrapper.config.direct.choice": ("direct_transport",),
    "dynamodb_wrapper.config.direct.early": ("EarlyTransport", "early_transport"),
    "dynamodb_wrapper.config.direct.listeners": ("Events",),
    "dynamodb_wrapper.config.direct.transport": ("DirectTransport",),
}

if not TYPE_CHECKING:  # type checkers see the imports above
    __getattr__ = loader(__name__, _HOMES)

__all__ = ["DirectTransport", "EarlyTransport", "Events", "direct_transport", "early_transport"]
