"""One repricing, without Ray: what is published, what is refused, and that two at once do no harm."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from greenflow_ray import config as configuration
from greenflow_ray.config import CascadeConfig
from greenflow_ray.errors import DataError
from greenflow_ray.nearline.repricing.aggregate import window_frontier
from greenflow_ray.nearline.repricing.job import say
from greenflow_ray.nearline.repricing.once import LEASE_S, reprice_once
from greenflow_ray.pricing.exact import solve
from greenflow_ray.pricing.frontier import Frontier
from greenflow_ray.pricing.store.records import PriceDraft
from greenflow_ray.pricing.store.sqlite_store import SqlitePriceStore

COSTS = np.array([1e6, 2e6, 5e6, 9e6])
Costs = npt.NDArray[np.float64]


def make_config(tmp_path: Path) -> CascadeConfig:
    config = configuration.load(configuration.DEFAULT)
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
    pq.write_table(pa.table({"reward": column}).replace_schema_metadata(meta), path, write_page_checksum=True)
    return path


def damage_page(path: Path) -> None:
    """Flip a bit of the data; the footer stays as it is."""
    blob = bytearray(path.read_bytes())
    blob[200] ^= 1
    stat = path.stat()
    path.write_bytes(blob)
    os.utime(path, (stat.st_mtime, stat.st_mtime))


def rows(seed: int, n: int = 200) -> npt.NDArray[np.float32]:
    return np.sort(np.random.default_rng(seed).random((n, 4), dtype=np.float32), axis=1)


def later(path: Path, seconds: float) -> float:
    return path.stat().st_mtime + seconds


def test_publishes_the_frontier_of_the_window(tmp_path: Path) -> None:
    config, store = make_config(tmp_path), SqlitePriceStore(tmp_path / "prices.sqlite")
    rewards = [rows(0), rows(1)]
    rewards[1][7, 2] = np.nan
    first, _ = (write(config, str(i), r) for i, r in enumerate(rewards))
    now = later(first, 10)
    outcome = reprice_once(config, store, window_frontier, lambda: now, 1.5e8)
    assert (outcome.published, outcome.version, outcome.bad_rows, outcome.requests) == (True, 1, 1, 399)
    finite = np.concatenate([rewards[0], np.delete(rewards[1], 7, axis=0)])
    assert outcome.price == Frontier.build(finite, COSTS).price(1.5e8 * 10 / 399)
    assert outcome.price == pytest.approx(solve(finite, COSTS, 1.5e8 * 10).price, rel=0.01)  # a bucket's width
    latest = store.latest()
    assert latest is not None
    assert latest.frontier.price(4e6) == Frontier.build(finite, COSTS).price(4e6)
    assert latest.meta["chains"] == "abc"


def test_an_empty_window_publishes_nothing(tmp_path: Path) -> None:
    config, store = make_config(tmp_path), SqlitePriceStore(tmp_path / "prices.sqlite")
    outcome = reprice_once(config, store, window_frontier, lambda: 1e9, None)
    assert (outcome.published, outcome.version, outcome.reason) == (False, 0, "no samples in the window")
    assert store.latest() is None


def test_too_many_bad_files_keep_the_old_price(tmp_path: Path) -> None:
    config, store = make_config(tmp_path), SqlitePriceStore(tmp_path / "prices.sqlite")
    now = later(write(config, "good", rows(0)), 5)
    assert reprice_once(config, store, window_frontier, lambda: now, None).version == 1
    (config.paths.samples / "bad.parquet").write_text("no parquet")
    with pytest.raises(DataError, match=r"1 of 2 sample files are bad \(first: bad\.parquet"):
        reprice_once(config, store, window_frontier, lambda: now, None)
    latest = store.latest()
    assert latest is not None
    assert latest.version == 1


def test_a_few_bad_files_are_set_aside_and_counted(tmp_path: Path) -> None:
    config, store = make_config(tmp_path), SqlitePriceStore(tmp_path / "prices.sqlite")
    paths = [write(config, f"{i:02}", rows(i, 5)) for i in range(30)]
    paths[3].write_bytes(paths[3].read_bytes()[:40])
    now = later(paths[0], 5)
    outcome = reprice_once(config, store, window_frontier, lambda: now, None)
    assert (outcome.bad_files, outcome.files, outcome.published) == (1, 29, True)
    assert (config.paths.samples / "refused" / "03.parquet").exists()


def test_of_two_at_once_the_second_leaves_it(tmp_path: Path) -> None:
    config = make_config(tmp_path)
    now = later(write(config, "a", rows(0)), 5)
    store = SqlitePriceStore(tmp_path / "prices.sqlite", clock=lambda: now)
    seconds = []

    def slow(files: Sequence[Path], costs: Costs) -> tuple[Frontier, int]:
        # While the first aggregates.
        seconds.append(reprice_once(config, store, window_frontier, lambda: now, None))
        return window_frontier(files, costs)

    outcome = reprice_once(config, store, slow, lambda: now, None)
    assert (outcome.published, outcome.version) == (True, 1)
    until = datetime.fromtimestamp(now + LEASE_S, UTC).strftime("%H:%M:%S UTC")
    assert seconds[0].as_dict() == {
        **dict.fromkeys(("published", "requests", "files", "bad_files", "bad_rows", "seconds", "version"), 0),
        "price": None,
        "reason": f"another repricing holds the lease until {until}",
    }
    assert say(seconds[0]) == f"not published: {seconds[0].reason}; version 0 stays"
    assert reprice_once(config, store, window_frontier, lambda: now, None).version == 2, "the first has given it up"


def test_a_price_published_without_a_lease_meanwhile_wins(tmp_path: Path) -> None:
    config, store = make_config(tmp_path), SqlitePriceStore(tmp_path / "prices.sqlite")
    now = later(write(config, "a", rows(0)), 5)

    def slow(files: Sequence[Path], costs: Costs) -> tuple[Frontier, int]:
        found = window_frontier(files, costs)
        store.publish(PriceDraft(found[0], 1.0, 1.0), expected_version=0)
        return found

    outcome = reprice_once(config, store, slow, lambda: now, None)
    assert (outcome.published, outcome.version) == (False, 1)
    assert outcome.reason == "another repricing published first"


def test_who_was_paused_past_its_lease_does_not_publish(tmp_path: Path) -> None:
    config = make_config(tmp_path)
    now = [later(write(config, "a", rows(0)), 5)]
    store = SqlitePriceStore(tmp_path / "prices.sqlite", clock=lambda: now[0])

    def paused(files: Sequence[Path], costs: Costs) -> tuple[Frontier, int]:
        now[0] += LEASE_S + 1
        return window_frontier(files, costs)

    outcome = reprice_once(config, store, paused, lambda: now[0], None)
    assert (outcome.published, outcome.version, store.latest()) == (False, 0, None)
    assert "the lease expired" in str(outcome.reason)


def test_pages_that_cannot_be_read_are_found_set_aside_and_counted(tmp_path: Path) -> None:
    config, store = make_config(tmp_path), SqlitePriceStore(tmp_path / "prices.sqlite")
    paths = [write(config, f"{i:02}", rows(i, 50)) for i in range(40)]
    damage_page(paths[5])
    now = later(paths[0], 5)
    gone = []

    def vanishing(files: Sequence[Path], costs: Costs) -> tuple[Frontier, int]:
        if not gone:
            paths[7].unlink()
        gone.append(len(files))
        return window_frontier(files, costs)

    outcome = reprice_once(config, store, vanishing, lambda: now, None)
    assert gone == [40, 38]
    assert (outcome.published, outcome.files, outcome.bad_files, outcome.requests) == (True, 38, 2, 38 * 50)
    assert [p.name for p in (config.paths.samples / "refused").iterdir()] == ["05.parquet"]
    assert reprice_once(config, store, window_frontier, lambda: now, None).bad_files == 0


def test_too_many_damaged_pages_stop_it_and_nothing_is_moved(tmp_path: Path) -> None:
    config, store = make_config(tmp_path), SqlitePriceStore(tmp_path / "prices.sqlite")
    paths = [write(config, f"{i:02}", rows(i, 50)) for i in range(30)]
    for path in paths[:2]:
        damage_page(path)
    now = later(paths[0], 5)
    for _ in range(2):
        with pytest.raises(DataError, match=r"2 of 30 sample files are bad .*nothing moved"):
            reprice_once(config, store, window_frontier, lambda: now, None)
    assert store.latest() is None
    assert len(list(config.paths.samples.iterdir())) == 30


def test_a_failure_that_no_file_explains_is_raised(tmp_path: Path) -> None:
    config, store = make_config(tmp_path), SqlitePriceStore(tmp_path / "prices.sqlite")
    now = later(write(config, "a", rows(0)), 5)

    def broken(files: Sequence[Path], costs: Costs) -> tuple[Frontier, int]:
        raise DataError("no memory")

    with pytest.raises(DataError, match="no memory"):
        reprice_once(config, store, broken, lambda: now, None)
    assert store.acquire("next", 1).owner == "next", "the lease is given up all the same"


def test_a_clock_that_went_back_neither_loses_samples_nor_moves_the_price(tmp_path: Path) -> None:
    config = make_config(tmp_path)
    assert config.sampling.window_s == 300
    made = time.time()
    prices = []
    for step in (0.0, 300.0):
        folder = config.model_copy(update={"run": tmp_path / str(step)})
        for i in range(10):  # one file every 20 s, the last one as the clock is set back by ``step``
            os.utime(write(folder, f"{i}", rows(i)), (made + 20 * i, made + 20 * i))
        now = made + 180 + 1 - step
        outcome = reprice_once(folder, SqlitePriceStore(":memory:"), window_frontier, lambda now=now: now, 2e7)  # type: ignore[misc]
        assert (outcome.files, outcome.requests) == (10, 2000)
        prices.append(outcome.price)
        late = reprice_once(folder, SqlitePriceStore(":memory:"), window_frontier, lambda now=now: now + 220, 2e7)  # type: ignore[misc]
        assert 4 <= late.files <= 5, "they leave the window as they would have"
    assert prices[0] > 0
    assert prices[1] == pytest.approx(prices[0], rel=0.02)


def test_rows_that_are_all_nan_publish_nothing(tmp_path: Path) -> None:
    config, store = make_config(tmp_path), SqlitePriceStore(tmp_path / "prices.sqlite")
    now = later(write(config, "a", np.full((4, 4), np.nan, np.float32)), 5)
    outcome = reprice_once(config, store, window_frontier, lambda: now, 1e9)
    assert (outcome.published, outcome.bad_rows, outcome.reason) == (False, 4, "no sample row was finite")
