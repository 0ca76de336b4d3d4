"""How much a process grows that scans many items one after the other and keeps none.

It runs as a process of its own, ``python -m benchmarks.memory``; `growth` starts it.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.recordings import ENDLESS
from benchmarks.workers import ROOT, environment

TARGET_BYTES, TARGET_ITEMS = 150_000_000, 1_000_000
_STATUS = Path("/proc/self/status")
_LOOK_AT_CLOCK = 1000


@dataclass(frozen=True)
class Growth:
    """What a scan did to its process.

    Attributes:
        items: Read.
        before: Resident bytes before the client is made.
        peak: Most resident bytes.
        seconds: It took.
    """

    items: int
    before: int
    peak: int
    seconds: float

    @property
    def grown(self) -> int:
        """Bytes at most over those before."""
        return max(0, self.peak - self.before)


def growth(endpoint_url: str, seconds: float) -> Growth:
    """Scan the endless table, or as much as the time allows, in a new process."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.memory", endpoint_url, str(seconds)],
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
        timeout=seconds + 60,
        check=True,
    )
    return Growth(**json.loads(done.stdout))


def _scan(endpoint_url: str, seconds: float) -> Growth:
    from benchmarks.models import FlatOrder
    from benchmarks.records import PARTITION_KEY, SORT_KEY
    from dynamodb_wrapper.config import DynamoDBConfig
    from dynamodb_wrapper.models import Table
    from dynamodb_wrapper.repositories import BaseDynamoRepository

    table = Table(ENDLESS, FlatOrder, partition_key=PARTITION_KEY, sort_key=SORT_KEY)
    config = DynamoDBConfig.for_local_development(endpoint_url)
    before = _memory("VmRSS")
    begun, items = time.monotonic(), 0
    for _ in BaseDynamoRepository(config, table).scan():
        items += 1
        if items % _LOOK_AT_CLOCK == 0 and time.monotonic() - begun > seconds:
            break
    return Growth(items, before, _memory("VmHWM"), time.monotonic() - begun)


def _memory(name: str) -> int:
    if not _STATUS.exists():  # no Linux: the peak stands for the present, in bytes on macOS
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    print(json.dumps(asdict(_scan(sys.argv[1], float(sys.argv[2])))))
