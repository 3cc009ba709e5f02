"""Cascades of two to six stages in plain numpy: chains, serving path, reward model, price, and served for real."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from greenflow_ray import config as configuration
from greenflow_ray.chains import ChainSpace
from greenflow_ray.config import CascadeConfig
from greenflow_ray.datasets import storage
from greenflow_ray.datasets.features import TableFeatures
from greenflow_ray.datasets.schema import Catalog, Clicks, Split
from greenflow_ray.errors import ConfigError
from greenflow_ray.models.pool import chain_space, load_pool
from greenflow_ray.pricing.frontier import Frontier
from greenflow_ray.pricing.kernels.choice import PriceDirective, choose, request_hashes
from greenflow_ray.reward.stored import load_reward
from greenflow_ray.reward.teaching import train_reward
from greenflow_ray.serving.gateway.cascade_path import CascadePath, PathSettings
from greenflow_ray.serving.local.launch import free_port, start
from greenflow_ray.serving.stages.core import StageCore
from greenflow_ray.serving.wire import Allocation, AllocationBatch, StageBatch, StageReply, Usage
from tests.serving.fakes import PATIENCE_S, PATIENT, ByCost
from tests.worlds import TableScorer, make_world

WORLD = make_world(n_users=120)
CATALOG, USERS = WORLD.dataset.catalog, WORLD.dataset.users
FEATURES = TableFeatures(USERS)
EXPOSURE = 5
COUNTS = [2, 3, 4, 5, 6]


def table(stage: int, seed: int) -> TableScorer:
    """A scorer that sees the world's truth, later stages better and dearer."""
    rng = np.random.default_rng([stage, seed])
    noise = 2.0 / (stage + 1) * rng.normal(size=WORLD.truth.shape)
    return TableScorer((WORLD.truth + noise).astype(np.float32), 10 * 4**stage + seed)


def scorer(weights: Path, catalog: Catalog, *, stage: int, seed: int) -> TableScorer:
    return table(stage, seed)


def cascade(run: Path, n: int, *, pools: int = 2, **changes: Any) -> CascadeConfig:
    """``n`` stages, each over fewer items than the one before; the first and the last have ``pools`` models."""
    stages = []
    for k in range(n):
        widest = 60 - k * 45 // (n - 1)
        pool = [
            {"name": f"m{k}{'ab'[seed]}", "factory": "tests.test_stages:scorer", "args": {"stage": k, "seed": seed}}
            for seed in range(pools if k in (0, n - 1) else 1)
        ]
        scales = "corpus" if k == 0 and n % 2 else [widest - 8, widest] if k in (0, n - 1) else [widest]
        stages.append({"name": f"stage-{k}", "pool": pool, "scales": scales})
    base: dict[str, Any] = {
        "run": str(run),
        "exposure": EXPOSURE,
        "stages": stages,
        "reward": {"epochs": 3, "hidden": 8, "teacher": "none"},
    }
    return configuration.validated({**base, **changes}, "tests")


def store(config: CascadeConfig) -> None:
    """The world as the run's prepared data."""
    clicks = {}
    for split in Split:
        rows = USERS.of(split)
        clicks[split] = Clicks(rows, WORLD.clicks.items.take(rows))
    storage.write(config.paths.data, WORLD.dataset, clicks)


def naive(space: ChainSpace, user: int, chain: int, k: int) -> list[int]:
    """The cascade of one request as its definition says."""
    choices = space.chains[chain].choices
    seen = set(USERS.history.row(user).tolist())
    kept = [int(i) for i in CATALOG.by_popularity()[: choices[0].items] if int(i) not in seen]
    for n, choice in enumerate(choices):
        scores = table(n, "ab".index(choice.model[-1])).table[user]
        keep = choices[n + 1].items if n + 1 < len(choices) else k
        kept = sorted(kept, key=lambda i: (-scores[i], i))[:keep]
    return kept


