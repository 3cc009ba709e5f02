from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from greenflow_ray.energy.metering.meter import EnergyWindow
from greenflow_ray.errors import DataError
from greenflow_ray.loadtest import picture, shown
from greenflow_ray.loadtest.result import ArmResult, Requests
from greenflow_ray.viz import charts


@pytest.fixture
def arm() -> ArmResult:
    rows = Requests.blank(np.array([5, 6, 7, 8]), np.array([0.0, 0.5, 1.0, 1.5]))
    rows.sent[:3] = [0.001, 0.502, 1.0]
    rows.latency[:3] = [0.1, 0.2, 9.0]
    rows.status[:3] = [200, 200, 503]
    rows.chain[:2] = [1, 0]
    rows.flops[:2] = [80, 25]  # the second receipt's number is wrong: its chain costs 20
    rows.clicks[:2] = [3, 0]
    rows.degraded[1], rows.reason[1] = True, 0
    energy = EnergyWindow(2.0, 10.0, 4.0, 6.0, 0.0, "estimated", "estimated", "by hand", 3.0)
    return ArmResult(
        "equal", 1e9, 2.0, 20, rows, ("a", "b"), (20, 80), ("late",), 0.5, 2, 1, {"Gateway": 1.5}, 0, energy
    )


def test_flops_are_recounted_from_chains_and_compared_with_receipts(arm: ArmResult) -> None:
    assert arm.recounted.tolist() == [80, 20, 0, 0]
    totals = arm.totals()
    assert (totals["flops"], totals["flops_by_receipts"], totals["flops_mismatches"]) == (100, 105, 1)


def test_sums(arm: ArmResult) -> None:
    totals = arm.totals()
    assert totals["errors"] == 2
    assert totals["errors_by_kind"] == {"not sent, too many outstanding": 1, "HTTP 503": 1}
    assert totals["degraded_by_reason"] == {"late": 1}
    assert totals["chains"] == {"a": 1, "b": 1}
    assert totals["clicks"] == 3
    assert arm.send_delay_s["max"] == pytest.approx(0.002)


def test_latency_is_that_of_answers(arm: ArmResult) -> None:
    assert arm.latency_seconds((0.5,)) == {"p50": pytest.approx(0.15)}
    dead = dataclasses.replace(arm, requests=Requests.blank(np.array([1]), np.array([0.0])))
    assert np.isnan(dead.latency_seconds((0.99,))["p99"])
    assert dead.totals()["latency_seconds"]["p99"] is None
    assert dead.send_delay_s["max"] == 0.0


def test_rates_chains_and_histogram_add_up(arm: ArmResult) -> None:
    arm.requests.status[3] = 429
    totals = arm.totals()
    assert (totals["answered"], totals["shed"], totals["errors"]) == (2, 1, 1)
    assert totals["offered_per_second"] == 2.0
    assert arm.span_s == 10.0  # the third request's failure came 9 s after it was due at 1 s
    assert totals["answered_per_second"] == 0.2
    assert totals["flops_by_chain"] == {"a": 20, "b": 80}
    found = totals["latency_histogram"]
    assert sum(found["counts"]) == 2
    assert found["edges_seconds"][0] <= 0.1
    assert found["edges_seconds"][-1] >= 0.2
    json.dumps(totals, allow_nan=False)


def test_a_busy_client_is_doubted(arm: ArmResult) -> None:
    assert not arm.client_was_slow
    assert shown.warning(arm) is None
    assert "97% of a core" in (shown.warning(dataclasses.replace(arm, client_cpu_peak=0.97)) or "")


def test_the_table_has_a_row_for_every_kind(arm: ArmResult) -> None:
    rows = {figure.strip(): (value, share) for _, figure, value, share in shown.rows(arm)}
    assert rows["offered"] == ("4", "2.0 /s")
    assert rows["HTTP 503"] == ("1", "25.0 %")
    assert rows["late"] == ("1", "25.0 %")
    assert rows["p50"][0] == "150 ms"
    assert rows["FLOPs"][0] == "100"
    assert rows["a"] == ("1", "50.0 %")


@pytest.mark.parametrize(("answered", "words", "kinds"), [(True, "p50 150 ms", 3), (False, "p50 –", 1)])
def test_a_picture_is_drawn_whatever_happened(
    arm: ArmResult, tmp_path: Path, answered: bool, words: str, kinds: int
) -> None:
    if not answered:
        arm = dataclasses.replace(arm, requests=Requests.blank(np.array([1]), np.array([0.0])))
    picture.save_png(arm, tmp_path / "new" / "equal.png")
    assert (tmp_path / "new" / "equal.png").read_bytes().startswith(b"\x89PNG")
    assert words in picture.headline(arm)
    traffic = picture.traffic(arm, np.array([0.0, 2.0]), charts.x_axis(0, 2)).to_dict()
    rows = [row for data in traffic["datasets"].values() for row in data if "kind" in row]
    assert len({row["kind"] for row in rows}) == kinds  # answered, degraded and errors; or errors alone


def test_a_degraded_answer_without_a_reason_is_counted(arm: ArmResult) -> None:
    arm.requests.reason[1] = -1
    assert arm.degraded_counts() == {"no reason given": 1}


def test_results_are_read_back_whole(arm: ArmResult, tmp_path: Path) -> None:
    arm.save(tmp_path / "loadtest")
    again = ArmResult.load(tmp_path / "loadtest", "equal")
    for column in dataclasses.fields(Requests):
        mine, other = getattr(arm.requests, column.name), getattr(again.requests, column.name)
        np.testing.assert_array_equal(mine, other)
        assert mine.dtype == other.dtype
    assert dataclasses.replace(again, requests=arm.requests) == arm
    assert sorted(p.name for p in (tmp_path / "loadtest").iterdir()) == ["equal.json", "equal.parquet"]


@pytest.mark.parametrize("damage", ["none", "truncated", "foreign"])
def test_damaged_results_are_named(arm: ArmResult, tmp_path: Path, damage: str) -> None:
    arm.save(tmp_path)
    if damage == "truncated":
        path = tmp_path / "equal.parquet"
        path.write_bytes(path.read_bytes()[:-20])
    if damage == "foreign":
        (tmp_path / "equal.json").write_text('{"schema": 1, "totals": {}, "surprise": 1}')
    with pytest.raises(DataError, match="no result of a load test"):
        ArmResult.load(tmp_path, "greenflow" if damage == "none" else "equal")
