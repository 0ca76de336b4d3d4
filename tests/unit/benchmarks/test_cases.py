"""Tests that all sides of a benchmark do the same work; no timing decides a test."""

from __future__ import annotations

import json
import os
from contextlib import ExitStack
from importlib import metadata
from importlib.util import find_spec

import pytest

from benchmarks.cases import BOTO3, LIBRARY, ORJSON, SIDES, SPECS, specs
from benchmarks.measure import compare, expected_items, measure, read, ready_case
from benchmarks.memory import growth
from benchmarks.processes import RemoteSide, SideFailedError, environment, started
from benchmarks.recordings import ENDLESS, endless, item_bytes, recordings
from benchmarks.records import records
from benchmarks.replay_server import ReplayServer, read_pages
from benchmarks.startup import fresh_process, startup_case
from benchmarks.worker import loosened

TABLES = records(quick=True)
(GET,) = specs(["get-flat"])


@pytest.fixture(scope="module")
def server():
    with ReplayServer(r for table in TABLES.values() for r in recordings(table)) as server:
        yield server


@pytest.fixture(scope="module")
def side_of(server):
    """Return the process of a side, the same one in all tests."""
    begun = {}

    def of(side):
        if side.name not in begun:
            begun[side.name] = stack.enter_context(
                RemoteSide(side, server.endpoint_url, quick=True)
            )
            begun[side.name].begin()
        return begun[side.name]

    with ExitStack() as stack:
        yield of


def installed(side):
    try:
        return all(metadata.version(package) for package in side.packages)
    except metadata.PackageNotFoundError:
        return False


INSTALLED = [side for side in SIDES if side.required or installed(side)]
each_required_side = pytest.mark.parametrize(
    "side", [side for side in SIDES if side.required], ids=lambda side: side.module
)
each_installed_side_and_case = pytest.mark.parametrize(
    ("side", "spec"),
    [
        pytest.param(side, spec, id=f"{side.module}-{spec.name}")
        for side in INSTALLED
        for spec in SPECS
        if spec.table is not None
        and side.name in spec.sides
        and (spec.operation != "arrow" or side.name == ORJSON or find_spec("pyarrow"))
    ],
)


# ---- all sides do the same -----------------------------------------------------------------------


@each_installed_side_and_case
def test_a_side_reads_or_sends_the_orders(side_of, server, side, spec):
    expected = expected_items(spec, TABLES[spec.table])
    assert read(spec, side_of(side), server)["items"] == expected


@each_required_side
def test_models_are_compared_with_their_types(side_of, side):
    (name, fields_set, values) = side_of(side).read("query-flat")["exact"][0]
    order = TABLES["flat"].items[0]
    assert name == "FlatOrder"
    assert fields_set == sorted(order)
    assert values["total"] == ["Decimal", str(order["total"])]
    assert values["placed_at"] == ["datetime", order["placed_at"].isoformat()]


def test_a_scan_has_more_than_one_page():
    assert all(len(table.items) > table.page for table in TABLES.values())


def test_records_are_the_same_every_time():
    assert records(quick=True) == TABLES


def test_items_have_the_sizes_they_are_said_to_have():
    assert 380 < item_bytes(TABLES["flat"]) < 480
    assert 2200 < item_bytes(TABLES["nested"]) < 2500


def items_of_scan(endpoint_url, table):
    pages = read_pages(endpoint_url, TABLES[table].table)
    return [item for page in pages for item in json.loads(page)["Items"]]


def test_every_item_has_its_own_order_of_attributes(server):
    items = items_of_scan(server.endpoint_url, "flat")
    assert len({tuple(item) for item in items}) > 0.95 * len(items)
    assert len({tuple(item) for item in items_of_scan(server.endpoint_url, "nested")}) > 100


def test_every_map_in_an_item_has_its_own_order_of_attributes(server):
    items = items_of_scan(server.endpoint_url, "nested")
    assert len({tuple(item["address"]["M"]) for item in items}) == 24
    lines = [tuple(line["M"]) for item in items for line in item["lines"]["L"]]
    assert len(set(lines)) > 500


def test_the_second_flat_table_has_the_same_items_in_one_order(server):
    items = items_of_scan(server.endpoint_url, "flat-one-order")
    assert {tuple(item) for item in items} == {tuple(TABLES["flat"].items[0])}
    assert items == items_of_scan(server.endpoint_url, "flat")


def test_recordings_are_the_same_every_time():
    table = TABLES["nested"]
    assert list(recordings(table)) == list(recordings(table))


# ---- sides that read other items are refused -----------------------------------------------------


