"""For tests of pipelines: fixtures for pytest, and a check of a recorded run.

pytest finds the fixtures by itself where the library is installed: `dynamodb_engine`,
`dynamodb_config`, `dynamodb_tables`, `run_tracker` and `spark_session`.
"""

from dynamodb_wrapper.testing.recorded import assert_recorded

__all__ = ["assert_recorded"]
