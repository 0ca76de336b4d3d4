"""Delete runs that have ended, or set when they expire, together with the items beside them.

The RUN comes last: what is beside it is found through it, so that after a break the same call
finds, and ends, what is left.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from dynamodb_wrapper.aws.batches import batch_write, deletion_of
from dynamodb_wrapper.aws.concurrency import Flow
from dynamodb_wrapper.aws.transactions import transact
from dynamodb_wrapper.exceptions.errors import (
    ConditionFailedError,
    ItemNotFoundError,
    TransactionCanceledError,
    ValidationError,
    VersionConflictError,
)
from dynamodb_wrapper.models.run_state import TERMINAL
from dynamodb_wrapper.repositories.run_log.items import (
    MOST_CHUNKS,
    chunk_key,
    refuse_companion,
    run_key,
    tag_key,
)
from dynamodb_wrapper.repositories.run_log.protocol import same, update_request
from dynamodb_wrapper.serialization.codec import plain
from dynamodb_wrapper.serialization.expressions import Expressions, Update
from dynamodb_wrapper.serialization.values import identity

if TYPE_CHECKING:
    from datetime import datetime

    from dynamodb_wrapper.aws.transactions import Action
    from dynamodb_wrapper.repositories.run_log.items import RunReads
    from dynamodb_wrapper.repositories.run_log.protocol import Builder
    from dynamodb_wrapper.serialization.values import Item


class StoredRun(NamedTuple):
    """What removal must know of a RUN; also of one that is damaged or of a newer version.

    Attributes:
        item: As it is stored.
        fields: Its attributes as Python values.
    """

    item: Item
    fields: dict[str, Any]

    @classmethod
    def of(cls, item: Item) -> StoredRun:
        """Return what a stored item holds."""
        return cls(item, plain(item) or {})

    @property
    def run_id(self) -> str:
        """Its id."""
        return str(self.fields["run_id"])

    @property
    def pipeline_id(self) -> str:
        """Its pipeline."""
        return str(self.fields.get("pipeline_id"))

    @property
    def is_tracked(self) -> bool:
        """Whether run control owns it."""
        return bool(self.fields.get("writer"))

    @property
    def has_ended(self) -> bool:
        """Whether its status is one that is final."""
        return self.fields.get("status") in TERMINAL

    @property
    def end(self) -> tuple[str, str]:
        """Its status and its writer."""
        return str(self.fields["status"]), str(self.fields["writer"])

    @property
    def version(self) -> int | None:
        """Its version; None where another program stored none."""
        value = self.fields.get("row_version")
        return None if value is None else int(value)

    @property
    def tag_keys(self) -> list[Item]:
        """Keys that its TAG items have."""
        tags = self.fields.get("tags")
        return [tag_key(self.run_id, name) for name in tags] if isinstance(tags, dict) else []

    def chunks(self, kind: str) -> int:
        """Return how many chunks of a kind it counts."""
        holder = self.fields.get("logs" if kind == "log" else "error")
        count = holder.get("chunks") if isinstance(holder, dict) else None
        try:
            return max(0, min(int(count or 0), MOST_CHUNKS))
        except (TypeError, ValueError):
            return 0


class RunRemoval:
    """Deletes and expires runs of one run table.

    Args:
        reads: Reads for decisions.
        build: Builds the requests that have conditions.
    """

    def __init__(self, reads: RunReads, build: Builder) -> None:
        self._reads = reads
        self._build = build
        self._caller = reads.caller

    def find(self, run_id: str) -> StoredRun | None:
        """Return a run, also one whose TTL has passed; None where there is none."""
        refuse_companion(run_id)
        item = self._reads.item(run_key(run_id))
        return None if item is None else StoredRun.of(item)

    # ---- delete ----------------------------------------------------------------------------------

    def delete(
        self, found: StoredRun, *, version: int | None = None, free_run_key: bool = False
    ) -> StoredRun | None:
        """Delete a run of run control that has ended, and return it; None where there is none.

        Args:
            found: The run as it was read.
            version: Version it must have.
            free_run_key: Whether its run key may be run again.
        """
        run_id, run = found.run_id, found
        deleted: StoredRun | None = None
        for attempt, _ in enumerate(self._caller.backoff().waits()):
            if attempt:
                stored = self.find(run_id)
                if stored is None:
                    return deleted  # by this call, if the reply was lost
                run = stored
            self._refuse_live(run, "deleted")
            self._refuse_version(run, version)
            self.delete_beside(run)
            actions = [self._build.delete_run(run_id, *run.end)]
            if free_run_key:
                actions += self._freeing(run)
            try:
                if len(actions) > 1:
                    transact(self._caller, actions)
                else:
                    self._caller.call("DeleteItem", actions[0].request, key={"run_id": run_id})
            except (ConditionFailedError, TransactionCanceledError) as error:
                deleted = run if error.maybe_applied else deleted
                continue  # the run or its key has changed in between: read again
            return run
        raise self._reads.gave_up(f"Run {run_id!r}")

    def delete_beside(self, run: StoredRun) -> None:
        """Delete the CHUNK and TAG items of a run.

        Those that the run does not count yet go first, the last of them before the others: they
        are found one after the other.
        """
        keys = run.tag_keys
        for kind in ("log", "err"):
            count = run.chunks(kind)
            for key in reversed(self._uncounted(run.run_id, kind, count)):
                self._caller.call("DeleteItem", {"TableName": self._caller.table_name, "Key": key})
            keys += [chunk_key(run.run_id, kind, number) for number in range(1, count + 1)]
        writes = [deletion_of(identity(key), key, plain(key)) for key in keys]
        if writes:
            batch_write(self._caller, writes, Flow(), lambda _: None)

    def _uncounted(self, run_id: str, kind: str, count: int) -> list[Item]:
        """Return the keys of chunks beyond those a run counts: its driver may have died between."""
        found: list[Item] = []
        while len(found) < MOST_CHUNKS:
            key = chunk_key(run_id, kind, count + len(found) + 1)
            if self._reads.item(key) is None:
                break
            found.append(key)
        return found

    def _freeing(self, run: StoredRun) -> list[Action]:
        """Return what frees the run key of a run."""
        key = run.fields.get("run_key")
        slot = self._reads.slot(run.pipeline_id, key) if isinstance(key, str) else None
        if slot is None:
            return []
        action = self._build.free_slot(run.pipeline_id, str(key), slot, run.run_id)
        return [] if action is None else [action]

    # ---- expire ----------------------------------------------------------------------------------

    def expire(self, run_id: str, moment: datetime | None) -> Item:
        """Set when a run expires, None for never, and return it as it is stored then."""
        for _ in self._caller.backoff().waits():
            run = self.find(run_id)
            if run is None:
                raise ItemNotFoundError(
                    f"There is no run {run_id!r}.",
                    table_name=self._caller.table_name,
                    key={"run_id": run_id},
                )
            self._refuse_live(run, "given a date of expiry")
            self._expire_beside(run, moment)
            expressions = Expressions()
            unchanged = same(expressions, "row_version", run.version)
            try:
                response = self._set_expiry(run_key(run_id), moment, expressions, unchanged)
            except ConditionFailedError:
                continue  # the run has changed in between: read again
            return dict(response["Attributes"])
        raise self._reads.gave_up(f"Run {run_id!r}")

    def _expire_beside(self, run: StoredRun, moment: datetime | None) -> None:
        keys = run.tag_keys
        for kind in ("log", "err"):
            count = run.chunks(kind)
            keys += [chunk_key(run.run_id, kind, number) for number in range(1, count + 1)]
            keys += self._uncounted(run.run_id, kind, count)
        for key in keys:
            expressions = Expressions()
            exists = f"attribute_exists({expressions.path(('run_id',))})"
            with suppress(ConditionFailedError):
                self._set_expiry(key, moment, expressions, exists)

    def _set_expiry(
        self, key: Item, moment: datetime | None, expressions: Expressions, condition: str
    ) -> dict[str, Any]:
        update = Update(expressions)
        if moment is None:
            update.remove(("expires_at",))
        else:
            update.set(("expires_at",), {"N": str(int(moment.timestamp()))})
        if "#" not in key["run_id"]["S"]:
            update.increase(("row_version",))
        request = update_request(self._caller.table_name, key, update, condition)
        return self._caller.call("UpdateItem", {**request, "ReturnValues": "ALL_NEW"})

    # ---- parts -----------------------------------------------------------------------------------

    def _refuse_live(self, run: StoredRun, what: str) -> None:
        if not run.is_tracked or run.has_ended:
            return
        status = run.fields.get("status")
        raise ValidationError(
            f"Run {run.run_id!r} belongs to run control and is {status}: only a run that has ended "
            f"can be {what}. Let it end, or ask its driver to with "
            f"tracker.cancel({run.run_id!r}, by=...). If the driver is gone, tracker.reap() ends "
            f"the run as lost once its lease has run out; release({run.pipeline_id!r}, reason=...) "
            "ends the run that holds an exclusive pipeline at once.",
            table_name=self._caller.table_name,
            key={"run_id": run.run_id},
        )

    def _refuse_version(self, run: StoredRun, wanted: int | None) -> None:
        if wanted is not None and wanted != (run.version or 0):
            raise VersionConflictError(
                f"Run {run.run_id!r} was changed by another writer: it has version "
                f"{run.version or 0}, yours is {wanted}. Read it again, then repeat the change.",
                current=run.fields,
                table_name=self._caller.table_name,
                key={"run_id": run.run_id},
            )
