"""Ray Data's aggregates give what one process gives, bad rows counted, over many small files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
import ray

from greenflow_ray.errors import DataError
from greenflow_ray.nearline.reading import scan
from greenflow_ray.nearline.repricing.aggregate import FrontierAggregate, RaySamples, RefinementAggregate
from greenflow_ray.nearline.repricing.once import reprice_once
from greenflow_ray.pricing.frontier import Frontier
from greenflow_ray.pricing.refinement import Refinement, crossing
from greenflow_ray.pricing.store.base import SqlitePriceStore
from tests.nearline.repricing.test_once import COSTS, damage_page, make_config, rows, write


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, _node_ip_address="127.7.7.7")
    yield
    ray.shutdown()


@pytest.mark.serve
def test_a_small_window_leaves_no_actor_and_no_workers_of_its_own_kind(cluster: None, tmp_path: Path) -> None:
    config = make_config(tmp_path)
    samples = RaySamples([write(config, f"{i:02}", rows(i, 50)) for i in range(6)], COSTS)
    frontier, _ = samples.frontier()
    bucket = crossing(frontier, 3e6 * frontier.requests)
    assert bucket is not None
    samples.refine(bucket)
    assert ray.util.list_named_actors(all_namespaces=True) == []
    titles = [" ".join(p.cmdline()) for p in psutil.Process().children(recursive=True)]
    assert 1 <= sum(title.startswith("ray::IDLE") for title in titles) <= 2, "no more than Ray keeps for two CPUs"


@pytest.mark.serve
@pytest.mark.parametrize("task_bytes", [scan.TASK_BYTES, 1])
def test_two_passes_over_files_equal_one_process(
    cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task_bytes: int
) -> None:
    monkeypatch.setattr(scan, "TASK_BYTES", task_bytes)
    config = make_config(tmp_path)
    parts = [rows(seed, 50 + seed) for seed in range(6)]
    parts[2][3, 1] = np.nan
    parts[4][0, 0] = np.inf
    files = [write(config, f"{i:02}", part) for i, part in enumerate(parts)]
    assert scan.tasks_for(files) == (4 if task_bytes == 1 else 1)
    samples = RaySamples(files, COSTS)
    frontier, bad = samples.frontier()
    together = np.concatenate(parts)
    expected = Frontier.build(together, COSTS, skip_bad=True)
    assert bad == 2
    assert frontier.requests == expected.requests
    assert frontier.buckets.tolist() == expected.buckets.tolist()
    np.testing.assert_allclose(frontier.cost, expected.cost)
    budget = 3e6 * frontier.requests
    bucket = crossing(frontier, budget)
    assert bucket is not None
    found = samples.refine(bucket).solve(frontier, budget)
    alone = Refinement.build(together, COSTS, bucket, skip_bad=True).solve(expected, budget)
    assert found.price == alone.price
    assert found.cost == pytest.approx(alone.cost)


@pytest.mark.serve
def test_a_damaged_page_is_found_and_the_others_are_priced(cluster: None, tmp_path: Path) -> None:
    config, store = make_config(tmp_path), SqlitePriceStore(tmp_path / "prices.sqlite")
    files = [write(config, f"{i:02}", rows(i, 20)) for i in range(25)]
    damage_page(files[4])
    with pytest.raises(DataError, match="CRC checksum"):
        RaySamples(files, COSTS)
    now = files[0].stat().st_mtime + 5
    outcome = reprice_once(config, store, RaySamples, lambda: now, 1e9)
    assert (outcome.published, outcome.files, outcome.bad_files, outcome.requests) == (True, 24, 1, 480)


def test_empty_accumulators_are_nothing() -> None:
    assert FrontierAggregate.read(b"")[0] == 0
    assert len(RefinementAggregate(COSTS, 7).read(b"").places) == 0
    aggregate = FrontierAggregate(COSTS)
    one = aggregate.summarise(rows(0, 5))
    assert aggregate.combine(b"", one) == aggregate.combine(one, b"") == one
