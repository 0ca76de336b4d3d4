"""The spool: outcomes kept in files until they can be stored."""

from __future__ import annotations

import json
import os
import stat
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from dynamodb_wrapper.models import (
    DataQualityResult,
    PipelineRunLog,
    RunErrorInfo,
    RunStatus,
    StageInfo,
)
from dynamodb_wrapper.models.run_state import Cursor, CursorMove, RunOutcome
from dynamodb_wrapper.runs.spool import Spool, SpooledRun

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime(2026, 3, 29, 12, tzinfo=timezone.utc)


def spooled(**outcome: Any) -> SpooledRun:
    move = CursorMove(Cursor("w", b"\x00", "binary", 4, "r0", "then"), Decimal("1.50"), "decimal")
    record = PipelineRunLog(
        run_id="odd/run:id",
        pipeline_id="p",
        status=RunStatus.RUNNING,
        writer="w",
        lease_grace_seconds=10,
        lease_until=NOW + timedelta(seconds=5),
        start_time=NOW,
        parameters={"day": "x", "$decimal": "1"},
        run_seq=7,
        fence=9,
    )
    values: dict[str, Any] = {
        "error": RunErrorInfo(type="ValueError", message="m", fingerprint="f"),
        "end_time": NOW,
        "fields": {"status_detail": "d", "watermark_conflict": False},
        "parts": {
            ("stages", "s"): StageInfo(start_time=NOW, metrics={"m": Decimal("1.5")}),
            ("data_quality", "q"): DataQualityResult(passed=True),
            ("metrics", "n"): 3,
            ("inputs",): ["a", "b"],
        },
        "moves": (move,),
    }
    return SpooledRun(
        "table", record, RunOutcome(RunStatus.FAILED, "exception", **{**values, **outcome})
    )


class TestSpool:
    def test_an_outcome_comes_back_as_it_was_kept(self, tmp_path: Path) -> None:
        spool, run = Spool(tmp_path / "spool"), spooled()
        spool.keep(run)
        (entry,) = spool.kept("table")
        assert entry.run.record == run.record
        found, given_ = entry.run.outcome, run.outcome
        assert found.moves == given_.moves
        assert found.error == given_.error
        assert (found.status, found.reason, found.end_time) == (RunStatus.FAILED, "exception", NOW)
        assert found.fields == given_.fields
        assert StageInfo(**found.parts["stages", "s"]) == given_.parts["stages", "s"]
        assert found.parts["metrics", "n"] == 3
        assert found.parts[("inputs",)] == ["a", "b"]

    def test_only_its_user_can_read_it(self, tmp_path: Path) -> None:
        path = Spool(tmp_path / "spool").keep(spooled())
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        assert stat.S_IMODE(os.stat(path.parent).st_mode) == 0o700

    def test_it_is_one_line_of_json_and_replaces_the_one_before(self, tmp_path: Path) -> None:
        spool = Spool(tmp_path)
        path = spool.keep(spooled())
        assert spool.keep(spooled()) == path
        (line,) = path.read_text().splitlines()
        assert json.loads(line)["format"] == 1
        assert list(tmp_path.iterdir()) == [path]

    def test_only_the_outcomes_of_the_table_and_pipeline_are_found(self, tmp_path: Path) -> None:
        spool = Spool(tmp_path)
        spool.keep(spooled())
        assert list(spool.kept("another")) == []
        assert list(spool.kept("table", "q")) == []
        assert len(list(spool.kept("table", "p"))) == 1

    def test_a_file_that_cannot_be_read_is_left_and_told(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        spool = Spool(tmp_path)
        spool.keep(spooled())
        broken = tmp_path / "broken.jsonl"
        broken.write_text('{"format": 1, "rec')
        (tmp_path / "newer.jsonl").write_text('{"format": 99}')
        assert len(list(spool.kept("table"))) == 1
        assert broken.exists()
        assert "broken.jsonl cannot be read" in caplog.text
        assert "format 99" in caplog.text

    def test_no_secret_of_the_process_is_written(self, tmp_path: Path) -> None:
        secret = "hunter2-hunter2-hunter2"
        run = spooled(parts={("metrics", "m"): f"key {secret}"}, fields={"status_detail": secret})
        path = Spool(tmp_path, (secret,)).keep(run)
        assert secret not in path.read_text()

    def test_what_is_dropped_or_set_aside_is_not_found_again(self, tmp_path: Path) -> None:
        spool = Spool(tmp_path)
        spool.keep(spooled())
        (entry,) = spool.kept("table")
        aside = entry.set_aside()
        assert aside.suffix == ".refused"
        assert list(spool.kept("table")) == []
        spool.keep(spooled())
        (entry,) = spool.kept("table")
        entry.drop()
        entry.drop()
        assert list(spool.kept("table")) == []
