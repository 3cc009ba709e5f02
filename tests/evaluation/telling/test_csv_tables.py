from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from greenflow_ray.evaluation.findings.shape import Evaluation, PolicyPoint, RankerRow
from greenflow_ray.evaluation.telling import csv_tables
from tests.evaluation import examples

ASKED = {
    "policies", "waterfall", "ablation", "rankers", "reward_models", "scale", "tracking", "ceiling", "models", "checks",
}  # fmt: skip


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    return examples.evaluation(synthetic=True)


def numbers(of: Any) -> set[float]:
    """All numbers of a JSON document."""
    if isinstance(of, dict):
        return set().union(*map(numbers, of.values()))
    if isinstance(of, list):
        return set().union(*map(numbers, of))
    return {float(of)} if isinstance(of, int | float) and not isinstance(of, bool) else set()


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_number_of_a_table_is_in_the_document(evaluation: Evaluation, tmp_path: Path) -> None:
    there = numbers(json.loads(evaluation.to_json()))
    paths = csv_tables.write_csv(evaluation, tmp_path / "evaluation")
    assert {path.stem for path in paths} >= ASKED
    compared = 0
    for path in paths:
        for row in read(path):
            row.pop("window", None)  # which window a point is: its place in the document's list
            for name, cell in row.items():
                try:
                    value = float(cell)
                except ValueError:
                    continue
                assert value in there, (path.name, name, cell)
                compared += 1
    assert compared > 2000


def test_every_number_of_the_results_is_in_a_table(evaluation: Evaluation, tmp_path: Path) -> None:
    found: set[float] = set()
    for path in csv_tables.write_csv(evaluation, tmp_path):
        for row in read(path):
            for cell in row.values():
                try:
                    found.add(float(cell))
                except ValueError:
                    continue
    document = json.loads(evaluation.to_json())
    asked = numbers([[r[k] for k in r if k != "chains"] for r in document["results"]]) | numbers(document["models"])
    assert asked <= found


def test_one_row_a_point_with_an_interval_as_three_columns(evaluation: Evaluation, tmp_path: Path) -> None:
    csv_tables.write_csv(evaluation, tmp_path)
    rows = read(tmp_path / "policies.csv")
    points = [(r.exposure, p) for r in evaluation.results for p in r.policies]
    assert len(rows) == len(points)
    for row, (exposure, point) in zip(rows, points, strict=True):
        assert row["exposure"] == str(exposure)
        assert row["policy"] == point.policy
        assert [float(row[f"clicks{end}"]) for end in ("", "_low", "_high")] == [
            point.clicks.value, point.clicks.low, point.clicks.high,
        ]  # fmt: skip
        if point.saved_against_fixed is None:
            assert row["saved_against_fixed"] == row["saved_against_fixed_low"] == ""


def test_columns_follow_the_schema() -> None:
    assert csv_tables.columns(RankerRow) == ("rankers", "budget_share", "clicks", "clicks_low", "clicks_high")
    assert csv_tables.columns(PolicyPoint)[-3:] == (
        "saved_against_fixed", "saved_against_fixed_low", "saved_against_fixed_high",
    )  # fmt: skip


def test_models_have_one_row_a_seed(evaluation: Evaluation, tmp_path: Path) -> None:
    csv_tables.write_csv(evaluation, tmp_path)
    rows = read(tmp_path / "models.csv")
    assert [row["seed"] for row in rows[:3]] == [str(seed) for seed in evaluation.seeds]
    assert len(rows) == len(evaluation.models) * len(evaluation.seeds)


def test_tables_without_rows_keep_their_columns(tmp_path: Path) -> None:
    paths = csv_tables.write_csv(examples.bare(), tmp_path)
    for path in paths:
        head = path.read_text(encoding="utf-8").splitlines()[0].split(",")
        assert len(head) == len(set(head)) > 1
    for name in ("waterfall", "tracking", "ceiling", "ablation", "checks"):
        assert read(tmp_path / f"{name}.csv") == []
