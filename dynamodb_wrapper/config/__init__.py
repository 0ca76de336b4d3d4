"""Settings and the client they lead to."""

from dynamodb_wrapper.config.bodies import RAW, raw_reply, write_body
from dynamodb_wrapper.config.clients import Connection, client_for, close_clients
from dynamodb_wrapper.config.environment import VARIABLES, Variable
from dynamodb_wrapper.config.settings import DynamoDBConfig

__all__ = [
    "RAW",
    "VARIABLES",
    "Connection",
    "DynamoDBConfig",
    "Variable",
    "client_for",
    "close_clients",
    "raw_reply",
    "write_body",
]
