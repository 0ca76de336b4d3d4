"""Change a live run: beats, cancel requests, watermarks, stages, metrics, quality results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dynamodb_wrapper.aws.calls import botocore_error
from dynamodb_wrapper.exceptions.errors import (
    ConditionFailedError,
    DynamoDBWrapperError,
    InvalidTransitionError,
    ItemNotFoundError,
    ValidationError,
)
from dynamodb_wrapper.loggers import SafeLogger
from dynamodb_wrapper.models.enums import RunStatus
from dynamodb_wrapper.models.run import PipelineRunLog
from dynamodb_wrapper.models.run_state import Cursor, CursorMove, pack
from dynamodb_wrapper.redaction import REDACTED, is_secret_key, redact_known, stored_text
from dynamodb_wrapper.repositories.run_log.items import checked_name, read_cursor, refuse_companion
from dynamodb_wrapper.repositories.run_log.protocol import put_empty_map, put_parts, set_status
from dynamodb_wrapper.repositories.write_results import UNKNOWN
from dynamodb_wrapper.serialization.codec import plain
from dynamodb_wrapper.serialization.field_values import encode_at, validated
from dynamodb_wrapper.serialization.paths import resolve
from dynamodb_wrapper.serialization.values import encode_value

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from dynamodb_wrapper.aws.calls import Caller
    from dynamodb_wrapper.models.run_state import RunOutcome
    from dynamodb_wrapper.repositories.run_log.items import RunReads
    from dynamodb_wrapper.repositories.run_log.leases import LeaseStamp
    from dynamodb_wrapper.repositories.run_log.protocol import Builder
    from dynamodb_wrapper.repositories.run_log.requests import RunLogRequests
    from dynamodb_wrapper.serialization.values import AttributeValue

logger = SafeLogger(__name__)
MAX_WATERMARK_BYTES = 65_536
_TEXT_BYTES = 4096


class LiveRuns:
    """Changes live runs of one run table, and watermarks by hand.

    Args:
        reads: Reads for decisions.
        build: Builds the requests.
        secrets: Refused in watermarks.
    """

    def __init__(self, reads: RunReads, build: Builder, secrets: Iterable[str] = ()) -> None:
        self._reads = reads
        self._secrets = secrets
        self._build = build
        self._caller = reads.caller

    def beat(self, run: PipelineRunLog, stamp: LeaseStamp) -> PipelineRunLog | None:
        """Renew a lease and return the run as it then is; None if it no longer exists.

        Nothing is renewed if the run has another writer or has ended: the returned run shows it.
        """
        found = self._beat(run, stamp)
        if (
            found is not None
            and found.writer == run.writer
            and found.lease_until not in (None, run.lease_until, stamp.lease_until)
        ):
            return self._beat(found, stamp)  # an earlier beat arrived, and its reply did not
        return found

    def _beat(self, run: PipelineRunLog, stamp: LeaseStamp) -> PipelineRunLog | None:
        request = self._build.beat(run, stamp)
        try:
            response = self._caller.call("UpdateItem", request, key={"run_id": run.run_id})
        except ConditionFailedError as error:
            found = botocore_error(error).get("Item")
            return self._reads.decode(found) if found else None
        return self._reads.decode(response["Attributes"])

    def request_cancel(self, run_id: str, by: str, now: datetime) -> PipelineRunLog:
        """Ask a live run to end itself, and return it."""
        refuse_companion(run_id)
        request = self._build.request_cancel(run_id, by, now)
        try:
            response = self._caller.call("UpdateItem", request, key={"run_id": run_id})
        except ConditionFailedError as error:
            found = botocore_error(error).get("Item")
            context: dict[str, Any] = {
                "table_name": self._caller.table_name,
                "key": {"run_id": run_id},
            }
            if not found:
                raise ItemNotFoundError(f"There is no run {run_id!r}.", **context) from error
            status = self._reads.decode(found).status
            raise InvalidTransitionError(
                f"Run {run_id} cannot be cancelled: it has ended as {status}.", **context
            ) from error
        return self._reads.decode(response["Attributes"])

    def reset_watermark(self, pipeline_id: str, name: str, value: Any, now: datetime) -> Cursor:
        """Set a watermark by hand and return it; its present value does not matter."""
        for _ in self._caller.backoff().waits():
            seen = self._reads.cursor(pipeline_id, name)
            action = self._build.move_cursor(
                pipeline_id, cursor_move(seen, value, self._secrets), now
            )
            try:
                response = self._caller.call(
                    "UpdateItem", {**action.request, "ReturnValues": "ALL_NEW"}
                )
            except ConditionFailedError:
                continue  # a run moved it in between: read again
            return read_cursor(name, response["Attributes"])
        raise self._reads.gave_up(f"Watermark {name!r} of pipeline {pipeline_id!r}")


def cursor_move(seen: Cursor, value: Any, secrets: Iterable[str] = ()) -> CursorMove:
    """Return the move of a watermark to a value.

    Raises:
        ValidationError: The type of the value cannot be stored, it is over 64 KB, or it holds one
            of the secrets.
    """
    try:
        value_type, plain = pack(value)
    except ValueError as error:
        raise ValidationError(f"Watermark {seen.name!r} {error}.") from error
    encoded = encode_value(plain, f"watermark {seen.name!r}")
    content = next(iter(encoded.values()))
    size = len(content if isinstance(content, bytes) else str(content).encode())
    text = content.decode("latin-1") if isinstance(content, bytes) else str(content)
    if redact_known(text, secrets) != text:
        raise ValidationError(
            f"The value of watermark {seen.name!r} holds a secret of this process; it would be "
            "stored in the clear. Store a position that holds none."
        )
    if size > MAX_WATERMARK_BYTES:
        raise ValidationError(
            f"Watermark {seen.name!r} has {size:,} bytes; {MAX_WATERMARK_BYTES:,} are the limit. "
            "Store a position, not the data."
        )
    return CursorMove(seen, plain, value_type)


class RunParts:
    """Changes single paths of a RUN, never the whole, so that several threads can do so at once."""

    def __init__(
        self,
        caller: Caller,
        requests: RunLogRequests,
    ) -> None:
        self._caller = caller
        self._decode = requests.codec.decode
        self._requests = requests
        self._secrets = requests.secrets

    def put(
        self, run_id: str, parts: Mapping[tuple[str, ...], Any], *, writer: str | None = None
    ) -> None:
        """Set parts of a running run, whose writer is `writer` if given.

        Args:
            run_id: The run.
            parts: Values by path: a field, or a field and an entry of its map.
            writer: Random id of the handle that owns the run.
        """
        refuse_companion(run_id)
        table, key = self._caller.table_name, self._requests.key(run_id)
        request = put_parts(table, key, self.encoded(parts), writer)
        try:
            self._call(run_id, request)
        except ValidationError as error:
            if error.error_code is None:
                raise
            # Another program wrote the run without the maps: create them, then try once more.
            for name in sorted({path[0] for path in parts if len(path) > 1}):
                self._call(run_id, put_empty_map(table, key, name))
            self._call(run_id, request)

    def encoded(
        self, parts: Mapping[tuple[str, ...], Any]
    ) -> dict[tuple[str, ...], AttributeValue]:
        """Return parts as they are stored: checked by their fields, without secrets, not too long.

        Raises:
            ValidationError: A value does not fit its field, or a name cannot be stored.
        """
        found = {}
        for given, value in parts.items():
            path = self._path(given)
            target = resolve(PipelineRunLog, path)
            encoded = encode_at(target, validated(target, value, managed=len(path) == 1))
            found[path] = self._entry(path[-1], encoded)
        return found

    def storable(self, outcome: RunOutcome) -> RunOutcome:
        """Return an outcome without secrets, and without parts that cannot be stored."""
        return replace(
            outcome,
            parts=self.encodable(outcome.parts),
            error=self._requests.clean_error(outcome.error),
        )

    def encodable(
        self, parts: Mapping[tuple[str, ...], Any]
    ) -> dict[tuple[str, ...], AttributeValue]:
        """Return parts as `encoded`, without those that cannot be stored."""
        found = {}
        for path, value in parts.items():
            try:
                found.update(self.encoded({path: value}))
            except ValidationError as error:
                logger.warning("A part of a run cannot be stored and is left out: %s", error)
        return found

    def _path(self, path: tuple[str, ...]) -> tuple[str, ...]:
        """Return a path whose names are in their stored form."""
        field, *names = path
        return (field, *(self._name(name, field) for name in names))

    def _name(self, name: str, field: str) -> str:
        return redact_known(checked_name(name, f"An entry of {field}"), self._secrets)

    def set_status(
        self, run: PipelineRunLog, outcome: RunOutcome, before: Sequence[RunStatus]
    ) -> PipelineRunLog:
        """Change the status of a run that holds no lock, on condition of the statuses before it."""
        request = set_status(self._caller.table_name, run, outcome, before, self._requests.actor)
        response = self._call(run.run_id, request, wanted=outcome.status)
        return self._decode(response["Attributes"])

    def _presentable(self, value: AttributeValue) -> AttributeValue:
        """Take secrets out of texts and cut long ones, so that the item does not grow too large."""
        ((tag, content),) = value.items()
        if tag == "S":
            return {"S": stored_text(content, self._secrets, _TEXT_BYTES)}
        if tag == "L":
            return {"L": [self._presentable(inner) for inner in content]}
        if tag != "M":
            return value
        return {
            "M": {
                self._name(name, "a part"): self._entry(name, inner)
                for name, inner in content.items()
            }
        }

    def _entry(self, name: str, value: AttributeValue) -> AttributeValue:
        if is_secret_key(name) and "S" in value:
            return {"S": REDACTED}
        return self._presentable(value)

    def _call(
        self, run_id: str, request: dict[str, Any], wanted: RunStatus | None = None
    ) -> dict[str, Any]:
        try:
            return self._caller.call("UpdateItem", request, key={"run_id": run_id})
        except ConditionFailedError as error:
            raise self._refusal(run_id, error, wanted) from error

    def _refusal(
        self, run_id: str, error: ConditionFailedError, wanted: RunStatus | None
    ) -> DynamoDBWrapperError:
        found = plain(botocore_error(error).get("Item")) or {}
        context: dict[str, Any] = {
            "table_name": self._caller.table_name,
            "key": {"run_id": run_id},
            "operation": "UpdateItem",
            "maybe_applied": error.maybe_applied,
        }
        unknown = f" {UNKNOWN}" if error.maybe_applied else ""
        if not found:
            return ItemNotFoundError(f"There is no run {run_id!r}.{unknown}", **context)
        status = found.get("status")
        if wanted is not None:
            return InvalidTransitionError(
                f"Run {run_id} cannot change from {status} to {wanted}.{unknown}", **context
            )
        return InvalidTransitionError(
            f"Run {run_id} is {status}; stages, metrics and checks are stored while it runs."
            f"{unknown}",
            **context,
        )
