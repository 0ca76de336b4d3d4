"""DynamoDB in trouble at every call of a run: a table of all injections, and what holds in each.

A run without trouble is recorded first, so that a call that is added later gets its rows by itself.
Each row of the table is one run in which one call of that list, or it and everything after it,
meets one fault. Faults enter through botocore's events; what is stored is read with plain boto3.
"""

from __future__ import annotations

import gzip
import json
import logging
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dynamodb_wrapper.aws.client import client_for
from dynamodb_wrapper.exceptions import DynamoDBWrapperError, RunFinishError, RunStartError
from dynamodb_wrapper.models import PipelineConfig
from dynamodb_wrapper.repositories import PipelineConfigRepository, create_tables
from dynamodb_wrapper.runs import Run, RunOptions, RunTracker
from tests.support import faults
from tests.support.engines import isolated
from tests.support.runs import beat, run_table_items

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from dynamodb_wrapper.config import DynamoDBConfig
    from dynamodb_wrapper.runs import ReplayedOutcome
    from tests.support.engines import Engine

pytestmark = pytest.mark.newest_only

START, BODY, END, TEXTS = "start", "body", "end", "texts"
ACCESS_DENIED = "access denied"
RUN_KEY = "2026-03-29"
LONG_TEXT = "a text that is longer than what is stored with the run itself. " * 100


@dataclass(frozen=True)
class Case:
    """One injection.

    Attributes:
        pipeline_id: A pipeline of its own; exclusive with a run key, or unlimited without.
        raises: Whether the body raises.
        number: Which of the run's calls is the first to meet the fault, from 1.
        call: The operation it is in a run without trouble.
        phase: When that call is made: at the start, in the body, to store the end, or to store
            the texts beside the run.
        fault: Name of the fault.
        lasts: Whether everything from there on meets it, or that one attempt only.
    """

    pipeline_id: str
    is_exclusive: bool
    raises: bool
    number: int = 0
    call: str = ""
    phase: str = ""
    fault: str = ""
    lasts: bool = False

    @property
    def run_key(self) -> str | None:
        return RUN_KEY if self.is_exclusive else None

    @property
    def is_overcome(self) -> bool:
        """Whether trying again helps."""
        return not self.lasts and self.fault != ACCESS_DENIED

    @property
    def enters(self) -> bool:
        """Whether the body is entered: also where only dead runs of others could not be found."""
        is_tidying = self.call == "Query" and not self.lasts
        return self.phase != START or self.is_overcome or is_tidying

    @property
    def keeps_end(self) -> bool:
        """Whether the end cannot be stored; parts of the run alone can wait for the end."""
        in_time = self.phase == END or (self.phase == BODY and self.lasts)
        return in_time and not self.is_overcome

    @property
    def loses_texts(self) -> bool:
        """Whether the end is stored, and the texts beside it are not."""
        return self.phase == TEXTS and not self.is_overcome


@dataclass
class Row:
    """What became of an injection.

    Attributes:
        own: What the body raised.
        cause: What it raised that from.
        context: What it was handling meanwhile.
        left: What left the block.
        run_id: The run, if its body was entered.
        advanced: Whether the body could move its watermark.
        met: Operations that met the fault.
    """

    case: Case
    own: BaseException | None = None
    cause: BaseException | None = None
    context: BaseException | None = None
    left: BaseException | None = None
    run_id: str | None = None
    advanced: bool = False
    met: list[str] = field(default_factory=list)

    def __repr__(self) -> str:
        return f"\n{self.case}: left {self.left!r}, met {self.met}"


@dataclass
class Store:
    """Items of the run table, by key."""

    items: dict[str, dict[str, Any]]

    def run(self, row: Row) -> dict[str, Any]:
        return self.items[str(row.run_id)]

    def runs(self, row: Row) -> list[dict[str, Any]]:
        mine = row.case.pipeline_id
        found = (item for item in self.items.values() if item["kind"] == "RUN")
        return [item for item in found if item["pipeline_id"] == mine]

    def beside(self, row: Row, kind: str) -> dict[str, Any]:
        keys = {
            "state": f"#pipeline#{row.case.pipeline_id}",
            "slot": f"#slot#{row.case.pipeline_id}#{RUN_KEY}",
            "cursor": f"#cursor#{row.case.pipeline_id}#position",
        }
        return self.items.get(keys[kind], {})


