from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from greenflow_ray.errors import DataError
from greenflow_ray.loadtest.result import ArmResult
from greenflow_ray.loadtest.windows import BudgetCourse
from greenflow_ray.report import contents
from greenflow_ray.report.build import build_report
from greenflow_ray.report.contents import Report
from greenflow_ray.report.course import prices_of, trajectory_of
from tests.report.conftest import BUDGET, ledger_rows

Arms = tuple[ArmResult, ArmResult]
BARE: dict[str, Any] = {"dataset": "d", "synthetic": False, "seed": 0}


def test_names_hold(report: Report) -> None:
    """The names that readers of report.json rely on."""
    data = json.loads(report.to_json())
    top = "schema dataset synthetic seed requests arms saving budget overhead prices models reward versions"
    assert set(top.split()) <= set(data)
    assert data["schema"] == 1
    arm = "requests errors degraded clicks flops cpu_seconds energy_joules energy_source carbon_grams"
    arm += " latency_seconds chains"
    for name in ("equal", "greenflow"):
        assert set(arm.split()) <= set(data["arms"][name])
        assert set(data["arms"][name]["latency_seconds"]) == {"p50", "p95", "p99"}
    assert {"flops", "clicks", "cpu_seconds", "energy"} <= set(data["saving"])
    assert {"flops_per_second", "utilisation", "overuse"} <= set(data["budget"])
    assert {"flops_share", "cpu_share", "p99_seconds"} <= set(data["overhead"])
    assert all(set(point) == {"t", "version", "price"} for point in data["prices"])
    assert all({"stage", "name", "flops_per_item", "auc"} <= set(model) for model in data["models"])
    assert "field_rce" in data["reward"]


def test_json_is_valid_by_its_own_schema_and_reads_back(report: Report, tmp_path: Path) -> None:
    path = tmp_path / "run" / "report.json"
    report.save(path)
    jsonschema.validate(json.loads(path.read_text()), Report.model_json_schema(by_alias=True, mode="serialization"))
    assert contents.load(path) == report
    assert not list(path.parent.glob("*.part"))


def test_every_figure_is_recounted_from_the_rows(report: Report, arms: Arms) -> None:
    equal, green = arms
    costs = np.array(equal.chain_flops)
    flops = [int(costs[a.requests.chain[a.requests.chain >= 0]].sum()) for a in arms]
    assert [report.arms.equal.flops, report.arms.greenflow.flops] == flops
    assert report.saving.flops == pytest.approx(1 - flops[1] / flops[0])
    clicks = [int(a.requests.clicks.sum()) for a in arms]
    assert report.saving.clicks == pytest.approx(1 - clicks[1] / clicks[0])
    assert report.saving.energy == pytest.approx(1 - 2050 / 2300)
    assert report.arms.equal.errors == 1
    assert report.arms.equal.errors_by_kind == {"HTTP 429": 1}
    assert report.arms.greenflow.degraded_by_reason == {"ranking unavailable": 1}
    assert sum(report.arms.greenflow.chains.values()) == report.requests
    cpu = dict(green.cpu_seconds)
    own = cpu["Allocator"] + cpu["ledger"] + cpu["meter"]
    assert report.overhead.cpu_share == pytest.approx(own / sum(cpu.values()))
    own = 41_000 * report.requests
    assert report.overhead.flops_share == pytest.approx(own / (own + flops[1]))
    assert report.arms.equal.carbon_grams == pytest.approx(2300 / 3.6e6 * 369.473)


def test_attributed_energy_and_the_rest_add_up(report: Report) -> None:
    for arm in (report.arms.equal, report.arms.greenflow):
        assert arm.energy_unattributed_joules is not None
        assert arm.energy_joules is not None
        total = math.fsum(arm.energy_by_deployment_joules.values()) + arm.energy_unattributed_joules
        assert total == pytest.approx(arm.energy_joules, abs=1e-6)
        assert arm.energy_unattributed_joules > 0


def test_intervals_hold_the_savings(report: Report) -> None:
    for name in ("flops", "clicks"):
        low, high = report.saving.intervals[name]
        assert low <= getattr(report.saving, name) <= high


def test_reservations_are_written_down(report: Report) -> None:
    text = " ".join(report.notes)
    for part in ("synthetic", "estimated, not measured", "1 of 1,", "HTTP 429", "same machine"):
        assert part in text


def test_a_receipt_that_disagrees_with_its_chain_is_reported(arms: Arms) -> None:
    equal, green = arms
    flops = green.requests.flops.copy()
    flops[3] += 1
    odd = dataclasses.replace(green, requests=dataclasses.replace(green.requests, flops=flops))
    report = build_report(equal, odd, **BARE)
    assert report.arms.greenflow.flops_mismatches == 1
    assert report.arms.greenflow.flops_by_receipts == report.arms.greenflow.flops + 1
    assert any("receipts of the GreenFlow arm" in note for note in report.notes)


