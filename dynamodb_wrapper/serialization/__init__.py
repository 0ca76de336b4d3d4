"""Python values to DynamoDB JSON and back."""
