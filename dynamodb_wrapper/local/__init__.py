"""A DynamoDB engine on this machine, for development, demos and tests."""

from dynamodb_wrapper.local.server import LocalDynamoDB

__all__ = ["LocalDynamoDB"]
