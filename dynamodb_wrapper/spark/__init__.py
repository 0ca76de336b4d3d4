"""PySpark and DynamoDB: sessions, configured tables, recorded runs.

Importing it does not need PySpark; functions that work with Spark do.
"""

from dynamodb_wrapper.spark.functions import (
    create_spark_session_with_dynamodb,
    get_pipeline_config_for_spark,
    get_table_configs_for_spark,
    log_pipeline_run_from_spark,
)
from dynamodb_wrapper.spark.integration import RunBlock, SparkDynamoDBIntegration
from dynamodb_wrapper.spark.sessions import SessionSettings
from dynamodb_wrapper.spark.tables import WriteSummary

__all__ = [
    "RunBlock",
    "SessionSettings",
    "SparkDynamoDBIntegration",
    "WriteSummary",
    "create_spark_session_with_dynamodb",
    "get_pipeline_config_for_spark",
    "get_table_configs_for_spark",
    "log_pipeline_run_from_spark",
]
