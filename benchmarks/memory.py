"""Memory of a process that scans many items and keeps none.

`growth` starts the process, ``python -m benchmarks.memory``.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.processes import ROOT, environment
from benchmarks.recordings import ENDLESS

TARGET_BYTES, TARGET_ITEMS = 150_000_000, 1_000_000
_STATUS = Path("/proc/self/status")
_LOOK_AT_CLOCK = 1000


@dataclass(frozen=True)
class Growth:
    """Resident memory of a process before and during a scan.

    Attributes:
        items: The number of items read.
        before: Bytes before the client is made.
        peak: The most bytes.
        seconds: The time the scan took.
    """

    items: int
    before: int
    peak: int
    seconds: float

    @property
    def grown(self) -> int:
        """The most bytes in addition to those before."""
        return max(0, self.peak - self.before)


def growth(endpoint_url: str, seconds: float) -> Growth:
    """Scan the endless table in a new process and stop after the given time."""
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
    from dynamodb_wrapper import BaseDynamoRepository, DynamoDBConfig, Table

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
    if not _STATUS.exists():  # not Linux: the peak, in bytes on macOS, is the only figure
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    print(json.dumps(asdict(_scan(sys.argv[1], float(sys.argv[2])))))
