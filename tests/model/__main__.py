"""Explores scenarios further than the tests do: ``python -m tests.model [words] [--states N]``.

Words choose the scenarios whose names have them all; ``--faults N`` allows more trouble.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from dataclasses import replace

from tests.model.checker import explore
from tests.model.scenarios import SCENARIOS


def main() -> int:
    """Explore, and tell what was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.model", description=__doc__)
    parser.add_argument("words", nargs="*", help="parts of the name of a scenario")
    parser.add_argument("--states", type=int, default=1_000_000, help="how many at most")
    parser.add_argument("--faults", type=int, help="how many requests may meet trouble")
    options = parser.parse_args()
    logging.getLogger("dynamodb_wrapper").setLevel(logging.CRITICAL)
    wrong = 0
    for name, scenario in SCENARIOS.items():
        if not all(word in name for word in options.words):
            continue
        wanted = scenario if options.faults is None else replace(scenario, faults=options.faults)
        began = time.process_time()
        found = explore(wanted, limit=options.states)
        wrong += found.broken is not None
        sys.stdout.write(f"{name}: {found}, {time.process_time() - began:.1f} s\n")
        sys.stdout.flush()
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
