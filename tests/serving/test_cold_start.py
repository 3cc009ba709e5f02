"""The first request is answered as fast as any: all that must be compiled is compiled before the parts are ready."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from greenflow_ray.serving.local.launch import free_port, start
from tests.serving.fakes import PATIENCE_S, cascade, model

pytestmark = [pytest.mark.serve, pytest.mark.long]


@pytest.mark.parametrize("place", ["gateway", "deployment"])
def test_no_request_waits_for_a_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    """Every compiled kernel leaves a file in numba's cache, which is empty at first, as on a new machine."""
    cache = tmp_path / "cache"
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(cache))
    stages = [
        {"name": "recall", "pool": [model("dssm", corpus=True)], "scales": "corpus"},
        {"name": "ranking", "pool": [model("dien")], "scales": [5, 20]},
    ]
    config = cascade(tmp_path / "run", free_port(), stages=stages, serving={"place": place})

    def compiled() -> set[str]:
        return {file.name for file in cache.rglob("*.nbc")}

    with (
        start(config, ready_s=PATIENCE_S) as server,
        httpx.Client(base_url=server.url, timeout=PATIENCE_S, trust_env=False) as http,
    ):
        before = compiled()
        assert before
        # Under a budget as under none, one by one, in a list, and for users whom nobody knows.
        for budget in (None, 1e9, 1.0):
            http.put("/v1/budget", json={"flops_per_second": budget}).raise_for_status()
            for body in ({"user_id": 3}, [{"user_id": user} for user in range(40)], {"user_id": -7}):
                http.post("/v1/recommend", json=body).raise_for_status()
        assert compiled() == before
