"""A team's own cascade in plain numpy, named by import path: scorers, features and a reward model for serving tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from greenflow_ray import config as configuration
from greenflow_ray.chains import ChainSpace
from greenflow_ray.config import CascadeConfig
from greenflow_ray.datasets.features import TableFeatures
from greenflow_ray.datasets.schema import Catalog, RequestBatch
from greenflow_ray.ragged import Ragged
from greenflow_ray.serving.sources import Source
from tests.worlds import TableScorer, make_world

BROKEN_USER = 13
"""The scorer ``din`` raises for any batch that holds this user."""

NAN_USER = 17
"""The reward model returns NaN for this user."""

PATIENT: dict[str, Any] = {"deadline_s": 10.0, "allocator_deadline_s": 5.0}
"""Deadlines for tests of what is answered, not of when: on a busy machine a second may be gone between two hops."""

PATIENCE_S = 240.0
"""What has not come after this long, on a machine however busy, is given up."""

SECRET = "do not let this text out"


class WorldScorer(TableScorer):
    """A scorer of the tiny world; ``din`` breaks on one user."""

    def __init__(self, name: str) -> None:
        base = make_world().pool[name]
        super().__init__(base.table, base.flops_per_item)
        self._breaks = name == "din"

    def score(self, requests: RequestBatch, candidates: Ragged) -> npt.NDArray[np.float32]:
        if self._breaks and bool((requests.user_ids == BROKEN_USER).any()):
            raise RuntimeError(SECRET)
        return super().score(requests, candidates)


class WholeCorpus(WorldScorer):
    """One that scores the whole corpus at once."""

    def score_corpus(self, requests: RequestBatch) -> npt.NDArray[np.float32]:
        return self.table[np.where(requests.known, requests.user_ids, 0)]


class NoOp:
    """Scores nothing: what is left is the cost of serving itself."""

    flops_per_item = 1000
    flops_per_request = 0

    def score(self, requests: RequestBatch, candidates: Ragged) -> npt.NDArray[np.float32]:
        return np.zeros(len(candidates.values), dtype=np.float32)


class ByCost:
    """Dearer chains are worth more, with falling returns, and more so to users with a high id."""

    flops_per_request = 7

    def __init__(self, space: ChainSpace) -> None:
        self._worth = np.sqrt(space.costs / space.costs.max())

    def predict(self, requests: RequestBatch) -> npt.NDArray[np.float32]:
        rewards = np.outer(1.0 + np.abs(requests.user_ids % 40) / 40.0, self._worth).astype(np.float32)
        rewards[requests.user_ids == NAN_USER] = np.nan
        return rewards


def scorer(weights: Path, catalog: Catalog, *, like: str, corpus: bool = False) -> TableScorer:
    return WholeCorpus(like) if corpus else WorldScorer(like)


def noop(weights: Path, catalog: Catalog) -> NoOp:
    return NoOp()


def reward(folder: Path, space: ChainSpace, catalog: Catalog) -> ByCost:
    return ByCost(space)


def source(config: CascadeConfig) -> Source:
    dataset = make_world().dataset
    return Source(dataset.catalog, TableFeatures(dataset.users))


def model(name: str, **args: Any) -> dict[str, Any]:
    return {"name": name, "factory": "tests.serving.fakes:scorer", "args": {"like": name, **args}}


def cascade(run: Path, port: int = 8000, **sections: Any) -> CascadeConfig:
    """The tiny world's cascade, three stages and four models, on any port."""
    values: dict[str, Any] = {
        "run": str(run),
        "exposure": 5,
        "stages": [
            {"name": "recall", "pool": [model("dssm", corpus=True)], "scales": "corpus"},
            {"name": "pre-ranking", "pool": [model("ydnn")], "scales": [10, 20, 40]},
            {"name": "ranking", "pool": [model("din"), model("dien")], "scales": [5, 10, 20]},
        ],
        "reward": {"factory": "tests.serving.fakes:reward"},
        "serving": {"port": port, "features": "tests.serving.fakes:source"},
        "sampling": {"flush_s": 0.3},
        "budget": {"price_ttl_s": 30.0, "keep": None},
    }
    for name, section in sections.items():
        values[name] = {**values[name], **section} if isinstance(values.get(name), dict) else section
    return configuration.validated(values, "tests")
