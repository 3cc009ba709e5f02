"""The join on Ray Data: what one process gives, in bounded parts, written whole or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import ray

from greenflow_ray.errors import DataError
from greenflow_ray.nearline.cluster import connected
from greenflow_ray.nearline.learning import join
from greenflow_ray.nearline.learning.dataset import read_joined, read_manifest
from greenflow_ray.nearline.learning.join import join_logs
from tests.nearline.logs import SPACE, clicks, report, samples, store
from tests.nearline.repricing.test_once import damage_page, make_config


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, _node_ip_address="127.7.7.8")
    with connected():
        yield
    ray.shutdown()


@pytest.mark.serve
def test_the_logs_are_joined_in_parts_and_damage_is_set_aside(
    cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(tmp_path)
    paths = config.paths
    ids = [f"r{i}" for i in range(400)]
    for i in range(40):
        store(paths.samples, f"{i:02}", samples(ids[10 * i : 10 * i + 10], [100.0 + i] * 10, seed=i))
    store(paths.samples, "again", samples(ids[:10], [500.0] * 10))
    report(paths.feedback, 200.0, [(i, [1, 2]) for i in ids[::4]])
    (once,) = paths.feedback.glob("*.parquet")
    shutil.copy(once, paths.feedback / "twice.parquet")
    for i in range(40):
        store(paths.feedback, f"more-{i:02}", clicks([(9e6, ids[1 + 4 * i], 3), (200.0, f"unknown-{i}", 1)]))
    damage_page(paths.samples / "17.parquet")
    damage_page(paths.feedback / "more-05.parquet")
    monkeypatch.setattr(join, "PARTITION_BYTES", 20_000)
    said: list[tuple[str, float]] = []

    summary = join_logs(config, horizon_s=3600.0, clock=lambda: 1e7, progress=lambda *told: said.append(told))
    lost = [i for i in ids[::4] if 170 <= int(i[1:]) < 180]
    assert summary.model_dump(exclude={"seconds"}) == {
        "samples": 390,
        "clicked": 100 - len(lost),
        "open": 0,
        "clicks": 2 * (100 - len(lost)),
        "duplicate_samples": 10,
        "duplicate_clicks": 200,
        "late_clicks": 39 - len([i for i in range(40) if i != 5 and 170 <= 1 + 4 * i < 180]),
        "orphan_clicks": 39 + 2 * len(lost) + len([i for i in range(40) if i != 5 and 170 <= 1 + 4 * i < 180]),
        "sample_files": 40,
        "feedback_files": 41,
        "bad_files": 2,
        "other_files": 0,
        "horizon_s": 3600.0,
        "joined_at": 1e7,
    }
    assert said[-1] == ("joining clicks to samples", 1.0)
    assert [p.name for p in (paths.samples / "refused").iterdir()] == ["17.parquet"]
    assert [p.name for p in (paths.feedback / "refused").iterdir()] == ["more-05.parquet"]

    manifest = read_manifest(paths.joined)
    assert len(manifest.files) > 3
    assert {p.name for p in paths.joined.iterdir()} == {*manifest.files, "manifest.json"}
    table = pq.read_table([paths.joined / f for f in manifest.files])
    assert table.schema.metadata[b"greenflow.chains_digest"] == SPACE.digest.encode()
    assert sorted(table["request_id"].to_pylist()) == sorted(i for i in ids if not 170 <= int(i[1:]) < 180)
    log = read_joined(paths.joined)
    assert (len(log), log.clicks.sum(), log.names) == (390, summary.clicks, SPACE.names)
    np.testing.assert_array_equal(log.costs, SPACE.costs)

    # A join that fails leaves the one before; the next one takes its place.
    monkeypatch.setattr(join, "write_manifest", None)
    with pytest.raises(TypeError):
        join_logs(config, clock=lambda: 1e7)
    assert {p.name for p in paths.joined.iterdir()} == {*manifest.files, "manifest.json"}
    monkeypatch.undo()
    assert join_logs(config, clock=lambda: 1e7).samples == 390
    assert len(list(paths.joined.iterdir())) == 2


def test_nothing_to_join_is_said_before_ray_is_needed(tmp_path: Path) -> None:
    config = make_config(tmp_path)
    with pytest.raises(DataError, match="no sample files; serve traffic first"):
        join_logs(config)
    with pytest.raises(DataError, match="horizon: 0 s"):
        join_logs(config, horizon_s=0.0)
    store(config.paths.samples, "a", samples(["a"], [1.0]))
    (config.paths.samples / "b.parquet").write_text("no parquet")
    with pytest.raises(DataError, match="1 of 2 sample files are bad"):
        join_logs(config)
    (config.paths.samples / "b.parquet").unlink()
    config.paths.feedback.mkdir()
    (config.paths.feedback / "b.parquet").write_text("no parquet")
    with pytest.raises(DataError, match="1 of 1 feedback files are bad"):
        join_logs(config)
    assert (config.paths.feedback / "b.parquet").exists()
