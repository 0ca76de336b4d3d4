"""Requests sent past the boto3 client, which prepares, resends and fails as ever."""

from dynamodb_wrapper.config.direct.choice import direct_transport
from dynamodb_wrapper.config.direct.listeners import Events
from dynamodb_wrapper.config.direct.transport import DirectTransport

__all__ = ["DirectTransport", "Events", "direct_transport"]