@pytest.mark.parametrize("n", COUNTS)
def test_the_path_equals_the_definition(tmp_path: Path, n: int) -> None:
    config = cascade(tmp_path, n)
    pool = load_pool(config, CATALOG)
    space = chain_space(config, pool, len(CATALOG))
    assert len(space.stages) == n
    assert len(space) == (8 if n % 2 else 16)
    for chain in space.chains:
        assert chain.flops == sum(
            pool[c.model].flops_per_request + c.items * pool[c.model].flops_per_item for c in chain.choices
        )
    rng = np.random.default_rng(n)
    users = rng.integers(0, len(USERS), 24)
    chains = rng.integers(0, len(space), 24).astype(np.int32)

    def stage(name: str) -> Any:
        core = StageCore(pool[name], CATALOG, FEATURES)

        async def score(batch: StageBatch) -> StageReply:
            rows = core(batch)
            return StageReply(rows.items, rows.scores, 0.0, Usage("d", "r", 0.0))

        return score

    async def allocate(batch: AllocationBatch) -> Allocation:
        return Allocation(chains, np.zeros(24), 1, np.zeros(24, np.int16), None, 0.0)

    async def go() -> Any:
        settings = PathSettings(30.0, 5.0, space.cheapest)
        stages = {name: stage(name) for name in pool}
        path = CascadePath(space, settings, CATALOG.by_popularity(), CATALOG.popularity, allocate, stages)
        batch = AllocationBatch(users, np.zeros(24, np.uint64), ("r",) * 24)
        return await path(batch, np.full(24, EXPOSURE, np.int64), asyncio.get_running_loop().time() + 30)

    answers = asyncio.run(go())
    assert not answers.reasons.any()
    assert answers.flops.tolist() == [space.chains[j].flops for j in chains]
    for i, (user, chain) in enumerate(zip(users, chains, strict=True)):
        assert answers.rows.items.row(i).tolist() == naive(space, int(user), int(chain), EXPOSURE)


@pytest.mark.parametrize("n", COUNTS)
def test_reward_model_and_price_work_over_any_depth(tmp_path: Path, n: int) -> None:
    config = cascade(tmp_path, n)
    store(config)
    pool = load_pool(config, CATALOG)
    space = chain_space(config, pool, len(CATALOG))
    train_reward(config, WORLD.dataset, pool, space)
    rewards = load_reward(config.paths.reward, space, CATALOG).predict(FEATURES.rows(np.arange(len(USERS))))
    assert rewards.shape == (len(USERS), len(space))
    assert np.isfinite(rewards).all()
    wider = [
        (a, b)
        for a in range(len(space))
        for b in range(len(space))
        if (space.models[a] == space.models[b]).all() and (space.items[a] <= space.items[b]).all()
    ]
    assert len(wider) > len(space)
    assert all((rewards[:, a] <= rewards[:, b] + 1e-4).all() for a, b in wider), "more items are never worth less"

    frontier = Frontier.build(rewards, space.costs)
    hashes = request_hashes(USERS.user_ids)
    spent = []
    for share in (0.1, 0.5, 0.9):
        budget = frontier.floor + share * (frontier.top - frontier.floor)
        mix = frontier.mix(budget)
        directive = PriceDirective(mix.low, mix.high, mix.high_share, 1, False, space.cheapest)
        spent.append(float(space.costs[choose(rewards, space.costs, directive, hashes)].mean()) / budget)
    assert spent == pytest.approx([1.0] * 3, rel=0.2)


@pytest.mark.parametrize("n", [1, 7])
def test_other_depths_are_refused(tmp_path: Path, n: int) -> None:
    with pytest.raises(ConfigError, match="stages"):
        configuration.validated({"stages": [s.model_dump() for s in (cascade(tmp_path, 2).stages * 4)[:n]]}, "tests")


def reward(folder: Path, space: ChainSpace, catalog: Catalog) -> ByCost:
    return ByCost(space)


@pytest.mark.serve
def test_six_stages_are_served(tmp_path: Path) -> None:
    """Replicas of every stage, asked over HTTP."""
    config = cascade(
        tmp_path,
        6,
        pools=1,
        serving={
            **PATIENT,
            "port": free_port(),
            "stage": {"cpus": 0.05},
            "allocator": {"cpus": 0.05},
            "gateway": {"cpus": 0.05},
        },
        reward={"factory": "tests.test_stages:reward"},
    )
    store(config)
    space = chain_space(config, load_pool(config, CATALOG), len(CATALOG))
    with (
        start(config, ready_s=PATIENCE_S) as server,
        httpx.Client(base_url=server.url, timeout=20, trust_env=False) as http,
    ):
        for index in (space.fullest, space.cheapest):
            order = {"flops_per_second": None, "policy": "fixed", "fixed_chain": space.names[index]}
            http.put("/v1/budget", json=order).raise_for_status()
            chosen = []
            for _ in range(40):
                answers = (
                    http.post("/v1/recommend", json=[{"user_id": u} for u in range(1, 9)]).raise_for_status().json()
                )
                chosen = [a["receipt"]["chain"] for a in answers]
                if chosen == [space.names[index]] * 8:
                    break
            assert chosen == [space.names[index]] * 8
            for user, answer in enumerate(answers, start=1):
                receipt = answer["receipt"]
                assert (receipt["flops"], receipt["degraded"]) == (space.chains[index].flops, False)
                items = naive(space, user, index, EXPOSURE)
                assert answer["items"] == CATALOG.item_ids[items].tolist()
