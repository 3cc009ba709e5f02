"""Evaluations of seconds: a cascade of the smallest networks, a synthetic set, MovieLens folders of random events."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from greenflow_ray import config as configuration
from greenflow_ray.config import CascadeConfig
from greenflow_ray.datasets.schema import Catalog, RequestBatch
from greenflow_ray.evaluation import experiment
from greenflow_ray.evaluation.findings.shape import Evaluation
from greenflow_ray.evaluation.plan import Plan
from greenflow_ray.ragged import Ragged
from greenflow_ray.reward.network import boosted
from greenflow_ray.support.terminal import Terminal

QUIET = Terminal(quiet=True)


class Popular:
    """A scorer nobody trains: popularity."""

    flops_per_item, flops_per_request = 10, 3

    def __init__(self, popularity: npt.NDArray[np.float32]) -> None:
        self._popularity = popularity

    def score(self, requests: RequestBatch, candidates: Ragged) -> npt.NDArray[np.float32]:
        return self._popularity[candidates.values]


def popular(weights: Path, catalog: Catalog, **args: Any) -> Popular:
    return Popular(catalog.popularity)


SMALL = {"width": 8, "context_width": 4, "passes": 1}
STAGES = [
    {"name": "recall", "pool": [{"name": "dssm", "args": {**SMALL, "hidden": 8, "interests": 2}}], "scales": "corpus"},
    {
        "name": "pre-ranking",
        "pool": [{"name": "ydnn", "args": {**SMALL, "tower": 8, "first": 16, "second": 8}}],
        "scales": [20, 40, 80],
    },
    {
        "name": "ranking",
        "pool": [
            {"name": "din", "args": {**SMALL, "attention": 8, "mlp": [64, 32]}},
            {"name": "dien", "args": {**SMALL, "attention": 8, "interest": 8, "mlp": [64, 32]}},
        ],
        "scales": [10, 20, 40],
    },
]


def config(run: Path, **changes: Any) -> CascadeConfig:
    base: dict[str, Any] = {
        "name": "tiny",
        "run": str(run),
        "stages": STAGES,
        "exposure": 5,
        "history_length": 8,
        "data": {"format": "synthetic", "users": 160, "items": 200},
        "training": {"epochs": 1, "targets_per_user": 4},
        "reward": {"epochs": 4, "hidden": 8},
    }
    return configuration.validated({**base, **changes}, "test")


def plan(run: Path, *, changes: dict[str, Any] | None = None, **wanted: Any) -> Plan:
    return Plan(**{"config": config(run, **(changes or {})), "seeds": (0,), "exposures": (5, 10), **wanted})


@contextmanager
def small_machine() -> Iterator[None]:
    """One torch thread, and few trees: what is tested here is not how much is learnt."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(boosted.TREES, "max_iter", 10)
        yield
    torch.set_num_threads(before)


def run(wanted: Plan) -> Evaluation:
    return experiment.evaluate(wanted, QUIET, "greenflow evaluate", workers=1)


def write_movielens(folder: Path, *, users: int = 120, items: int = 130, times: bool, seed: int = 0) -> dict[str, str]:
    """Random events of users who prefer low item numbers; gives the ``data`` section that reads them."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    each = rng.integers(12, 30, users)
    chance = 1 / np.arange(10, items + 10)
    who = np.repeat(np.arange(1, users + 1), each)
    what = np.concatenate([rng.choice(items, n, replace=False, p=chance / chance.sum()) for n in each]) + 1
    if times:
        when = rng.integers(10**9, 10**9 + 10**8, len(who))
        rows = [f"{u},{i},4.0,{t}" for u, i, t in zip(who, what, when, strict=True)]
        (folder / "ratings.csv").write_text("\n".join(["userId,movieId,rating,timestamp", *rows]) + "\n")
    else:
        pq.write_table(pa.table({"userID": who, "movieID": what}), folder / "ratings.parquet")
    return {"format": "movielens", "path": str(folder)}