def test_arms_of_different_traces_are_refused(arms: Arms) -> None:
    equal, green = arms
    users = green.requests.user_id.copy()
    users[0] += 1
    other = dataclasses.replace(green, requests=dataclasses.replace(green.requests, user_id=users))
    with pytest.raises(DataError, match="same trace"):
        build_report(equal, other, **BARE)


def test_what_was_not_watched_is_null_and_not_zero(arms: Arms) -> None:
    bare = [dataclasses.replace(arm, cpu_seconds={}, energy=None) for arm in arms]
    report = build_report(bare[0], bare[1], **BARE)
    assert report.saving.cpu_seconds is None
    assert report.saving.energy is None
    assert report.arms.equal.energy_source is None
    assert report.overhead.cpu_share is None
    assert report.overhead.flops_share is None
    assert report.budget.utilisation is None
    assert "NaN" not in report.to_json()
    assert not any("same machine" in note for note in report.notes)


def test_an_arm_without_answers_still_makes_a_report(arms: Arms) -> None:
    equal, green = arms
    rows = equal.requests
    dead = dataclasses.replace(
        rows,
        status=np.full(len(rows), 503, np.int16),
        chain=np.full(len(rows), -1, np.int32),
        flops=np.zeros(len(rows), np.int64),
        clicks=np.zeros(len(rows), np.int32),
    )
    report = build_report(dataclasses.replace(equal, requests=dead), green, budget_flops_per_second=1e9, **BARE)
    assert report.saving.flops is None
    assert report.arms.equal.latency_seconds.p99 is None
    assert report.budget.utilisation is None
    assert report.budget.overuse is not None


def test_models_may_be_objects_and_an_unknown_auc_is_null(arms: Arms) -> None:
    @dataclasses.dataclass
    class Row:
        stage: str = "ranking"
        name: str = "din"
        flops_per_item: int = 7
        auc: float = float("nan")

    report = build_report(*arms, models=[Row()], **BARE)
    assert report.models == (contents.Model(stage="ranking", name="din", flops_per_item=7, auc=None),)


def test_prices_fall_back_to_the_receipts(arms: Arms) -> None:
    points = prices_of(arms[1])
    assert [p.t for p in points] == sorted(p.t for p in points)
    assert {p.version for p in points} == {1, 2, 3, 4}
    assert len(prices_of(arms[0])) == 1  # a price that never changes is one point


def test_trajectory_is_moved_to_the_arms_start() -> None:
    rows = [
        {"time": 90.0, "version": 1, "price": 5.0},
        {"time": 95.0, "version": 2, "price": 6.0},
        {"time": 103.0, "version": 2, "price": float("inf")},
        {"time": 104.0, "version": 3, "price": 7.0},
    ]
    found = trajectory_of(rows, started_at=100.0)
    assert [(p.t, p.version, p.price) for p in found] == [(0.0, 2, 6.0), (4.0, 3, 7.0)]
    with pytest.raises(DataError, match="lacks"):
        trajectory_of([{"price": 1.0}], 0.0)


@pytest.mark.parametrize("text", ["{", '{"schema": 2}', '{"surprise": 1}'])
def test_a_foreign_report_is_refused_on_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "report.json"
    path.write_text(text)
    with pytest.raises(DataError) as caught:
        contents.load(path)
    assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match="cannot be read"):
        contents.load(tmp_path / "none.json")


def test_a_report_of_before_the_course_reads_its_prices_as_one(report: Report, tmp_path: Path) -> None:
    data = json.loads(report.to_json())
    new = ("course", "frontier")
    old = {name: value for name, value in data.items() if name not in new}
    for arm in filter(None, old["arms"].values()):
        del arm["sci"]
    for name in ("intervals", "changes", "course", "spike", "lowest_flops_per_second", "highest_flops_per_second"):
        del old["budget"][name]
    del old["overhead"]["cpu_seconds"], old["saving"]["latency_seconds"], old["saving"]["latency_intervals"]
    path = tmp_path / "report.json"
    path.write_text(json.dumps(old))
    found = contents.load(path)
    assert found.prices == report.prices
    assert [m.price for m in found.course] == [p.price for p in report.prices]
    assert found.frontier is None


def test_a_moving_report_reads_back(steered: Report, tmp_path: Path) -> None:
    steered.save(tmp_path / "report.json")
    assert contents.load(tmp_path / "report.json") == steered


