"""``python -m dynamodb_wrapper.runs``: jobs to put on a schedule beside the pipelines."""

from __future__ import annotations

import argparse
import logging
import sys

from dynamodb_wrapper.config.settings import DynamoDBConfig
from dynamodb_wrapper.exceptions.errors import DynamoDBWrapperError
from dynamodb_wrapper.runs.tracker import RunTracker


def main(arguments: list[str] | None = None) -> int:
    """Run one command, and return the exit code."""
    wanted = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    try:
        tracker = RunTracker(DynamoDBConfig.from_env())
        if wanted.command == "reap":
            return _reap(tracker, wanted.environment, dry_run=wanted.dry_run)
        return _replay(tracker, of_other_users=wanted.of_other_users)
    except (DynamoDBWrapperError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _reap(tracker: RunTracker, environment: str | None, *, dry_run: bool) -> int:
    dead = tracker.reap(environment=environment, dry_run=dry_run)
    for run in dead:
        print(f"{run.run_id}  {run.pipeline_id}  last beat {run.heartbeat_at}")
    print(f"{len(dead)} dead runs {'found' if dry_run else 'ended as lost'}")
    return 0


def _replay(tracker: RunTracker, *, of_other_users: bool) -> int:
    replayed = tracker.replay_outcomes(of_other_users=of_other_users)
    for one in replayed:
        print(f"{one.run_id}  {one.outcome}  {'stored' if one.stored else one.problem}")
    unreadable = tracker.unreadable_outcomes()
    for path in unreadable:
        print(f"{path}  cannot be read")
    left = sum(not one.stored for one in replayed)
    print(f"{len(replayed) - left} outcomes stored, {left} not, {len(unreadable)} unreadable")
    return 1 if left or unreadable else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m dynamodb_wrapper.runs",
        description="Reads the same environment variables as DynamoDBConfig.from_env().",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    reap = commands.add_parser("reap", help="end runs whose drivers are gone as LOST")
    reap.add_argument("--dry-run", action="store_true", help="only list them")
    reap.add_argument("--environment", help="environment of the pipelines; the config's by default")
    replay = commands.add_parser("replay", help="store the outcomes kept in this machine's spool")
    replay.add_argument(
        "--of-other-users", action="store_true", help="also files that belong to other users"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
