"""A ranker's replica dies by SIGKILL under load, twice: nobody gets an error, and it comes back."""

from __future__ import annotations

from pathlib import Path

import pytest

from greenflow_ray.serving.local.launch import start
from tests.benchmarks.kill import rounds, told, two_rankers
from tests.serving.fakes import PATIENCE_S

pytestmark = [pytest.mark.serve, pytest.mark.long]


def test_a_killed_replica_costs_quality_at_most(tmp_path: Path) -> None:
    with start(two_rankers(tmp_path), ready_s=PATIENCE_S) as server:
        found = rounds(server.url, 2, 500, 50.0)
    result = told(found)
    assert result["requests"] > 900
    assert result["not_2xx"] == 0, result["errors_by_kind"]
    assert all(kill["away_seconds"] is not None for kill in result["kills"])
    assert len({kill["pid"] for kill in result["kills"]}) == 2
