"""Settings and the client they lead to."""

from dynamodb_wrapper.config.bodies import DATA_OPERATIONS, RawResponse, sent_by
from dynamodb_wrapper.config.clients import Connection, client_for, close_clients
from dynamodb_wrapper.config.environment import VARIABLES, Variable
from dynamodb_wrapper.config.json_bodies import (
    Encoded,
    read_body,
    unreadable,
    with_bytes,
    write_body,
)
from dynamodb_wrapper.config.settings import DynamoDBConfig
from dynamodb_wrapper.config.throttles import THROTTLES, told_of_throttles

__all__ = [
    "DATA_OPERATIONS",
    "THROTTLES",
    "VARIABLES",
    "Connection",
    "DynamoDBConfig",
    "Encoded",
    "RawResponse",
    "Variable",
    "client_for",
    "close_clients",
    "read_body",
    "sent_by",
    "told_of_throttles",
    "unreadable",
    "with_bytes",
    "write_body",
]
