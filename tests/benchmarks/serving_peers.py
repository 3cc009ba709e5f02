"""Three other ways to serve the same cascade by the same models, which the serving bench is measured against.

(a) the obvious Ray Serve composition: a deployment a model, a handle call a request and stage, default flags;
(b) the cascade in one process behind FastAPI and uvicorn, a request at a time in the thread pool;
(c) the same models called in a plain Python loop on batches, without HTTP: the limit.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from greenflow_ray import config as configuration
from greenflow_ray.config import CascadeConfig, ModelConfig
from greenflow_ray.models.pool import chain_space, load_model, load_pool
from greenflow_ray.ragged import Ragged
from greenflow_ray.serving.local.launch import free_port
from greenflow_ray.serving.sources import load_source
from greenflow_ray.serving.stages.core import StageCore
from greenflow_ray.serving.wire import StageBatch

READY_S = 120.0


class Cascade:
    """One fixed chain over the same models, features and selection as GreenFlow's stages."""

    def __init__(self, config: CascadeConfig) -> None:
        source = load_source(config)
        pool = load_pool(config, source.catalog)
        space = chain_space(config, pool, len(source.catalog))
        self.exposure = config.exposure
        self.item_ids = source.catalog.item_ids
        self.choices = space.chains[space.index(config.budget.fixed_chain)].choices
        self.cores = [StageCore(pool[c.model], source.catalog, source.features) for c in self.choices]

    def __call__(self, users: Sequence[int]) -> list[list[int]]:
        """Recommended items of each user."""
        ids = np.array(users, dtype=np.int64)
        rows: Ragged | None = None
        for k, (core, choice) in enumerate(zip(self.cores, self.choices, strict=True)):
            keep = self.choices[k + 1].items if k + 1 < len(self.choices) else self.exposure
            rows = core(StageBatch(ids, rows, choice.items, np.full(len(ids), keep, np.int64))).items
        assert rows is not None
        return [self.item_ids[rows.row(i)].tolist() for i in range(len(ids))]


def threads(n: int) -> None:
    """Torch threads of this process."""
    import torch

    torch.set_num_threads(n)


def loop(config: CascadeConfig, users: Sequence[int], *, batch: int, seconds: float, cores: int) -> float:
    """(c): requests a second."""
    threads(cores)
    cascade = Cascade(config)
    for _ in range(2):
        cascade(users[:batch])
    done, began = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - began) < seconds:
        at = done % (len(users) - batch)
        done += len(cascade(users[at : at + batch]))
    return done / elapsed


@contextlib.contextmanager
def child(config: CascadeConfig, kind: str, *arguments: str) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A peer's server in a process of its own, ended with the block; gives its address and process."""
    port = free_port()
    path = config.paths.root / "peer.yaml"
    path.write_text(configuration.dump(config), encoding="utf-8")
    command = [sys.executable, "-m", __spec__.name, kind, "--config", str(path), "--port", str(port), *arguments]
    # Defaults as they are: none of GreenFlow's settings of Ray, but no telemetry over the network either.
    env = {k: v for k, v in os.environ.items() if not k.startswith("RAY_SERVE")} | {"RAY_USAGE_STATS_ENABLED": "0"}
    with subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            url = f"http://127.0.0.1:{port}"
            wait(url, process)
            yield url, process
        finally:
            process.terminate()
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()


def wait(url: str, process: subprocess.Popen[bytes]) -> None:
    """Until the peer answers."""
    deadline = time.monotonic() + READY_S
    with httpx.Client(trust_env=False, timeout=10.0) as http:
        while time.monotonic() < deadline and process.poll() is None:
            with contextlib.suppress(httpx.HTTPError):
                if http.post(f"{url}/v1/recommend", json={"user_id": 0, "k": 1}).status_code == 200:
                    return
            time.sleep(0.2)
    raise RuntimeError(f"{process.args!r} did not answer")