@dataclass
class Table:
    """All injections on one engine.

    Attributes:
        rows: One per injection.
        log: What the library logged.
        kept: Ids of the runs in the spool once all bodies had ended.
        after: What was stored then.
        replayed: What the first replay told.
        replayed_again: What the second one told.
        left: What is in the spool after both.
        final: What is stored after both.
    """

    rows: list[Row]
    log: list[logging.LogRecord]
    kept: set[str]
    after: Store
    replayed: list[ReplayedOutcome]
    replayed_again: list[ReplayedOutcome]
    left: list[Path]
    final: Store

    @property
    def entered(self) -> list[Row]:
        return [row for row in self.rows if row.run_id is not None]

    @property
    def failed(self) -> list[Row]:
        return [row for row in self.entered if row.case.raises]

    @property
    def succeeded(self) -> list[Row]:
        return [row for row in self.entered if not row.case.raises]


# ---- the runs ------------------------------------------------------------------------------------


def work(run: Run, row: Row) -> None:
    """Ask everything of a run that a body may; trouble with what it reads is its own to handle."""
    if run.fence is not None:
        with suppress(DynamoDBWrapperError):
            run.advance_watermark("position", run.watermark("position", 0) + 7)
            row.advanced = True
    run.log_metric("rows", 7)
    with run.stage("load") as stage:
        stage.log_rows(read=7)
    with suppress(DynamoDBWrapperError):
        beat(run)
    logging.getLogger("a.job").warning("a line of the job")


def fail(row: Row) -> None:
    row.own, row.cause = ValueError(LONG_TEXT), OSError("the disk")
    try:
        raise KeyError("the config")
    except KeyError as error:
        row.context = error
        raise row.own from row.cause


def run_once(tracker: RunTracker, case: Case, row: Row) -> None:
    """Run the body of a case, and note what left its block."""
    options = RunOptions(finish_seconds=0.3 if case.lasts else 30)
    try:
        with tracker.run(case.pipeline_id, run_key=case.run_key, options=options) as run:
            row.run_id = run.run_id
            work(run, row)
            if case.raises:
                fail(row)
    except Exception as error:
        row.left = error


def injected(tracker: RunTracker, troubles: faults.Troubles, case: Case) -> Row:
    row = Row(case)
    times = float("inf") if case.lasts else 1
    fault = faults.ALL[case.fault]
    with troubles.here(fault, first=case.number, times=times) as row.met:
        run_once(tracker, case, row)
    return row


def recorded_calls(tracker: RunTracker, troubles: faults.Troubles, case: Case) -> list[Case]:
    """Return a case for every call of a run without trouble."""
    row = Row(case)
    with troubles.here(faults.passed) as calls:
        with suppress(ValueError), tracker.run(case.pipeline_id, run_key=case.run_key) as run:
            begun = len(calls)
            work(run, row)
            worked = len(calls)
            if case.raises:
                fail(row)
    ended = len(calls) - calls[::-1].index("TransactWriteItems")
    bounds = {START: begun, BODY: worked, END: ended, TEXTS: len(calls)}
    phases = [next(phase for phase in bounds if n < bounds[phase]) for n in range(len(calls))]
    return [
        replace(case, number=number, call=call, phase=phase)
        for number, (call, phase) in enumerate(zip(calls, phases), 1)
    ]


