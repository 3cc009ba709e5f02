"""Out of core: the same answer as in memory, from NumPy shards and from Parquet files."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from greenflow_ray.errors import InfeasibleBudget, PricingInputError
from greenflow_ray.pricing.exact import solve
from greenflow_ray.pricing.stream import assign, solve_stream
from tests.pricing.problems import realistic


@pytest.fixture
def problem():
    rewards, costs = realistic(700, 10)
    return rewards, costs, 700 * costs.mean()


def shards(rewards, costs):
    return [(rewards[i : i + 150], costs) for i in range(0, len(rewards), 150)]


def write(path, rewards, costs, **options):
    column = pa.FixedSizeListArray.from_arrays(pa.array(rewards.ravel()), rewards.shape[1])
    table = pa.table({"user": np.arange(len(rewards)), "reward": column})
    if costs is not None:
        table = table.replace_schema_metadata({"greenflow.costs": json.dumps(costs.tolist())})
    pq.write_table(table, path, row_group_size=100, **options)
    return path


def test_shards_give_the_exact_solution(problem):
    rewards, costs, budget = problem
    whole, stream = solve(rewards, costs, budget), solve_stream(shards(rewards, costs), budget)
    assert stream.price == whole.price
    assert stream.bound == pytest.approx(whole.bound)
    assert stream.cost <= budget
    assert stream.requests == 700
    spare, cost = stream.spare, 0.0
    for part, _ in shards(rewards, costs):
        chains, spare = assign(part, costs, stream, spare)
        cost += costs[chains].sum()
    assert cost == pytest.approx(whole.cost)
    assert cost + spare == pytest.approx(budget)


def test_parquet_files_give_the_exact_solution(problem, tmp_path):
    rewards, costs, budget = problem
    paths = [write(tmp_path / "a.parquet", rewards[:400], costs), write(tmp_path / "b.parquet", rewards[400:], costs)]
    seen = []
    stream = solve_stream(paths, budget, progress=lambda message, share: seen.append((message, share)))
    assert stream.price == solve(rewards, costs, budget).price
    assert {("pass 1 of 2: 700 requests", 1.0), ("pass 2 of 2: 700 requests", 1.0)} <= set(seen)
    assert solve_stream(lambda: iter(paths), budget).price == stream.price


def test_costs_may_come_from_the_caller(problem, tmp_path):
    rewards, costs, budget = problem
    path = write(tmp_path / "a.parquet", rewards, None, compression="zstd")
    assert solve_stream(path, budget, costs=costs).price == solve(rewards, costs, budget).price
    with pytest.raises(PricingInputError, match=r"greenflow\.costs"):
        solve_stream(path, budget)


def test_bad_rows_are_skipped_and_counted(problem):
    rewards, costs, budget = problem
    bad = np.concatenate([rewards, np.full((3, 10), np.nan, np.float32)])
    found = solve_stream(shards(bad, costs), budget, skip_bad=True)
    assert (found.requests, found.skipped) == (700, 3)
    assert found.price == solve(rewards, costs, budget).price
    with pytest.raises(PricingInputError, match="rewards"):
        solve_stream(shards(bad, costs), budget)


def test_ends_of_the_budget(problem):
    rewards, costs, _ = problem
    assert solve_stream(shards(rewards, costs), 1e15).price == 0.0
    assert solve_stream([], 5.0).requests == 0
    with pytest.raises(InfeasibleBudget):
        solve_stream(shards(rewards, costs), 700 * costs.min() * 0.9)
    least = solve_stream(shards(rewards, costs), float(np.nextafter(700 * costs.min(), np.inf)))
    assert least.cost == pytest.approx(700 * costs.min())


def test_sources_that_cannot_be_used_are_named(problem, tmp_path):
    rewards, costs, budget = problem
    with pytest.raises(PricingInputError, match="read once"):
        solve_stream(iter(shards(rewards, costs)), budget)
    with pytest.raises(PricingInputError, match="shards: found int"):
        solve_stream([3], budget)
    torn = write(tmp_path / "torn.parquet", rewards, costs)
    torn.write_bytes(torn.read_bytes()[:-20])
    with pytest.raises(PricingInputError, match=r"torn\.parquet: not a readable Parquet"):
        solve_stream([torn], budget)
    with pytest.raises(PricingInputError, match="no column 'worth'"):
        solve_stream([write(tmp_path / "a.parquet", rewards, costs)], budget, column="worth")
    with pytest.raises(PricingInputError, match="not 9 rewards long"):
        solve_stream([tmp_path / "a.parquet"], budget, costs=costs[:9])
    holes = pa.table({"reward": pa.array([[1.0] * 10, None], pa.list_(pa.float32()))})
    pq.write_table(holes, tmp_path / "holes.parquet")
    with pytest.raises(PricingInputError, match="without rewards"):
        solve_stream([tmp_path / "holes.parquet"], budget, costs=costs)
