"""Build requests for run records; run control alone writes the runs that have a writer."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dynamodb_wrapper.aws.credentials import ProcessSecrets
from dynamodb_wrapper.exceptions.errors import ValidationError
from dynamodb_wrapper.models import arguments
from dynamodb_wrapper.models.run import PipelineRunLog
from dynamodb_wrapper.redaction import redact_known, redact_values, stored_text, without_known
from dynamodb_wrapper.repositories.item_requests import ItemRequests, Write
from dynamodb_wrapper.repositories.moments import write_time
from dynamodb_wrapper.repositories.run_log.items import (
    is_companion,
    refuse_companion,
    refuse_secret,
)
from dynamodb_wrapper.serialization.changes import CheckedChanges
from dynamodb_wrapper.serialization.expressions import field_absent

if TYPE_CHECKING:
    from boto3.dynamodb.conditions import ConditionBase

    from dynamodb_wrapper.config.settings import DynamoDBConfig
    from dynamodb_wrapper.models.run import RunErrorInfo
    from dynamodb_wrapper.models.table import Table
    from dynamodb_wrapper.serialization.values import Item

_BY_RUN_CONTROL = frozenset(
    "status status_reason status_detail start_time end_time duration_seconds fence run_seq writer "
    "pipeline_id environment expires_at late_outcome detected_at stages metrics data_quality "
    "runtime error error_type exit_code retention_days".split()
)
_FOUND_BY = {"run_id": "A run", "run_key": "A run key"}
_DETAIL_BYTES = 2000
_ERROR_BYTES = 4096


class RunLogRequests(ItemRequests[PipelineRunLog]):
    """Builds the requests of the run table: no secrets in texts, no change of tracked runs.

    A run with a `writer` is tracked. `put`, `update_model` and `delete` refuse it, whether the
    object has the writer or the stored item; `start` is for run control.

    Args:
        table: The declaration.
        config: Table name, actor, environment and secrets.
        client: A boto3 client that was passed in.

    Attributes:
        secrets: Values to take out of texts, as they are at the moment.
    """

    def __init__(
        self, table: Table[PipelineRunLog], config: DynamoDBConfig, client: Any = None
    ) -> None:
        super().__init__(
            table, config.table_name(table.name), config.actor_name(), config.item_environment
        )
        self.secrets = ProcessSecrets(config, client)

    def is_own(self, key: Item) -> bool:
        """Return whether a key is that of a run, not of an item beside the runs."""
        return not is_companion(key["run_id"]["S"])

    # ---- run control -----------------------------------------------------------------------------

    def start(self, run: PipelineRunLog) -> Write:
        """Return the put of a tracked run, whose id must be free."""
        return super().create(run)

    def prepared(self, run: PipelineRunLog) -> PipelineRunLog:
        """Return a run with start and environment filled in, its texts without secrets."""
        self.check_model(run)
        if run.start_time is None:
            run.start_time = write_time()
        run.parameters = redact_values(run.parameters, self.secrets)
        run.error = self.clean_error(run.error)
        self._clean(run)
        if run.environment is None:
            run.environment = self.environment
        return run

    def _clean(self, run: PipelineRunLog) -> None:
        """Take known secrets out of a run; refuse one in what it is found by."""
        known = tuple(self.secrets)
        for name, what in _FOUND_BY.items():
            refuse_secret(getattr(run, name), what, known)
        for name, value in list(run):
            clean = without_known(value, known)
            if clean != value and name != "pipeline_id":
                setattr(run, name, clean)

    def clean_text(self, text: str) -> str:
        """Return a text without secrets, at most 2,000 bytes."""
        return stored_text(text, self.secrets, _DETAIL_BYTES)

    def clean_error(self, error: RunErrorInfo | None) -> RunErrorInfo | None:
        """Return an error whose texts are without secrets, each at most 4,096 bytes."""
        if error is None:
            return None
        texts = {name: value for name, value in error if name != "type" and isinstance(value, str)}
        clean = {
            name: stored_text(text, self.secrets, _ERROR_BYTES) for name, text in texts.items()
        }
        kind = redact_known(error.type, self.secrets)
        return error.model_copy(update={**clean, "type": kind})

    def key(self, key: Any) -> Item:
        """Return the key attributes of a run; the key of an item beside the runs is refused."""
        refuse_companion(key)
        return super().key(key)

    # ---- records of other systems ----------------------------------------------------------------

    def untracked(self, run: PipelineRunLog) -> PipelineRunLog:
        """Return a prepared run; a tracked one is refused."""
        self.check_model(run)
        _refuse_tracked(run)
        return self.prepared(run)

    def create(self, item: PipelineRunLog) -> Write:
        """Return a PutItem of a new record; a tracked run is refused."""
        return super().create(self.untracked(item))

    def put(self, item: PipelineRunLog, condition: ConditionBase | None) -> Write:
        """Return a PutItem that replaces a record that is not tracked."""
        write = super().put(self.untracked(item), _and_untracked(condition))
        return replace(write, explain=_explain_tracked)

    def update_model(self, item: PipelineRunLog, condition: ConditionBase | None) -> Write:
        """Return an UpdateItem of every field of a record that is not tracked."""
        _refuse_tracked(item)
        if isinstance(item, PipelineRunLog):
            self._clean(item)
        write = super().update_model(item, _and_untracked(condition))
        return replace(write, explain=_explain_tracked)

    def update_key(
        self, key: Any, changes: CheckedChanges, condition: ConditionBase | None, upsert: bool
    ) -> Write:
        """Return an UpdateItem of fields that run control does not own, such as notes and tags."""
        guarded = sorted(changes.touched & _BY_RUN_CONTROL)
        if guarded or upsert:
            raise ValidationError(
                f"update cannot change {', '.join(guarded) or 'a run that may not exist'}: use "
                "update_run_status for a status, add_stage_info, update_run_metrics and "
                "add_data_quality for parts, create_run_log for a new record."
            )
        known = tuple(self.secrets)
        clean = changes._replace(
            values=without_known(changes.values, known),
            clauses=without_known(changes.clauses, known),
        )
        return super().update_key(key, clean, condition, upsert)

    def delete(self, key: Any, condition: ConditionBase | None, must_exist: bool) -> Write:
        """Return a DeleteItem of a record that is not tracked."""
        if isinstance(key, PipelineRunLog):
            _refuse_tracked(key)
        write = super().delete(key, _and_untracked(condition), must_exist)
        return replace(write, explain=_explain_tracked)


def _refuse_tracked(run: PipelineRunLog) -> None:
    if isinstance(run, PipelineRunLog) and run.is_tracked:
        raise _belongs_to_run_control(run.run_id)


def _explain_tracked(found: Item) -> ValidationError | None:
    """Return the error for a refused write that met a tracked run."""
    is_tracked = bool(found.get("writer", {}).get("S"))
    return _belongs_to_run_control(found["run_id"]["S"]) if is_tracked else None


def _belongs_to_run_control(run_id: str) -> ValidationError:
    return ValidationError(
        f"Run {run_id!r} belongs to run control. Change its status with update_run_status, its "
        "parts with add_stage_info, add_data_quality and update_run_metrics, free its pipeline "
        "with release; once it has ended, runs.delete(run_id) deletes it and runs.expire(run_id, "
        "after) sets when TTL does.",
        key={"run_id": run_id},
    )


def _and_untracked(condition: ConditionBase | None) -> ConditionBase:
    from boto3.dynamodb.conditions import ConditionBase

    untracked = field_absent("writer")
    if condition is None:
        return untracked
    if not isinstance(condition, ConditionBase):
        raise ValidationError(
            f"condition is {arguments.shown(condition)}; it is a condition made with boto3's Attr."
        )
    return untracked & condition