class FakeSide:
    """A side that returns a given result."""

    def __init__(self, side, found):
        self.side = side
        self.cases = [GET.name]
        self._found = found

    def read(self, case):
        if isinstance(self._found, Exception):
            raise self._found
        return self._found


LIBRARY_SIDE, BOTO3_SIDE, PEER_SIDE = SIDES[:3]
RIGHT = {"items": [loosened(TABLES["flat"].items[0])], "exact": ["a model"]}


def ready(*sides):
    return ready_case(GET, sides, None, TABLES)


def test_sides_that_read_the_same_are_compared():
    case, notes = ready(FakeSide(LIBRARY_SIDE, RIGHT), FakeSide(BOTO3_SIDE, RIGHT))
    assert list(case.samplers) == [LIBRARY, BOTO3]
    assert notes == []


def test_models_other_than_boto3_with_pydantic_are_refused():
    other = {**RIGHT, "exact": ["another model"]}
    with pytest.raises(AssertionError, match="different models"):
        ready(FakeSide(LIBRARY_SIDE, other), FakeSide(BOTO3_SIDE, RIGHT))


def test_an_item_with_another_value_is_refused():
    other = {"items": [{**RIGHT["items"][0], "total": 1.0}], "exact": None}
    with pytest.raises(AssertionError, match="get-flat: pydynox has the item"):
        ready(FakeSide(PEER_SIDE, other))


def test_fewer_items_are_refused():
    with pytest.raises(AssertionError, match="pydynox has 0 items, not 1"):
        compare("scan-flat", "pydynox", [], RIGHT["items"])


def test_another_library_that_fails_is_left_out_and_named():
    failing = FakeSide(PEER_SIDE, SideFailedError("pydynox: TypeError: no"))
    case, notes = ready(FakeSide(LIBRARY_SIDE, RIGHT), FakeSide(BOTO3_SIDE, RIGHT), failing)
    assert "pydynox" not in case.samplers
    assert notes == ["get-flat is measured without one side: pydynox: TypeError: no"]


def test_a_failure_of_the_library_ends_the_run():
    with pytest.raises(SideFailedError):
        ready(FakeSide(LIBRARY_SIDE, SideFailedError("broken")))


# ---- processes of the sides ----------------------------------------------------------------------


def test_a_library_that_is_not_installed_is_left_out_saying_how_to_get_it(
    server, tmp_path, monkeypatch
):
    (tmp_path / "pydynox.py").write_text("raise ImportError('no pydynox here')\n")
    python_path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    monkeypatch.setenv("PYTHONPATH", python_path)
    with ExitStack() as stack:
        sides, notes = started(stack, server.endpoint_url, ["pydynox"], quick=True)
    assert sides == []
    assert notes == [
        "pydynox is left out: no pydynox here. "
        "Install it with pip install 'dynamodb-wrapper[bench]'."
    ]


def test_the_process_of_a_side_reports_an_error_and_goes_on(side_of):
    side = side_of(LIBRARY_SIDE)
    with pytest.raises(SideFailedError, match="dynamodb-wrapper: KeyError: 'guess'"):
        side.read("guess")
    assert len(side.read("get-flat")["items"]) == 1


def test_a_side_measures_processor_time(side_of):
    side = side_of(LIBRARY_SIDE)
    side.settle()
    assert 0 < side.seconds("get-flat", 2) < 60


def test_credentials_of_the_user_do_not_reach_the_measured_processes(monkeypatch):
    monkeypatch.setenv("AWS_PROFILE", "mine")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "mine")
    assert "mine" not in environment().values()


@pytest.mark.slow
def test_startup_is_measured_in_processes_with_the_right_result(server):
    for spec in specs(["import", "first-request", "first-request-aws"]):
        case = startup_case(spec, server.endpoint_url, TABLES["flat"])
        measure([case], repeats=1, sample_seconds=0, deadline=0)
        assert list(case.samples) == list(spec.sides)


def test_a_new_process_with_another_result_is_refused(tmp_path):
    with pytest.raises(AssertionError, match="'4' instead of '5'"):
        fresh_process("four = 2 + 2", "four", "5", tmp_path)(1)


def test_memory_is_measured_while_every_page_is_read():
    pages = 4
    with ReplayServer(endless(TABLES["flat"], pages)) as server:
        grown = growth(server.endpoint_url, seconds=60)
    assert grown.items == pages * TABLES["flat"].page
    assert grown.before > 0
    assert ENDLESS not in TABLES


def test_a_process_that_measures_loads_no_library_before_its_own(tmp_path):
    others = ["boto3", "pydantic", "dynamodb_wrapper"]
    loaded = f"[name for name in {others} if name in sys.modules]"
    fresh_process("import benchmarks.worker", loaded, "[]", tmp_path)(1)
