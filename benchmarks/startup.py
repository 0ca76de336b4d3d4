"""Processor time of a process that has just started; each sample is a new process."""

from __future__ import annotations

import atexit
import inspect
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.cases import LIBRARY, Spec
from benchmarks.measure import Case, Sampler
from benchmarks.models import FlatOrder
from benchmarks.processes import ROOT, environment

if TYPE_CHECKING:
    from benchmarks.records import Records

NOT_LOADED = ("boto3", "pyspark", "pyarrow")
_TIMED = """
import sys, time
begun = time.process_time()
{code}
print(time.process_time() - begun, {result}, sep="|")
"""
_MODEL = f"""
from datetime import datetime
from decimal import Decimal
from pydantic import BaseModel

{inspect.getsource(FlatOrder)}
"""
_LIBRARY = """
from dynamodb_wrapper import BaseDynamoRepository, DynamoDBConfig, Table

table = Table("{table}", FlatOrder, partition_key="customer_id", sort_key="order_id")
config = DynamoDBConfig.for_local_development("{url}")
order = BaseDynamoRepository(config, table).get({key})
"""
# A client with boto3's deserializer starts sooner than a resource, which does the same.
_BOTO3 = """
import boto3
from boto3.dynamodb.types import TypeDeserializer

client = boto3.client("dynamodb", endpoint_url="{url}")
key = dict(zip(("customer_id", "order_id"), ({{"S": text}} for text in {key})))
item = client.get_item(TableName="{table}", Key=key)["Item"]
read = TypeDeserializer().deserialize
order = FlatOrder.model_validate({{name: read(value) for name, value in item.items()}})
"""


def startup_case(spec: Spec, endpoint_url: str, table: Records) -> Case:
    """Return the case of the import or of the first request.

    For the first request both sides declare the same Pydantic model, read one item and validate
    it; `first-request-aws` has a file ``~/.aws/config``, `first-request` does not.
    """
    home = _home(with_settings=spec.name.endswith("-aws"))
    if spec.name == "import":
        loaded = f"[name for name in {NOT_LOADED} if name in sys.modules]"
        ours = fresh_process("import dynamodb_wrapper", loaded, "[]", home)
        theirs = fresh_process("import pydantic", "[]", "[]", home)
    else:
        values = {"url": endpoint_url, "table": table.table, "key": table.keys[0]}
        read, expected = "order.model_dump_json()", FlatOrder(**table.items[0]).model_dump_json()
        ours = fresh_process(_MODEL + _LIBRARY.format(**values), read, expected, home)
        theirs = fresh_process(_MODEL + _BOTO3.format(**values), read, expected, home)
    other = next(name for name in spec.sides if name != LIBRARY)
    return Case(spec, 1, {LIBRARY: ours, other: theirs})


def fresh_process(code: str, result: str, expected: str, home: Path) -> Sampler:
    """Return a sampler that runs the code in new processes.

    Args:
        code: Its processor time is measured.
        result: An expression that is evaluated after the code.
        expected: The result as text; any other result raises an AssertionError.
        home: The home directory of the processes.
    """
    program = _TIMED.format(code=code, result=result)

    def seconds(times: int) -> float:
        return sum(_run(program, expected, home) for _ in range(times))

    return seconds


def _home(*, with_settings: bool) -> Path:
    """Return a new home directory; it is removed when this process ends."""
    home = Path(tempfile.mkdtemp(prefix="benchmarks-"))
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    if with_settings:
        (home / ".aws").mkdir()
        (home / ".aws" / "config").write_text("[default]\nregion = us-east-1\n")
    return home


def _run(program: str, expected: str, home: Path) -> float:
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**environment(), "HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"A new process failed:\n{done.stderr}")
    seconds, _, found = done.stdout.strip().partition("|")
    if found != expected:
        raise AssertionError(f"A new process printed {found!r} instead of {expected!r}.")
    return float(seconds)
