"""One repricing, without Ray: what is published, what is refused, and that two at once do no harm."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from greenflow_ray import config as configuration
from greenflow_ray.config import CascadeConfig
from greenflow_ray.errors import DataError
from greenflow_ray.nearline.aggregate import reward_matrix
from greenflow_ray.nearline.reprice import reprice_once
from greenflow_ray.pricing.frontier import Frontier
from greenflow_ray.pricing.refinement import Refinement
from greenflow_ray.pricing.solve import solve
from greenflow_ray.pricing.store import SqlitePriceStore

COSTS = np.array([1e6, 2e6, 5e6, 9e6])


class LocalSamples:
    """The same two passes with pyarrow alone."""

    def __init__(self, files: Sequence[Path], costs: npt.NDArray[np.float64]) -> None:
        self.costs = costs
        self.rewards = np.concatenate([reward_matrix(pq.read_table(f)["reward"]) for f in files])

    def frontier(self) -> tuple[Frontier, int]:
        frontier = Frontier.build(self.rewards, self.costs, skip_bad=True)
        return frontier, len(self.rewards) - int(frontier.requests)

    def refine(self, bucket: int) -> Refinement:
        return Refinement.build(self.rewards, self.costs, bucket, skip_bad=True)


def make_config(tmp_path: Path) -> CascadeConfig:
    config = configuration.load(Path(configuration.__file__).parent / "cascade.yaml")
    return config.model_copy(update={"run": tmp_path})


def write(config: CascadeConfig, name: str, rewards: npt.NDArray[np.float32]) -> Path:
    config.paths.samples.mkdir(parents=True, exist_ok=True)
    column = pa.FixedSizeListArray.from_arrays(pa.array(rewards.reshape(-1)), rewards.shape[1])
    meta = {
        b"greenflow.schema": b"1",
        b"greenflow.costs": json.dumps(COSTS.tolist()).encode(),
        b"greenflow.chains_digest": b"abc",
    }
    path = config.paths.samples / f"{name}.parquet"
    pq.write_table(pa.table({"reward": column}).replace_schema_metadata(meta), path)
    return path


def rows(seed: int, n: int = 200) -> npt.NDArray[np.float32]:
    return np.sort(np.random.default_rng(seed).random((n, 4), dtype=np.float32), axis=1)


def later(path: Path, seconds: float) -> float:
    return path.stat().st_mtime + seconds


def test_publishes_the_exact_price_of_the_window(tmp_path: Path) -> None:
    config, store = make_config(tmp_path), SqlitePriceStore(tmp_path / "prices.sqlite")
    rewards = [rows(0), rows(1)]
    rewards[1][7, 2] = np.nan
    first, _ = (write(config, str(i), r) for i, r in enumerate(rewards))
    now = later(first, 10)
    outcome = reprice_once(config, store, LocalSamples, lambda: now, 1.5e8)
    assert (outcome.published, outcome.version, outcome.bad_rows, outcome.requests) == (True, 1, 1, 399)
    finite = np.concatenate([rewards[0], np.delete(rewards[1], 7, axis=0)])
    assert outcome.price == pytest.approx(solve(finite, COSTS, 1.5e8 * 10).price, rel=1e-5)
    latest = store.latest()
    assert latest is not None
    assert latest.frontier.price(4e6) == Frontier.build(finite, COSTS).price(4e6)
    assert latest.meta["chains"] == "abc"


def test_an_empty_window_publishes_nothing(tmp_path: Path) -> None:
    config, store = make_config(tmp_path), SqlitePriceStore(tmp_path / "prices.sqlite")
    outcome = reprice_once(config, store, LocalSamples, lambda: 1e9, None)
    assert (outcome.published, outcome.version, outcome.reason) == (False, 0, "no samples in the window")
    assert store.latest() is None


def test_too_many_bad_files_keep_the_old_price(tmp_path: Path) -> None:
    config, store = make_config(tmp_path), SqlitePriceStore(tmp_path / "prices.sqlite")
    now = later(write(config, "good", rows(0)), 5)
    assert reprice_once(config, store, LocalSamples, lambda: now, None).version == 1
    (config.paths.samples / "bad.parquet").write_text("no parquet")
    with pytest.raises(DataError, match=r"1 of 2 sample files are bad \(first: bad\.parquet"):
        reprice_once(config, store, LocalSamples, lambda: now, None)
    latest = store.latest()
    assert latest is not None
    assert latest.version == 1


def test_a_few_bad_files_are_set_aside_and_counted(tmp_path: Path) -> None:
    config, store = make_config(tmp_path), SqlitePriceStore(tmp_path / "prices.sqlite")
    paths = [write(config, f"{i:02}", rows(i, 5)) for i in range(30)]
    paths[3].write_bytes(paths[3].read_bytes()[:40])
    now = later(paths[0], 5)
    outcome = reprice_once(config, store, LocalSamples, lambda: now, None)
    assert (outcome.bad_files, outcome.files, outcome.published) == (1, 29, True)
    assert (config.paths.samples / "refused" / "03.parquet").exists()


def test_two_at_once_publish_once(tmp_path: Path) -> None:
    config, store = make_config(tmp_path), SqlitePriceStore(tmp_path / "prices.sqlite")
    now = later(write(config, "a", rows(0)), 5)
    other = itertools.count()

    class Slow(LocalSamples):
        def frontier(self) -> tuple[Frontier, int]:
            if next(other) == 0:  # while the first one aggregates, a second one starts and publishes
                assert reprice_once(config, store, LocalSamples, lambda: now, None).published
            return super().frontier()

    outcome = reprice_once(config, store, Slow, lambda: now, None)
    assert (outcome.published, outcome.version) == (False, 1)
    assert outcome.reason == "another repricing published first"


def test_rows_that_are_all_nan_publish_nothing(tmp_path: Path) -> None:
    config, store = make_config(tmp_path), SqlitePriceStore(tmp_path / "prices.sqlite")
    now = later(write(config, "a", np.full((4, 4), np.nan, np.float32)), 5)
    outcome = reprice_once(config, store, LocalSamples, lambda: now, 1e9)
    assert (outcome.published, outcome.bad_rows, outcome.reason) == (False, 4, "no sample row was finite")
