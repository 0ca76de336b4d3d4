"""Settings: where the tables are and how they are reached."""

from dynamodb_wrapper.config.settings import VARIABLES, DynamoDBConfig, Variable

__all__ = ["VARIABLES", "DynamoDBConfig", "Variable"]
