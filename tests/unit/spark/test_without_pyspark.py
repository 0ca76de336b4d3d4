"""What works where PySpark is not installed, and what is said where it is needed."""

from __future__ import annotations

import subprocess
import sys
import textwrap

_BLOCKED = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"pyspark", "py4j", "pandas", "pyarrow"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocker())
"""


def run_without_pyspark(code: str) -> str:
    script = _BLOCKED + textwrap.dedent(code)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_needs_no_spark_works_without_pyspark() -> None:
    said = run_without_pyspark("""
        from moto import mock_aws
        from dynamodb_wrapper import DynamoDBConfig, PipelineConfig, PipelineConfigRepository
        from dynamodb_wrapper import TableConfig, TableConfigRepository, create_tables
        from dynamodb_wrapper.utils import SparkDynamoDBIntegration

        with mock_aws():
            config = DynamoDBConfig(
                region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x"
            )
            create_tables(config)
            spark_config = {"spark.sql.shuffle.partitions": 4}
            PipelineConfigRepository(config).create(
                PipelineConfig(pipeline_id="p", spark_config=spark_config)
            )
            TableConfigRepository(config).create(
                TableConfig(
                    table_id="t", table_type="source", location="x", read_options={"sep": ";"}
                )
            )
            integration = SparkDynamoDBIntegration(config)
            with integration.pipeline_run_context("p") as run_id:
                assert integration.current_run().run_id == run_id
            print(integration.get_spark_config_from_pipeline("p"))
            print(integration.get_table_read_options("t"))
    """)
    assert said.splitlines() == ["{'spark.sql.shuffle.partitions': '4'}", "{'sep': ';'}"]


def test_what_needs_spark_names_the_command_that_installs_it() -> None:
    said = run_without_pyspark("""
        from dynamodb_wrapper import DynamoDBConfig
        from dynamodb_wrapper.exceptions import MissingDependencyError
        from dynamodb_wrapper.utils import SparkDynamoDBIntegration

        integration = SparkDynamoDBIntegration(DynamoDBConfig(region_name="us-east-1"))
        calls = [
            lambda: integration.create_spark_session("p"),
            lambda: integration.read_table(None, "t"),
            lambda: integration.write_table(None, "t"),
        ]
        for call in calls:
            try:
                call()
            except MissingDependencyError as error:
                print(error)
    """)
    assert said.count("pip install 'dynamodb-wrapper[spark]'") == 3


def test_importing_the_integration_does_not_load_spark() -> None:
    code = """
        import sys
        from dynamodb_wrapper.spark import SparkDynamoDBIntegration
        from dynamodb_wrapper.utils import create_spark_session_with_dynamodb
        print(sorted({"pyspark", "py4j", "pandas", "pyarrow"} & set(sys.modules)))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_importing_the_package_and_its_door_to_spark_loads_nothing_heavy() -> None:
    code = """
        import sys
        import dynamodb_wrapper
        import dynamodb_wrapper.utils
        heavy = {"boto3", "botocore", "pyspark", "py4j", "pandas", "pyarrow"}
        print(sorted(heavy & set(sys.modules)), "dynamodb_wrapper.spark" in sys.modules)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[] False"
