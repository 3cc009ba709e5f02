from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from greenflow_ray.config import LoadConfig
from greenflow_ray.errors import DataError
from greenflow_ray.loadtest import trace
from greenflow_ray.loadtest.trace import Rate, Trace

USERS = np.arange(100, 150)


def test_same_seed_same_trace() -> None:
    load = LoadConfig(requests_per_second=20, duration_s=30)
    first, again, other = (trace.from_config(load, USERS, seed) for seed in (1, 1, 2))
    assert np.array_equal(first.times, again.times)
    assert np.array_equal(first.user_ids, again.user_ids)
    assert len(first) != len(other) or not np.array_equal(first.times, other.times)


@pytest.mark.parametrize(
    "rate",
    [trace.constant(40, 100), trace.spike(20, 100, 5, 0.4, 0.2), trace.daily(40, 100), trace.spike(40, 100, 3, 0, 1)],
    ids=["constant", "spike", "daily", "all spike"],
)
def test_arrivals_are_poisson_at_the_rate(rate: Rate) -> None:
    """Sent through the cumulative rate, arrivals are uniform; their number is within five standard deviations."""
    times = rate.arrivals(np.random.default_rng(5))
    assert abs(len(times) - rate.expected) < 5 * rate.expected**0.5
    cumulative = np.concatenate([[0.0], np.cumsum(np.diff(rate.edges) * rate.rates)])
    flat = np.interp(times, rate.edges, cumulative) / cumulative[-1]
    assert stats.kstest(flat, "uniform").pvalue > 1e-3
    gaps = np.diff(flat) * len(flat)
    assert stats.kstest(gaps, "expon").pvalue > 1e-3


def test_spike_multiplies_the_rate_where_it_is_told_to() -> None:
    rate = trace.spike(10, 60, 5, 0.5, 0.15)
    np.testing.assert_allclose(rate.edges, [0, 30, 39, 60])
    assert rate.rates.tolist() == [10, 50, 10]
    assert trace.spike(10, 60, 5, 0.9, 0.5).edges[-1] == 60  # cut off at the end


def test_daily_keeps_the_mean() -> None:
    rate = trace.daily(10, 60, swing=0.5)
    assert rate.expected == pytest.approx(600)
    assert rate.rates.argmin() < rate.rates.argmax()
    with pytest.raises(DataError, match="swing"):
        trace.daily(10, 60, swing=1.5)


@given(rates=st.lists(st.sampled_from([0.0, 0.5, 30.0]), min_size=1, max_size=6), seed=st.integers(0, 2**32 - 1))
def test_nobody_comes_while_the_rate_is_zero(rates: list[float], seed: int) -> None:
    rate = Rate(np.arange(len(rates) + 1.0), np.array(rates))
    times = rate.arrivals(np.random.default_rng(seed))
    assert np.all(np.diff(times) >= 0)
    assert np.all((times >= 0) & (times < rate.duration_s))
    assert np.all(rate.rates[np.floor(times).astype(int)] > 0)


def test_users_come_in_rounds() -> None:
    played = trace.generate(trace.constant(50, 10), USERS, 3)
    counts = np.unique(played.user_ids, return_counts=True)[1]
    assert counts.max() - counts.min() <= 1
    assert set(played.user_ids) <= set(USERS)
    assert not np.array_equal(played.user_ids[:50], np.sort(played.user_ids[:50]))


def test_no_users_is_an_error_and_no_requests_is_not() -> None:
    with pytest.raises(DataError, match="no users"):
        trace.generate(trace.constant(1, 1), np.empty(0, np.int64), 0)
    assert len(trace.generate(trace.constant(0, 1), USERS, 0)) == 0


def test_saved_traces_are_replayed_exactly(tmp_path: Path) -> None:
    played = trace.generate(trace.constant(5, 20), USERS, 3)
    path = tmp_path / "new" / "trace.parquet"
    played.save(path)
    again = trace.replay(path)
    assert np.array_equal(again.times, played.times)
    assert np.array_equal(again.user_ids, played.user_ids)
    assert again.duration_s == 20.0
    assert [p.name for p in path.parent.iterdir()] == ["trace.parquet"]


def test_recorded_times_are_moved_to_zero(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text("time,user_id\n1700000000.5,7\n1700000002.5,8\n")
    played = trace.replay(path)
    assert played.times.tolist() == [0.0, 2.0]
    assert played.user_ids.tolist() == [7, 8]
    assert played.duration_s == 2.0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("when,who\n1,2\n", "'time' and 'user_id'"),
        ("time,user_id\n", "empty"),
        ("time,user_id\n2,1\n1,1\n", "sort"),
        ("time,user_id\nsoon,1\n", "numeric"),
        ("time,user_id\n1,\n", "gaps"),
        ("time,user_id\n1,me\n", "numeric"),
    ],
)
def test_foreign_files_are_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "trace.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=words):
        trace.replay(path)


def test_truncated_and_missing_parquet_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "trace.parquet"
    pq.write_table(pa.table({"time": [0.0], "user_id": [1]}), path)
    path.write_bytes(path.read_bytes()[:-9])
    for bad in (path, tmp_path / "none.parquet"):
        with pytest.raises(DataError, match="cannot be read as a trace"):
            trace.replay(bad)


def test_a_trace_checks_itself() -> None:
    with pytest.raises(DataError, match="duration"):
        Trace(np.array([5.0]), np.array([1]), 2.0)
    with pytest.raises(DataError, match="equal length"):
        Trace(np.array([0.0, 1.0]), np.array([1]), 2.0)
    with pytest.raises(DataError, match="edges"):
        Rate(np.array([1.0, 2.0]), np.array([1.0]))
    with pytest.raises(DataError, match="finite"):
        Rate(np.array([0.0, 2.0]), np.array([-1.0]))


@pytest.mark.parametrize(("shape", "peak"), [("spike", 5.0), ("constant", 1.0), ("daily", 1.6)])
def test_the_declared_shape_is_played(shape: Literal["spike", "constant", "daily"], peak: float) -> None:
    load = LoadConfig(shape=shape, requests_per_second=200, duration_s=100, spike_start=0.5, spike_length=0.1)
    times = trace.from_config(load, USERS, seed=3).times
    busiest = np.histogram(times, bins=10, range=(0, 100))[0].max() / 10
    assert busiest == pytest.approx(200 * peak, rel=0.1)
