"""DynamoDB's JSON protocol: codec, expressions, requests, paging, batches, transactions, errors."""
