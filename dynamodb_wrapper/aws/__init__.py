"""Requests to DynamoDB: clients, connections, retries, batches, pages, transactions."""
