"""`greenflow loadtest` plays what it is told: the declared trace, with changes, or one from a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest

from greenflow_ray import config as configuration
from greenflow_ray import pipeline
from greenflow_ray.config import CascadeConfig
from greenflow_ray.console import Terminal
from greenflow_ray.datasets.prepare import prepare
from greenflow_ray.errors import ConfigError
from tests.loadtest.server import StubServer

QUIET = Terminal(quiet=True)


@pytest.fixture
def config(tmp_path: Path) -> CascadeConfig:
    raw = {
        "run": str(tmp_path / "run"),
        "exposure": 5,
        "stages": [
            {"name": "recall", "pool": [{"name": "dssm"}], "scales": "corpus"},
            {"name": "ranking", "pool": [{"name": "din"}], "scales": [20]},
        ],
        "data": {"format": "synthetic", "users": 120, "items": 100},
        "load": {"requests_per_second": 30, "duration_s": 0.5},
    }
    declared = configuration.validated(raw, "test")
    prepare(declared)
    return declared


def test_the_options_change_the_declared_trace(config: CascadeConfig) -> None:
    with StubServer() as server:
        totals = pipeline.play_load(
            config, server.base_url, QUIET, name="a", shape="constant", requests_per_second=80, duration_s=None
        )
    assert 15 <= totals["requests"] <= 70  # 40 expected, 30 × 0.5 s = 15 without the option
    assert totals["errors"] == 0
    assert (config.paths.loadtest / "a.json").exists()


def test_a_file_is_replayed_unknown_users_included(config: CascadeConfig, tmp_path: Path) -> None:
    users = [3, 999_999, 3, 7]
    path = tmp_path / "trace.csv"
    pa.csv.write_csv(pa.table({"time": np.linspace(1e9, 1e9 + 0.3, 4), "user_id": users}), path)
    with StubServer() as server:
        totals = pipeline.play_load(config, server.base_url, QUIET, name="b", replayed=path)
        assert [body["user_id"] for body in server.asked] == users
    assert (totals["requests"], totals["errors"]) == (4, 0)


def test_a_shape_that_there_is_not_is_refused(config: CascadeConfig) -> None:
    with pytest.raises(ConfigError, match=r"load\.shape"):
        pipeline.play_load(config, "http://127.0.0.1:9", QUIET, name="c", shape="square")