def one_process(config: CascadeConfig, port: int, torch_threads: int) -> None:
    """(b): until ended."""
    import uvicorn
    from fastapi import FastAPI

    threads(torch_threads)
    cascade = Cascade(config)
    app = FastAPI()

    @app.post("/v1/recommend")
    def recommend(request: dict[str, int]) -> dict[str, Any]:
        return {"items": cascade([request["user_id"]])[0][: request["k"]]}

    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", access_log=False)


def composition(config: CascadeConfig, port: int) -> None:
    """(a): until ended."""
    import ray
    from fastapi import FastAPI
    from ray import serve

    from greenflow_ray.serving.local.launch import loopback_address

    source = load_source(config)
    space = chain_space(config, load_pool(config, source.catalog), len(source.catalog))
    choices = space.chains[space.index(config.budget.fixed_chain)].choices
    by_name = {model.name: model for stage in config.stages for model in stage.pool}

    @serve.deployment
    class Stage:
        def __init__(self, config: CascadeConfig, model: ModelConfig, scale: int) -> None:
            source = load_source(config)
            self._core = StageCore(load_model(config, model, source.catalog), source.catalog, source.features)
            self._scale = scale

        def __call__(self, user_id: int, items: list[int] | None, keep: int) -> list[int]:
            candidates = None if items is None else Ragged.from_rows([items])
            batch = StageBatch(np.array([user_id]), candidates, self._scale, np.array([keep]))
            found: list[int] = self._core(batch).items.values.tolist()
            return found

    web = FastAPI()

    @serve.deployment
    @serve.ingress(web)
    class Ingress:
        def __init__(self, item_ids: Any, keeps: list[int], *stages: Any) -> None:
            self._item_ids, self._keeps, self._stages = item_ids, keeps, stages

        @web.post("/v1/recommend")
        async def recommend(self, request: dict[str, int]) -> dict[str, Any]:
            items = None
            for stage, keep in zip(self._stages, self._keeps, strict=True):
                items = await stage.remote(request["user_id"], items, keep)
            assert items is not None
            return {"items": [int(self._item_ids[i]) for i in items][: request["k"]]}

    # As many CPUs as it asks for: one a replica, which is Serve's default.
    ray.init(
        address="local", num_cpus=len(choices) + 2, include_dashboard=False, _node_ip_address=loopback_address(),
        object_store_memory=256 << 20,
    )  # fmt: skip
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    keeps = [*[c.items for c in choices[1:]], config.exposure]
    stages = [Stage.options(name=c.model).bind(config, by_name[c.model], c.items) for c in choices]  # type: ignore[attr-defined]
    serve.run(Ingress.bind(source.catalog.item_ids, keeps, *stages), route_prefix="/")  # type: ignore[attr-defined]
    while True:
        time.sleep(1)


def looped(config: CascadeConfig, users: Sequence[int], *, batch: int, torch_threads: int, seconds: float) -> float:
    """(c) in a process of its own: requests a second."""
    path = config.paths.root / "peer.yaml"
    path.write_text(configuration.dump(config), encoding="utf-8")
    command = [
        sys.executable, "-m", __spec__.name, "loop", "--config", str(path), "--batch", str(batch),
        "--threads", str(torch_threads), "--seconds", str(seconds),
    ]  # fmt: skip
    done = subprocess.run(command, input=json.dumps(list(users)), capture_output=True, text=True, check=True)
    return float(done.stdout)


def main() -> None:
    """Command line of the peers, each in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=["composition", "one-process", "loop"])
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=5.0)
    options = parser.parse_args()
    config = configuration.load(options.config)
    if options.kind == "composition":
        composition(config, options.port)
    elif options.kind == "one-process":
        one_process(config, options.port, options.threads)
    else:
        users = json.loads(sys.stdin.read())
        print(loop(config, users, batch=options.batch, seconds=options.seconds, cores=options.threads))


if __name__ == "__main__":
    main()
