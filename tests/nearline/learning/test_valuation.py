"""`greenflow value` from joined files to table, document and picture."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from greenflow_ray.config import CascadeConfig
from greenflow_ray.errors import DataError
from greenflow_ray.nearline.learning.dataset import Joined, Manifest, Summary, read_joined, write_manifest
from greenflow_ray.nearline.learning.valuation import STEPS, value_run
from greenflow_ray.support.terminal import Terminal
from tests.nearline.learning.test_estimators import made
from tests.nearline.repricing.test_once import make_config


def put(config: CascadeConfig, log: Joined, open_samples: int = 0) -> Path:
    """Store a log as the join does; returns its file."""
    n = len(log)
    counted = dict.fromkeys(Summary.model_fields, 0) | {"samples": n, "open": open_samples, "horizon_s": 60}
    summary = Summary.model_validate(counted)
    manifest = Manifest(chains="abc", costs=tuple(log.costs), names=log.names, files=("a.parquet",), summary=summary)
    columns = {
        "time": np.zeros(n),
        "request_id": [str(i) for i in range(n)],
        "context_key": log.context,
        "reward": pa.FixedSizeListArray.from_arrays(pa.array(log.rewards.reshape(-1)), log.rewards.shape[1]),
        "chain": log.chain,
        "cost": log.costs[log.chain],
        "price": np.zeros(n),
        "price_version": np.zeros(n, np.int64),
        "propensity": log.propensity.astype(np.float32),
        "sampling_rate": log.rate.astype(np.float32),
        "clicks": log.clicks.astype(np.int32),
        "items": pa.array([[]] * n, pa.list_(pa.int64())),
        "complete": log.complete,
    }
    config.paths.joined.mkdir(parents=True)
    pq.write_table(pa.table(columns).cast(manifest.arrow()), config.paths.joined / "a.parquet")
    write_manifest(config.paths.joined, manifest)
    return config.paths.joined / "a.parquet"


def test_what_was_joined_is_read_back(tmp_path: Path) -> None:
    config, (log, _) = make_config(tmp_path), made(0)
    put(config, log)
    found = read_joined(config.paths.joined)
    assert found.names == log.names
    for name in ("rewards", "costs", "chain", "clicks", "rate", "context", "complete"):
        np.testing.assert_array_equal(getattr(found, name), getattr(log, name))
    np.testing.assert_allclose(found.propensity, log.propensity, rtol=1e-6)


def test_every_chain_and_budgets_are_valued(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config, (log, _) = make_config(tmp_path), made(0)
    put(config, log, open_samples=7)
    document = value_run(config, Terminal(), (), ())
    assert json.loads(config.paths.value.read_text()) == json.loads(json.dumps(document))
    assert config.paths.value.with_suffix(".png").read_bytes()[:4] == b"\x89PNG"
    policies = document["policies"]
    assert len(policies) == 5 + STEPS
    flops = [p["flops"]["value"] for p in policies]
    assert flops == sorted(flops)
    assert {p["name"] for p in policies if p["price"] is None} == set(log.names)
    assert all(p["robust"]["low"] < p["robust"]["value"] < p["robust"]["high"] for p in policies)
    told = capsys.readouterr().err
    assert "as served: " in told
    assert "7 samples were younger than 60 s" in told
    assert "no click was joined" in told


def test_named_prices_and_budgets_alone(tmp_path: Path) -> None:
    config, (log, _) = make_config(tmp_path), made(0)
    put(config, log)
    document = value_run(config, Terminal(quiet=True), [2e-8], [5e6, 6e6])
    names = {p["name"] for p in document["policies"] if p["price"] is not None}
    assert names == {"price 2e-08", "budget 5 MFLOPs", "budget 6 MFLOPs"}


def test_a_log_without_exploration_gives_a_picture_and_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, (log, _) = make_config(tmp_path), made(0, explore=0.0)
    put(config, log)
    document = value_run(config, Terminal(), [1e-7], ())
    assert {p["verdict"] for p in document["policies"]} == {"not identifiable"}
    assert {p["robust"] for p in document["policies"]} == {None}
    told = " ".join(capsys.readouterr().err.split())
    assert "100% of requests had but one chain that they could get" in told
    assert "6 of 6 policies are not identifiable" in told
    assert config.paths.value.with_suffix(".png").exists()


def test_missing_and_damaged_joins_are_named(tmp_path: Path) -> None:
    config, (log, _) = make_config(tmp_path), made(0, n=20)
    with pytest.raises(DataError, match=r"manifest\.json: no joined samples; run `greenflow join` first"):
        value_run(config, Terminal(quiet=True), (), ())
    path = put(config, log)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match=r"a\.parquet: cannot be read .* again"):
        value_run(config, Terminal(quiet=True), (), ())
    path.unlink()
    with pytest.raises(DataError, match=r"a\.parquet: cannot be read"):
        value_run(config, Terminal(quiet=True), (), ())
    (config.paths.joined / "manifest.json").write_text('{"version": 1}')
    with pytest.raises(DataError, match=r"manifest\.json: cannot be read \(ValidationError\)"):
        value_run(config, Terminal(quiet=True), (), ())
