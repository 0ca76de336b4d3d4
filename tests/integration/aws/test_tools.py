"""Tracers, recorders and mocks see every request, switched on before or after the client exists."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from dynamodb_wrapper.repositories import BaseDynamoRepository
from tests.support.tools import OPERATIONS, TOOLS
from tests.support.transports import ORDERS

if TYPE_CHECKING:
    from dynamodb_wrapper.config import DynamoDBConfig

MODULES = {
    "opentelemetry-botocore": "opentelemetry.instrumentation.botocore",
    "opentelemetry-urllib3": "opentelemetry.instrumentation.urllib3",
    "aws-xray-sdk": "aws_xray_sdk",
    "ddtrace-botocore": "ddtrace",
    "ddtrace-urllib3": "ddtrace",
    "ddtrace-httplib": "ddtrace",
    "elastic-apm": "elasticapm",
    "sentry-sdk": "sentry_sdk",
    "vcrpy": "vcr",
    "stubber": "botocore.stub",
}
CASES = [
    (tool, when)
    for tool in TOOLS
    for when in ("before", "after")
    if (tool, when) != ("stubber", "before")  # it is given the client
]
KNOW_NO_OPERATIONS = ("opentelemetry-urllib3", "ddtrace-urllib3", "ddtrace-httplib", "sentry-sdk")
QUIET = {
    "AWS_XRAY_CONTEXT_MISSING": "LOG_ERROR",
    "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
    "DD_REMOTE_CONFIGURATION_ENABLED": "false",
    "DD_TRACE_STARTUP_LOGS": "false",
    "NEW_RELIC_DEVELOPER_MODE": "true",
}


def is_installed(module: str) -> bool:
    """Return whether a module can be imported, without importing it: tracers change the process."""
    package = module.partition(".")[0]
    return importlib.util.find_spec(package) is not None and (
        package == module or importlib.util.find_spec(module) is not None
    )


@pytest.mark.slow
@pytest.mark.newest_only
@pytest.mark.parametrize(("tool", "when"), CASES)
def test_a_tool_sees_every_request(tool: str, when: str, local_config: DynamoDBConfig) -> None:
    if not is_installed(MODULES.get(tool, tool)):
        pytest.skip(
            "NOT TESTED: some tools that intercept requests are not installed (Python 3.11 or "
            "later: pip install 'dynamodb-wrapper[tools]')."
        )
    BaseDynamoRepository(local_config, ORDERS).create_table()
    arguments = [tool, when, str(local_config.endpoint_url), local_config.table_prefix]
    runner = ["gevent.monkey", "--module"] if (tool, when) == ("gevent", "before") else []
    ended = subprocess.run(
        [sys.executable, "-m", *runner, "tests.support.tools", *arguments],
        env={**os.environ, **QUIET},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert ended.returncode == 0, ended.stderr
    expected = ["POST"] * len(OPERATIONS) if tool in KNOW_NO_OPERATIONS else list(OPERATIONS)
    assert json.loads(ended.stdout) == expected
