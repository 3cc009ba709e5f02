"""`greenflow loadtest` plays what it is told: the declared trace, with changes, or one from a file."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest
from aiohttp import web
from typer.testing import CliRunner

from greenflow_ray import cli
from greenflow_ray import config as configuration
from greenflow_ray.config import CascadeConfig
from greenflow_ray.datasets.preparation import prepare
from greenflow_ray.datasets.storage import load
from greenflow_ray.errors import ConfigError
from greenflow_ray.line import playing
from greenflow_ray.support.terminal import Terminal
from tests.loadtest.server import StubServer, ordinary

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
        totals = playing.play_load(
            config, server.base_url, QUIET, name="a", shape="constant", requests_per_second=80, duration_s=None
        )
    assert 15 <= totals["requests"] <= 70  # 40 expected, 30 × 0.5 s = 15 without the option
    assert totals["errors"] == 0
    assert totals == json.loads((config.paths.loadtest / "a.json").read_text())["totals"]
    assert sorted(path.name for path in config.paths.loadtest.iterdir()) == ["a.json", "a.parquet", "a.png"]


def test_the_greatest_rate_is_found_and_written(config: CascadeConfig) -> None:
    """The server refuses who comes when more than 40 have come within the last second."""
    came: list[float] = []

    def limited(server: StubServer, body: dict[str, Any]) -> Any:
        now = time.monotonic()
        came[:] = [at for at in came if now - at < 1.0] + [now]
        return web.Response(status=429) if len(came) > 40 else ordinary(server, body)

    with StubServer(limited) as server:
        found = playing.find_capacity(config, server.base_url, QUIET, name="c", limit_s=5.0, start=10.0, seconds=1.0)
    assert found["rate"] <= 80
    assert any(step["why"] for step in found["steps"])
    written = json.loads((config.paths.loadtest / "c-capacity.json").read_text())
    assert (written["arm"], written["rate"], written["limit_s"]) == (None, found["rate"], 5.0)


@pytest.mark.parametrize("p99", ["soon", "0ms", "-1s"])
def test_a_limit_that_is_no_time_is_refused_in_one_line(config: CascadeConfig, p99: str) -> None:
    configuration.store(config)
    command = ["loadtest", "--run", str(config.run), "--find-capacity", "--p99", p99]
    done = CliRunner().invoke(cli.app, command)
    assert isinstance(done.exception, ConfigError)
    assert str(done.exception) == f"--p99: {p99!r} is no time; write 250ms or 0.25s"


def test_a_file_is_replayed_unknown_users_included(config: CascadeConfig, tmp_path: Path) -> None:
    users = [3, 999_999, 3, 7]
    path = tmp_path / "trace.csv"
    pa.csv.write_csv(pa.table({"time": np.linspace(1e9, 1e9 + 0.3, 4), "user_id": users}), path)
    with StubServer() as server:
        totals = playing.play_load(config, server.base_url, QUIET, name="b", replayed=path)
        assert [body["user_id"] for body in server.asked] == users
    assert (totals["requests"], totals["errors"]) == (4, 0)


def test_a_file_is_replayed_without_a_run(tmp_path: Path) -> None:
    """As from another machine: no data, so nothing is judged, and the server says how many items there are."""
    declared = configuration.load(configuration.builtin("C")).model_copy(update={"run": tmp_path / "nothing"})
    path = tmp_path / "trace.csv"
    path.write_text("time,user_id\n0,1\n0.1,2\n")
    with StubServer(lambda server, body: ordinary(server, {"k": 3, **body})) as server:
        totals = playing.play_load(declared, server.base_url, QUIET, name="b", replayed=path, criticality="critical")
        assert [set(body) for body in server.asked] == [{"user_id", "request_id", "criticality"}] * 2
        assert server.feedback == []
    assert (totals["answered"], totals["clicks"]) == (2, 0)
    assert (tmp_path / "nothing" / "loadtest" / "b.png").exists()


def test_the_command_says_how_it_goes_and_what_it_saw(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text("time,user_id\n0,1\n0.1,2\n1.2,3\n")
    options = ["loadtest", "--run", str(tmp_path / "run"), "--replay", str(path), "--k", "2", "--name", "x"]
    with StubServer() as server:
        done = CliRunner().invoke(cli.app, [*options, "--url", server.base_url])
    assert done.exit_code == 0, done.output
    assert "x: 2/3 answered, 2/s, p99 " in done.stderr or "x: 3/3 answered" in done.stderr
    for words in ("this client", "p99.9", "shed (HTTP 429)", "x.json, .png"):
        assert words in done.stderr


def test_clicks_are_judged_unless_told_not_to(config: CascadeConfig) -> None:
    items = load(config.paths.data).catalog.item_ids.tolist()

    def all_items(server: StubServer, body: dict[str, Any]) -> dict[str, Any]:
        return ordinary(server, body) | {"items": items}

    with StubServer(all_items) as server:
        judged = playing.play_load(config, server.base_url, QUIET, name="a", k=100)
        assert server.feedback
        server.feedback.clear()
        free = playing.play_load(config, server.base_url, QUIET, name="b", k=100, judged=False)
        assert server.feedback == []
    assert judged["clicks"] > 0
    assert free["clicks"] == 0


def test_a_replayed_file_is_not_changed(config: CascadeConfig, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"requests_per_second: .* leave these out"):
        playing.play_load(config, "http://127.0.0.1:9", QUIET, name="c", replayed=tmp_path / "t", requests_per_second=3)


def test_a_shape_that_there_is_not_is_refused(config: CascadeConfig) -> None:
    with pytest.raises(ConfigError, match=r"load\.shape"):
        playing.play_load(config, "http://127.0.0.1:9", QUIET, name="c", shape="square")
