"""Control data for PySpark pipelines in DynamoDB."""
