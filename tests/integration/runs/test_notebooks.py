"""Runs in the cells of a notebook: a kernel of Jupyter, and cells that only look like its own."""

from __future__ import annotations

import contextvars
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from dynamodb_wrapper.exceptions import AlreadyRunningError
from dynamodb_wrapper.models import PipelineConfig
from dynamodb_wrapper.runs import RunTracker, current_run, find_current_run
from tests.support.processes import LIMIT_SECONDS, in_a_thread, settings_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dynamodb_wrapper.config import DynamoDBConfig


@pytest.fixture
def pipeline_configs() -> list[PipelineConfig]:
    return [
        PipelineConfig(pipeline_id="p"),
        PipelineConfig(pipeline_id="q", max_concurrent_runs=None),
    ]


def cell(work: Any) -> Any:
    """Call a function as a cell that awaits: in a context that is gone afterwards."""
    return contextvars.copy_context().run(work)


@pytest.fixture
def prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make this process interactive, as Python's prompt and IPython do."""
    monkeypatch.setattr(sys, "ps1", "In : ", raising=False)


def in_a_new_thread(work: Callable[[], None]) -> None:
    """Call a function where no run of another test is current, and raise what it raises."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(work).result()


@pytest.mark.usefixtures("prompt")
def test_a_started_run_stays_current_in_the_next_cells(tracker: RunTracker) -> None:
    def session() -> None:
        run = cell(lambda: tracker.start("p"))
        assert cell(current_run) is run
        child = cell(lambda: tracker.start("q"))
        assert child.record.parent_run_id == run.run_id
        assert cell(current_run) is child
        elsewhere: list[Any] = []
        in_a_thread(lambda: elsewhere.append(find_current_run()))
        assert elsewhere == [None]
        cell(child.finish)
        with pytest.raises(AlreadyRunningError, match=r"of this process.*current_run\(\)") as error:
            cell(lambda: tracker.start("p"))
        assert error.value.self_nested
        cell(run.finish)
        assert cell(find_current_run) is None

    in_a_new_thread(session)


def test_outside_of_a_notebook_a_context_has_only_its_own_runs(tracker: RunTracker) -> None:
    def session() -> None:
        run = cell(lambda: tracker.start("p"))
        assert find_current_run() is None
        with pytest.raises(AlreadyRunningError, match=f"Run {run.run_id} was begun in this very"):
            tracker.start("p")
        run.finish()

    in_a_new_thread(session)


class Kernel:
    """A kernel of Jupyter.

    Args:
        client: Sends cells to it.
    """

    def __init__(self, client: Any) -> None:
        self._client = client

    def run(self, code: str) -> str:
        """Run a cell and return what it printed or raised."""
        shown: list[str] = []

        def note(message: Any) -> None:
            content = message["content"]
            if message["msg_type"] == "stream":
                shown.append(content["text"])
            elif message["msg_type"] == "error":
                shown.append(f"{content['ename']}: {content['evalue']}")

        self._client.execute_interactive(code, output_hook=note, timeout=LIMIT_SECONDS)
        return "".join(shown)


@pytest.fixture
def kernel(local_tables: DynamoDBConfig) -> Iterator[Kernel]:
    pytest.importorskip("ipykernel", reason="needs a kernel")
    start_new_kernel = pytest.importorskip("jupyter_client.manager").start_new_kernel
    manager, client = start_new_kernel(kernel_name="python3")
    kernel = Kernel(client)
    kernel.run(
        "import asyncio, logging, threading\n"
        "from dynamodb_wrapper import *\n"
        "from dynamodb_wrapper.runs import *\n"
        f"config = DynamoDBConfig.for_local_development(**{settings_of(local_tables)!r})\n"
        "tracker = RunTracker(config)\n"
        "log = logging.getLogger('job')\n"
    )
    try:
        yield kernel
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def test_a_kernel_keeps_a_started_run_through_cells_that_await(
    kernel: Kernel, tracker: RunTracker
) -> None:
    printed = kernel.run("log.warning('before')")
    assert printed == kernel.run("run = tracker.start('p'); log.warning('before')")
    assert kernel.run("await asyncio.sleep(0); log.warning('awaiting')") == "awaiting\n"
    assert kernel.run("print(current_run() is run)") == "True\n"
    assert "held by run" in kernel.run("await asyncio.sleep(0); tracker.start('p')")
    assert kernel.run("run.finish(); print(find_current_run())") == "None\n"
    kernel.run("await asyncio.sleep(0); run = tracker.start('p')")
    assert kernel.run("log.warning('later'); print(current_run() is run)") == "later\nTrue\n"
    assert "of this process" in kernel.run("tracker.start('p')")
    assert kernel.run("await asyncio.sleep(0); current_run().finish()") == ""
    found = tracker.runs.get_runs_by_pipeline("p")
    assert [run.status for run in found] == ["success", "success"]
    lines = [line for run in found for line in tracker.runs.get_log_lines(run.run_id)]
    assert [line.partition("job: ")[2] for line in lines] == ["later", "before", "awaiting"]


def test_a_cell_that_fails_fails_its_block_alone(kernel: Kernel, tracker: RunTracker) -> None:
    shown = kernel.run("with tracker.run('p'):\n    await asyncio.sleep(0)\n    raise KeyError(7)")
    assert "KeyError" in shown
    assert kernel.run("with tracker.run('p'):\n    await asyncio.sleep(0)") == ""
    found = tracker.runs.get_runs_by_pipeline("p")
    assert [run.status for run in found] == ["success", "failed"]
