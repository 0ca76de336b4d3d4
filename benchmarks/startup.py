"""What starting costs: each sample is a fresh process that measures itself."""

from __future__ import annotations

import atexit
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.cases import Case, Sampler, Spec
from benchmarks.known import LIBRARY
from benchmarks.workers import ROOT, environment

if TYPE_CHECKING:
    from benchmarks.records import Records

NOT_LOADED = ("boto3", "pyspark", "pyarrow")
_TIMED = """
import sys, time
begun = time.process_time()
{code}
print(time.process_time() - begun, {result}, sep="|")
"""
_REPOSITORY = """
from datetime import datetime
from decimal import Decimal
from pydantic import BaseModel
from dynamodb_wrapper import BaseDynamoRepository, DynamoDBConfig, Table

class FlatOrder(BaseModel):
    customer_id: str
    order_id: str
    placed_at: datetime
    status: str
    email: str
    city: str
    quantity: int
    total: Decimal
    paid: bool
    note: str

table = Table("{table}", FlatOrder, partition_key="customer_id", sort_key="order_id")
config = DynamoDBConfig.for_local_development("{url}")
read = BaseDynamoRepository(config, table).get({key}).order_id
"""
_BOTO3 = """
import boto3
client = boto3.client("dynamodb", endpoint_url="{url}")
key = dict(zip(("customer_id", "order_id"), ({{"S": text}} for text in {key})))
read = client.get_item(TableName="{table}", Key=key)["Item"]["order_id"]["S"]
"""


def startup_case(spec: Spec, endpoint_url: str, table: Records) -> Case:
    """Return the case of importing, or of the first request: without ``~/.aws`` or with it."""
    home = _home(with_settings=spec.name.endswith("-aws"))
    if spec.name == "import":
        loaded = f"[name for name in {NOT_LOADED} if name in sys.modules]"
        ours = fresh_process("import dynamodb_wrapper", loaded, "[]", home)
        theirs = fresh_process("import pydantic", "[]", "[]", home)
    else:
        key = table.keys[0]
        values = {"url": endpoint_url, "table": table.table, "key": key}
        ours = fresh_process(_REPOSITORY.format(**values), "read", key[1], home)
        theirs = fresh_process(_BOTO3.format(**values), "read", key[1], home)
    other = next(name for name in spec.sides if name != LIBRARY)
    return Case(spec, 1, {LIBRARY: ours, other: theirs})


def _home(*, with_settings: bool) -> Path:
    """Return a folder that is a user's home, until this process ends."""
    home = Path(tempfile.mkdtemp(prefix="benchmarks-"))
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    if with_settings:
        (home / ".aws").mkdir()
        (home / ".aws" / "config").write_text("[default]\nregion = us-east-1\n")
    return home


def fresh_process(code: str, result: str, expected: str, home: Path) -> Sampler:
    """Return what runs the code in new processes, which must each print what is expected."""
    program = _TIMED.format(code=code, result=result)

    def seconds(times: int) -> float:
        return sum(_run(program, expected, home) for _ in range(times))

    return seconds


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
        raise RuntimeError(f"A fresh process failed:\n{done.stderr}")
    seconds, _, found = done.stdout.strip().partition("|")
    if found != expected:
        raise AssertionError(f"A fresh process gave {found!r} instead of {expected!r}.")
    return float(seconds)
