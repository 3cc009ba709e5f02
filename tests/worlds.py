"""Tiny worlds for tests: a catalog, users, clicks and numpy scorers, made from a seed in milliseconds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from greenflow_ray.chains import ChainSpace, ModelCost, Stage
from greenflow_ray.datasets.schema import Catalog, Clicks, Dataset, RequestBatch, Split, Users
from greenflow_ray.ragged import Ragged


class TableScorer:
    """Scores by a fixed table ``[n_users, n_items]``; the user id is the row, an unknown user gets row 0."""

    def __init__(self, table: npt.NDArray[np.float32], flops_per_item: int) -> None:
        self.table = table
        self.flops_per_item = flops_per_item
        self.flops_per_request = 10

    def score(self, requests: RequestBatch, candidates: Ragged) -> npt.NDArray[np.float32]:
        rows = np.where(requests.known, requests.user_ids, 0)
        return self.table[rows[candidates.row_ids], candidates.values]


@dataclass(frozen=True)
class World:
    dataset: Dataset
    pool: dict[str, TableScorer]
    space: ChainSpace
    clicks: Clicks
    truth: npt.NDArray[np.float32]


def make_world(seed: int = 0, n_users: int = 40, n_items: int = 60) -> World:
    """Users with a known taste; each stage's scorer sees it through less noise than the stage before."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(n_users, n_items)).astype(np.float32)
    pool = {
        name: TableScorer((truth + noise * rng.normal(size=truth.shape)).astype(np.float32), flops)
        for name, noise, flops in (("dssm", 2.0, 10), ("ydnn", 1.0, 100), ("din", 0.3, 1000), ("dien", 0.2, 1200))
    }
    catalog = Catalog(
        item_ids=np.arange(1000, 1000 + n_items),
        tokens=Ragged.from_rows([[i % 4, 4 + i % 3] for i in range(n_items)]),
        vocabulary=tuple([f"category={i}" for i in range(4)] + [f"shop={i}" for i in range(3)]),
        popularity=rng.random(n_items).astype(np.float32) * 0.1,
    )
    users = Users(
        user_ids=np.arange(n_users),
        split=np.arange(n_users).astype(np.int8) % len(Split),
        tokens=Ragged.from_rows([[u % 2, 2 + u % 3] for u in range(n_users)]),
        vocabulary=("gender=F", "gender=M", "age=18", "age=25", "age=35"),
        history=Ragged.from_rows([rng.choice(n_items, size=u % 6, replace=False) for u in range(n_users)]),
        since=np.zeros(n_users, dtype=np.int64),
    )
    liked = [np.setdiff1d(np.argsort(-truth[u])[:8], users.history.row(u)) for u in range(n_users)]
    space = ChainSpace(
        (
            Stage("recall", (ModelCost("dssm", 10, 10),), (n_items,)),
            Stage("pre-ranking", (ModelCost("ydnn", 100, 10),), (10, 20, 40)),
            Stage("ranking", (ModelCost("din", 1000, 10), ModelCost("dien", 1200, 10)), (5, 10, 20)),
        )
    )
    return World(
        Dataset("tiny", True, True, seed, f"tiny-{seed}", catalog, users),
        pool,
        space,
        Clicks(np.arange(n_users), Ragged.from_rows(liked)),
        truth,
    )