def all_cases(config: DynamoDBConfig, troubles: faults.Troubles) -> list[Case]:
    """Return every call of a run with every fault, and store a pipeline for each.

    How a body ends matters to what stores its end, of an exclusive run; elsewhere bodies that raise
    and bodies that succeed take turns.
    """
    cases: list[Case] = []
    for is_exclusive, raises in product((True, False), (True, False)):
        blank = Case(f"recorded-{is_exclusive}-{raises}", is_exclusive, raises)
        store_pipelines(config, [blank])
        calls = recorded_calls(RunTracker(config), troubles, blank)
        for turn, (case, name, lasts) in enumerate(product(calls, faults.ALL, (True, False))):
            is_its_turn = raises == bool(turn // 2 % 2)
            if is_its_turn or (is_exclusive and case.phase in (END, TEXTS)):
                cases.append(replace(case, fault=name, lasts=lasts))
    cases.sort(key=lambda case: case.keeps_end or case.loses_texts)  # a start reads all the spool
    named = [replace(case, pipeline_id=f"p{n}") for n, case in enumerate(cases)]
    store_pipelines(config, named)
    return named


def store_pipelines(config: DynamoDBConfig, cases: list[Case]) -> None:
    PipelineConfigRepository(config).put_many(
        PipelineConfig(
            pipeline_id=case.pipeline_id, max_concurrent_runs=1 if case.is_exclusive else None
        )
        for case in cases
    )


@pytest.fixture(scope="module")
def table(local_engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Table:
    """All injections, on the embedded engine."""
    spool = tmp_path_factory.mktemp("spool")
    settings = {
        "max_attempts": 2,
        "operation_timeout_seconds": 2.0,
        "spool_directory": str(spool),
    }
    config = isolated(local_engine.config).model_copy(update=settings)
    create_tables(config)
    troubles = faults.Troubles(client_for(config), client_for(config.impatient()))
    cases = all_cases(config, troubles)
    tracker = RunTracker(config)
    with logged() as log, ThreadPoolExecutor(16) as pool:
        rows = list(pool.map(partial(injected, tracker, troubles), cases))
    kept = {json.loads(path.read_text())["record"]["run_id"] for path in spool.iterdir()}
    after = Store(run_table_items(config))
    replayed, again = tracker.replay_outcomes(), tracker.replay_outcomes()
    left = list(spool.iterdir())
    final = Store(run_table_items(config))
    return Table(rows, log, kept, after, replayed, again, left, final)


@contextmanager
def logged() -> Iterator[list[logging.LogRecord]]:
    """Collect what the library logs."""
    records: list[logging.LogRecord] = []

    class Collecting(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    handler = Collecting()
    logging.getLogger("dynamodb_wrapper").addHandler(handler)
    try:
        yield records
    finally:
        logging.getLogger("dynamodb_wrapper").removeHandler(handler)


# ---- the table itself ----------------------------------------------------------------------------


def test_every_injection_took_place(table: Table) -> None:
    assert [row for row in table.rows if not row.met] == []


def test_the_table_has_every_call_of_a_run_with_every_fault(table: Table) -> None:
    for name, lasts in product(faults.ALL, (True, False)):
        rows = [r.case for r in table.rows if (r.case.fault, r.case.lasts) == (name, lasts)]
        exclusive = {case.number: (case.phase, case.call) for case in rows if case.is_exclusive}
        assert [exclusive[number] for number in sorted(exclusive)] == [
            (START, "GetItem"),  # the pipeline
            (START, "GetItem"),  # who holds it
            (START, "GetItem"),  # who tried the run key
            (START, "TransactWriteItems"),
            (BODY, "GetItem"),  # the watermark
            (BODY, "UpdateItem"),  # a metric
            (BODY, "UpdateItem"),  # a stage begins
            (BODY, "UpdateItem"),  # and ends
            (BODY, "UpdateItem"),  # a beat
            (END, "GetItem"),  # the history of the pipeline
            (END, "TransactWriteItems"),
            (TEXTS, "PutItem"),  # log lines
            (TEXTS, "PutItem"),  # the whole stack
        ]
        unlimited = {case.number: (case.phase, case.call) for case in rows if not case.is_exclusive}
        assert [unlimited[number] for number in sorted(unlimited)][:11] == [
            (START, "GetItem"),  # the pipeline
            (START, "Query"),  # dead runs of others
            (START, "UpdateItem"),  # the number of the run
            (START, "TransactWriteItems"),
            (BODY, "UpdateItem"),
            (BODY, "UpdateItem"),
            (BODY, "UpdateItem"),
            (BODY, "UpdateItem"),
            (END, "GetItem"),
            (END, "TransactWriteItems"),
            (TEXTS, "PutItem"),
        ]


# ---- the start -----------------------------------------------------------------------------------


def test_a_body_is_entered_if_and_only_if_its_start_could_be_stored(table: Table) -> None:
    assert [row for row in table.rows if (row.run_id is not None) != row.case.enters] == []


def test_a_start_that_fails_raises_with_what_went_wrong(table: Table) -> None:
    refused = [row for row in table.rows if row.run_id is None]
    assert refused
    for row in refused:
        assert isinstance(row.left, RunStartError), row
        assert isinstance(row.left.__cause__, DynamoDBWrapperError), row
        assert row.left.retryable == (row.case.fault != ACCESS_DENIED), row


def test_each_injection_is_one_run_at_most(table: Table) -> None:
    """A start that was stored and not known of is the only one without a body."""
    for row in table.rows:
        ids = [item["run_id"] for item in table.final.runs(row)]
        if row.run_id is not None:
            assert ids == [row.run_id], row
        elif ids:
            assert (row.case.fault, row.case.call) == ("lost reply", "TransactWriteItems"), row
            assert len(ids) == 1, row


# ---- a body that raises --------------------------------------------------------------------------


def test_the_exception_of_the_body_leaves_the_block_as_the_same_object(table: Table) -> None:
    assert table.failed
    assert [row for row in table.failed if row.left is not row.own] == []


def test_its_cause_and_context_are_those_the_body_gave_it(table: Table) -> None:
    for row in table.failed:
        assert row.left is not None
        assert row.left.__cause__ is row.cause, row
        assert row.left.__context__ is row.context, row
        assert row.context is not None, row
        assert row.context.__context__ is None, row


def test_its_traceback_leads_through_the_body_and_nowhere_else(table: Table) -> None:
    for row in table.failed:
        assert row.left is not None
        assert functions(row.left.__traceback__) == ["run_once", "fail"], row


def functions(trace: TracebackType | None) -> list[str]:
    found = []
    while trace is not None:
        assert trace.tb_frame.f_code.co_filename == __file__
        found.append(trace.tb_frame.f_code.co_name)
        trace = trace.tb_next
    return found


def test_it_has_one_note_where_something_could_not_be_stored_and_else_none(table: Table) -> None:
    for row in table.failed:
        notes = getattr(row.left, "__notes__", [])
        expected = int(row.case.keeps_end or row.case.loses_texts)
        assert len(notes) == expected, (row, notes)
        assert all(str(row.run_id) in note for note in notes), (row, notes)


# ---- a body that succeeds ------------------------------------------------------------------------


def test_a_success_is_never_stored_as_anything_else(table: Table) -> None:
    assert table.succeeded
    for row in table.succeeded:
        assert table.after.run(row)["status"] in ("running", "success"), row
        assert table.final.run(row)["status"] == "success", row


def test_a_success_that_a_lock_depends_on_tells_that_its_end_is_not_stored(table: Table) -> None:
    for row in table.succeeded:
        if row.case.is_exclusive and row.case.keeps_end:
            assert isinstance(row.left, RunFinishError), row
            assert (row.left.run_id, row.left.outcome) == (row.run_id, "success"), row
        else:
            assert row.left is None, row


def test_an_end_that_is_not_stored_is_logged_once(table: Table) -> None:
    for row in table.entered:
        told = [
            record.levelno
            for record in table.log
            if str(row.run_id) in record.getMessage()
            and "which could not be stored" in record.getMessage()
        ]
        is_grave = row.case.raises or row.case.is_exclusive
        level = logging.ERROR if is_grave else logging.WARNING
        assert told == ([level] if row.case.keeps_end else []), row


# ---- the spool -----------------------------------------------------------------------------------


def test_what_could_not_be_stored_is_in_the_spool_and_nothing_else(table: Table) -> None:
    kept = {row.run_id for row in table.entered if row.case.keeps_end or row.case.loses_texts}
    assert table.kept == kept


def test_a_replay_stores_what_is_in_the_spool_and_a_second_finds_nothing(table: Table) -> None:
    assert {one.run_id for one in table.replayed} == table.kept
    assert [one for one in table.replayed if not one.stored] == []
    assert table.replayed_again == []
    assert table.left == []


def test_in_the_end_every_run_is_stored_as_what_it_came_to(table: Table) -> None:
    for row in table.entered:
        run = table.final.run(row)
        assert run["status"] == ("failed" if row.case.raises else "success"), row
        assert "gx_live" not in run, row
        assert "lease_until" not in run, row
        assert run["end_time"] >= run["start_time"], row


def test_an_error_is_stored_with_its_type_text_and_place(table: Table) -> None:
    for row in table.failed:
        error = table.final.run(row)["error"]
        assert error["type"] == "ValueError", row
        assert error["message"].startswith(LONG_TEXT[:500]), row
        assert "raise row.own from row.cause" in error["stack_tail"] + error["stack_head"], row


def test_parts_recorded_while_dynamodb_was_away_are_stored(table: Table) -> None:
    for row in table.entered:
        run = table.final.run(row)
        assert run["metrics"] == {"rows": 7}, row
        assert run["stages"]["load"]["status"] == "success", row
        assert run["stages"]["load"]["records_read"] == 7, row


def test_watermark_and_success_agree_at_any_time(table: Table) -> None:
    for row, store in product(table.entered, (table.after, table.final)):
        succeeded = store.run(row)["status"] == "success"
        moved = store.beside(row, "cursor").get("value")
        assert moved == (7 if succeeded and row.advanced else None), row


def test_the_run_key_says_what_the_run_came_to(table: Table) -> None:
    for row in table.entered:
        if row.case.is_exclusive:
            slot = table.final.beside(row, "slot")
            assert slot["last_run_id"] == row.run_id, row
            assert slot["status"] == table.final.run(row)["status"], row


def test_in_the_end_every_pipeline_is_free_and_knows_its_last_run(table: Table) -> None:
    for row in table.entered:
        state = table.final.beside(row, "state")
        assert "holder" not in state, row
        assert state["last_run_id"] == row.run_id, row
        assert state["last_status"] == table.final.run(row)["status"], row


def test_log_lines_and_the_whole_stack_are_stored(table: Table) -> None:
    for row in table.entered:
        lines = text_of(table.final, f"{row.run_id}#log#0001")
        assert "WARNING a.job: a line of the job" in lines, row
        assert table.final.run(row)["logs"]["lines"] == len(lines.splitlines()), row
    for row in table.failed:
        assert LONG_TEXT in text_of(table.final, f"{row.run_id}#err#0001"), row


def text_of(store: Store, key: str) -> str:
    return gzip.decompress(bytes(store.items[key]["data"])).decode()