def test_the_budgets_course_spike_and_changes_are_told(steered: Report, steered_arms: Arms) -> None:
    budget = steered.budget
    assert budget.course == ((0.0, BUDGET), (18.0, 0.75 * BUDGET), (46.0, 0.5 * BUDGET))
    mean = BUDGET * (18 + 28 * 0.75 + 14 * 0.5) / 60
    assert budget.flops_per_second == pytest.approx(mean)
    assert (budget.lowest_flops_per_second, budget.highest_flops_per_second) == (0.5 * BUDGET, BUDGET)
    assert [c.t for c in budget.changes] == [18.0, 46.0]
    green = steered_arms[1]
    inside = (green.requests.scheduled >= 30) & (green.requests.scheduled < 31)
    assert budget.spike is not None
    assert budget.spike.first_second == pytest.approx(green.recounted[inside].sum() / (0.75 * BUDGET))
    assert budget.spike.windows == 2
    low, high = budget.intervals["utilisation"]
    assert budget.utilisation is not None
    assert low <= budget.utilisation <= high


def test_a_budget_given_goes_before_the_ledgers(steered_arms: Arms) -> None:
    given = BudgetCourse(np.array([0.0, 30.0]), np.array([1e9, 2e9]))
    rows = ledger_rows(steered_arms[1].started_at)
    course = trajectory_of(rows, steered_arms[1].started_at)
    report = build_report(*steered_arms, budget=given, trajectory=course, **BARE)
    assert report.budget.course == ((0.0, 1e9), (30.0, 2e9))


def test_a_budget_that_never_rests_lists_no_changes(steered_arms: Arms) -> None:
    wild = BudgetCourse(np.arange(60.0), np.where(np.arange(60) % 2 == 0, 1e9, 2e9))
    report = build_report(*steered_arms, budget=wild, **BARE)
    assert report.budget.changes == ()
    assert len(report.budget.course) == 60


def test_latency_differences_have_intervals(report: Report) -> None:
    saving = report.saving
    for name in ("p50", "p95", "p99"):
        low, high = saving.latency_intervals[name]
        assert low <= saving.latency_seconds[name] <= high
    a, b = report.arms.equal.latency_seconds.p99, report.arms.greenflow.latency_seconds.p99
    assert a is not None
    assert b is not None
    assert saving.latency_seconds["p99"] == pytest.approx(b - a)


def test_own_share_counts_repricing_on_both_sides(steered: Report, steered_arms: Arms) -> None:
    cpu = steered_arms[1].cpu_seconds
    own = {"allocator": cpu["Allocator"], "ledger": cpu["ledger"], "repricing job": 4.5, "meter": cpu["meter"]}
    assert steered.overhead.cpu_seconds == pytest.approx(own)
    assert steered.overhead.cpu_share == pytest.approx(sum(own.values()) / (sum(cpu.values()) + 4.5))
    arm = steered.arms.greenflow
    assert arm.energy_by_deployment_joules["repricing job"] > 0
    assert arm.energy_joules == pytest.approx(
        math.fsum(arm.energy_by_deployment_joules.values()) + (arm.energy_unattributed_joules or 0.0)
    )
    assert "repricing job" not in steered.arms.equal.energy_by_deployment_joules
    assert not any("repricing job's CPU time is missing" in note for note in steered.notes)


def test_sci_is_what_runs_and_what_is_built_in_by_answered_requests(steered: Report, report: Report) -> None:
    arm = steered.arms.equal
    assert arm.sci is not None
    assert arm.carbon_grams is not None
    assert arm.sci.operational == pytest.approx(1000 * arm.carbon_grams / (arm.requests - arm.errors))
    assert arm.sci.embodied is not None
    assert arm.sci.grams == pytest.approx(arm.sci.operational + arm.sci.embodied)
    assert report.arms.equal.sci is not None
    assert report.arms.equal.sci.embodied is None
    assert any("embodied carbon is left out" in note for note in report.notes)


def test_a_dirtier_grid_weighs_in_both_arms_by_the_second(steered: Report) -> None:
    assert steered.carbon is not None
    mean = (46 * 240 + 14 * 520) / 60
    assert steered.carbon.grams_per_kwh == pytest.approx(mean)
    assert (steered.carbon.lowest, steered.carbon.highest, steered.carbon.stale) == (240.0, 520.0, True)
    assert steered.arms.equal.carbon_grams == pytest.approx(2300 / 3.6e6 * mean)
    # Serving's watts fell when the grid became dirty, so GreenFlow's joules met a cleaner grid than the mean's
    assert steered.arms.greenflow.carbon_grams is not None
    assert steered.arms.greenflow.carbon_grams < 2050 / 3.6e6 * mean
