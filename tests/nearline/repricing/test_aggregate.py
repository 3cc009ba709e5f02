"""Windows summed here and through Ray Data give what one matrix gives, bad rows counted."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import ray

from greenflow_ray.errors import DataError
from greenflow_ray.nearline.reading import scan
from greenflow_ray.nearline.repricing import aggregate
from greenflow_ray.nearline.repricing.aggregate import window_frontier
from greenflow_ray.nearline.repricing.once import reprice_once
from greenflow_ray.pricing.frontier import Frontier
from greenflow_ray.pricing.store.sqlite_store import SqlitePriceStore
from tests.nearline.repricing.test_once import COSTS, damage_page, make_config, rows, write


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, _node_ip_address="127.7.7.7")
    yield
    ray.shutdown()


PARTS = [rows(seed, 50 + seed) for seed in range(6)]
PARTS[2][3, 1] = np.nan
PARTS[4][0, 0] = np.inf


def check(frontier: Frontier, bad: int) -> None:
    """The sum of all files is what one matrix of all rows gives."""
    expected = Frontier.build(np.concatenate(PARTS), COSTS, skip_bad=True)
    assert bad == 2
    assert frontier.requests == expected.requests
    assert frontier.buckets.tolist() == expected.buckets.tolist()
    np.testing.assert_allclose(frontier.cost, expected.cost)


def test_a_small_window_needs_no_ray(tmp_path: Path) -> None:
    config = make_config(tmp_path)
    files = [write(config, f"{i:02}", part) for i, part in enumerate(PARTS)]
    check(*window_frontier(files, COSTS))
    damage_page(files[4])
    with pytest.raises(OSError, match="CRC checksum"):
        window_frontier(files, COSTS)


@pytest.mark.serve
@pytest.mark.parametrize("task_bytes", [scan.TASK_BYTES, 1])
def test_a_large_window_on_ray_equals_one_process(
    cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task_bytes: int
) -> None:
    monkeypatch.setattr(scan, "TASK_BYTES", task_bytes)
    monkeypatch.setattr(aggregate, "LOCAL_BYTES", 0)
    config = make_config(tmp_path)
    files = [write(config, f"{i:02}", part) for i, part in enumerate(PARTS)]
    assert scan.tasks_for(files) == (4 if task_bytes == 1 else 1)
    check(*window_frontier(files, COSTS))


@pytest.mark.serve
def test_a_damaged_page_is_found_on_ray_and_the_others_are_priced(
    cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aggregate, "LOCAL_BYTES", 0)
    config, store = make_config(tmp_path), SqlitePriceStore(tmp_path / "prices.sqlite")
    files = [write(config, f"{i:02}", rows(i, 20)) for i in range(25)]
    damage_page(files[4])
    with pytest.raises(DataError, match="CRC checksum"):
        window_frontier(files, COSTS)
    now = files[0].stat().st_mtime + 5
    outcome = reprice_once(config, store, window_frontier, lambda: now, 1e9)
    assert (outcome.published, outcome.files, outcome.bad_files, outcome.requests) == (True, 24, 1, 480)


def test_empty_messages_are_nothing() -> None:
    assert aggregate.unpack(b"")[0].requests == 0
    one = aggregate.counted(rows(0, 5), COSTS)
    assert aggregate.pack(*aggregate.added([aggregate.unpack(b""), one])) == aggregate.pack(*one)
