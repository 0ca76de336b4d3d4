"""Tests of targets, rounds and printed tables of the benchmarks; no timing decides a test."""

from __future__ import annotations

import pytest

from benchmarks import report
from benchmarks.__main__ import main
from benchmarks.cases import BOTO3, LIBRARY, SIDES, SPECS, Spec, Target, chosen, specs
from benchmarks.measure import Case, measure
from benchmarks.memory import Growth
from benchmarks.records import records

TABLES = records(quick=True)
GET, SCAN = specs(["get-flat", "scan-flat"])


def same(times=1):
    return lambda number: times * 1e-6 * number


def measured(spec, **samples):
    names = {"ours": LIBRARY, "boto3": BOTO3}
    case = Case(spec, 1, {})
    case.samples = {names.get(name, name): values for name, values in samples.items()}
    return case


# ---- rounds and targets --------------------------------------------------------------------------


def test_each_round_measures_every_side_beginning_with_another():
    order = []

    def noted(name):
        return lambda times: order.append(name) or times * 1e-3

    case = Case(GET, 1, {name: noted(name) for name in "abc"})
    case.repeat = dict.fromkeys("abc", 1)
    for number in range(3):
        case.sample(number)
    assert ["".join(order[n : n + 3]) for n in (0, 3, 6)] == ["abc", "acb", "cab"]


def test_a_sample_has_as_many_runs_as_fit():
    case = Case(GET, 1, {"quick": same(1000), "slow": same(50_000)})
    case.calibrate(0.02)
    assert case.repeat == {"quick": 20, "slow": 1}


def test_no_round_begins_that_would_pass_the_deadline():
    case = Case(GET, 1, {LIBRARY: same()})
    assert measure([case], repeats=9, sample_seconds=0, deadline=0) == 1


def test_time_is_divided_by_the_units_of_a_run():
    case = Case(SCAN, SCAN.units(TABLES), {LIBRARY: lambda times: times * 250e-6})
    case.repeat = {LIBRARY: 2}
    case.sample(0)
    assert case.samples[LIBRARY] == [pytest.approx(250 / len(TABLES["flat"].items))]


@pytest.mark.parametrize(
    ("target", "ratio", "verdict"),
    [
        (Target(4), 4.0, "ok"),
        (Target(4), 3.9, "NOT REACHED"),
        (Target(2.2, inverted=True), 0.5, "ok (2.00 x)"),
        (Target(2.2, inverted=True), 0.4, "NOT REACHED (2.50 x)"),
    ],
)
def test_a_target_is_theirs_over_ours_or_the_inverse(target, ratio, verdict):
    assert target.verdict(ratio) == verdict


@pytest.mark.parametrize(
    ("case", "other", "target"),
    [
        ("scan-flat", BOTO3, ">= 10"),
        ("scan-flat", "pydynox", ">= 5"),
        ("scan-flat", "aiodynamo", ">= 1.8"),
        ("scan-flat-one-order", BOTO3, ">= 10"),
        ("scan-flat-one-order", "pydynox", ">= 5"),
        ("scan-flat-one-order", "aiodynamo", ">= 1.8"),
        ("decode-flat", "orjson.loads", "ours <= 2.2 x"),
        ("scan-nested", BOTO3, ">= 7"),
        ("scan-nested", "pydynox", ">= 1"),
        ("get-flat", BOTO3, ">= 6"),
        ("get-flat", "pydynox", ">= 1.8"),
        ("put-flat", BOTO3, ">= 6"),
        ("put-flat", "pydynox", ">= 1.8"),
        ("batch-put-flat", BOTO3, ">= 9"),
        ("batch-put-flat", "pydynox", ">= 1.1"),
        ("arrow-flat", BOTO3, ">= 12"),
        ("arrow-flat-one-order", BOTO3, ">= 12"),
        ("import", "pydantic", "ours <= 1.3 x"),
        ("first-request", BOTO3, "ours <= 1 x"),
        ("first-request-aws", BOTO3, "ours <= 1 x"),
    ],
)
def test_targets_of_the_cases(case, other, target):
    (spec,) = specs([case])
    assert str(spec.targets[other]) == target


# ---- the tables that are printed -----------------------------------------------------------------


def test_a_row_has_times_ratio_its_spread_and_the_target():
    case = measured(GET, ours=[100, 200], boto3=[650, 700], pydynox=[90, 110])
    _, boto3, pydynox = list(report.table([case]))[-3:]
    assert boto3.split() == (
        "get-flat request boto3 + Pydantic 650 - 700 6.50 3.50 - 6.50 >= 6 ok".split()
    )
    assert pydynox.split() == (
        "get-flat request pydynox 90.0 - 110.0 0.90 0.55 - 0.90 >= 1.8 NOT REACHED".split()
    )
    assert report.missed([case]) == ["get-flat (pydynox)"]


def test_a_side_without_a_target_is_not_judged():
    case = measured(Spec("query", "flat", "item", (LIBRARY, BOTO3)), ours=[10], boto3=[20])
    assert list(report.table([case]))[-1].split()[-4:] == ["2.00", "2.00", "-", "2.00"]
    assert report.missed([case]) == []


@pytest.mark.parametrize(
    ("grown", "items", "verdict"),
    [
        (149, 1_000_000, "ok"),
        (151, 1_000_000, "NOT REACHED"),
        (151, 1_000, "NOT REACHED"),
        (10, 1_000, "not judged by fewer than 1,000,000 items"),
    ],
)
def test_memory_is_judged_by_the_whole_scan(grown, items, verdict):
    measured = Growth(items, before=50_000_000, peak=50_000_000 + grown * 1_000_000, seconds=1.0)
    assert report.memory(measured).endswith(f"target < 150 MB: {verdict}")


def test_versions_of_all_sides_are_printed():
    printed = "\n".join(report.machine())
    assert all(package in printed for side in SIDES for package in side.packages)


def test_the_command_prints_the_selected_cases(capsys):
    assert main(["--quick", "--repeats", "1", "get-flat", "decode"]) == 0
    printed = capsys.readouterr().out
    assert "get-flat             request  dynamodb-wrapper" in printed
    assert "get-flat             request  boto3 + Pydantic" in printed
    assert "decode-flat" in printed
    assert "put-flat" not in printed


def test_names_select_cases_operations_tables_or_all():
    assert chosen(["get-flat", "memory"]) == ["get-flat", "memory"]
    assert chosen(["scan"]) == ["scan-flat", "scan-flat-one-order", "scan-nested"]
    assert chosen(["flat-one-order"]) == ["scan-flat-one-order", "arrow-flat-one-order"]
    assert chosen(["first-request"]) == ["first-request"]
    assert all(name.endswith("-nested") for name in chosen(["nested"]))
    assert chosen([]) == [*(spec.name for spec in SPECS), "memory"]


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"batch-put-flat.*memory"):
        chosen(["guess"])
