"""What every chain really earns: runs the whole chain space for a batch of users, scoring each item once a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from greenflow_ray.chains import ChainSpace
from greenflow_ray.datasets.features import TableFeatures
from greenflow_ray.datasets.schema import Clicks, RequestBatch
from greenflow_ray.models.base import CorpusScorer, Scorer
from greenflow_ray.ragged import Ragged


class ChainRunner:
    """Serves users with every chain of a space at once.

    Chains that share a beginning share its work, and an item that several chains score with one model is scored once.
    The result equals serving each chain by itself.
    """

    def __init__(self, space: ChainSpace, pool: Mapping[str, Scorer], n_items: int, exposure: int) -> None:
        self.space = space
        self.pool = pool
        self.n_items = n_items
        self.exposure = exposure

    def run(self, requests: RequestBatch) -> npt.NDArray[np.int64]:
        """Exposed items of every request under every chain, int64 ``[B, J, e]``, best first, then -1."""
        out = np.full((len(requests), len(self.space), self.exposure), -1, dtype=np.int64)
        scores: dict[str, npt.NDArray[np.float32]] = {}
        corpus = np.tile(np.arange(self.n_items), (len(requests), 1))
        corpus[requests.history.row_ids, requests.history.values] = -1
        self._descend(requests, scores, 0, {(): corpus}, out)
        return out

    def _descend(
        self,
        requests: RequestBatch,
        scores: dict[str, npt.NDArray[np.float32]],
        k: int,
        orders: dict[tuple[tuple[str, int], ...], npt.NDArray[np.int64]],
        out: npt.NDArray[np.int64],
    ) -> None:
        """Extend every prefix by stage ``k``; ``orders`` holds each prefix's items, best first."""
        stage = self.space.stages[k]
        wanted = {tuple((c.model, c.items) for c in chain.choices): j for j, chain in enumerate(self.space.chains)}
        prefixes = {key[: k + 1] for key in wanted}
        following: dict[tuple[tuple[str, int], ...], npt.NDArray[np.int64]] = {}
        for model in stage.pool:
            mine = [p for p in prefixes if p[-1][0] == model.name]
            inputs = {p: orders[p[:-1]][:, : p[-1][1]] for p in mine}
            self._score(requests, scores, model.name, list(inputs.values()), whole=k == 0)
            for prefix, items in inputs.items():
                value = np.take_along_axis(scores[model.name], np.maximum(items, 0), axis=1)
                value = np.where(items >= 0, value, -np.inf)
                best = np.argsort(-value, axis=1, kind="stable")
                following[prefix] = np.take_along_axis(items, best, axis=1)
        if k + 1 < len(self.space.stages):
            self._descend(requests, scores, k + 1, following, out)
            return
        for prefix, items in following.items():
            top = items[:, : self.exposure]
            out[:, wanted[prefix], : top.shape[1]] = top

    def _score(
        self,
        requests: RequestBatch,
        scores: dict[str, npt.NDArray[np.float32]],
        name: str,
        inputs: list[npt.NDArray[np.int64]],
        *,
        whole: bool,
    ) -> None:
        """Fill ``scores[name]``, ``[B, n_items]``, for all items of ``inputs``."""
        scorer = self.pool[name]
        if whole and isinstance(scorer, CorpusScorer):
            scores[name] = scorer.score_corpus(requests)
            return
        needed = np.zeros((len(requests), self.n_items + 1), dtype=bool)
        for items in inputs:
            np.put_along_axis(needed, items, True, axis=1)
        needed = needed[:, :-1]  # the last column took the -1 of missing items
        rows, items = np.nonzero(needed)
        candidates = Ragged.from_lengths(items.astype(np.int32), needed.sum(axis=1))
        table = np.zeros(needed.shape, dtype=np.float32)
        table[rows, items] = scorer.score(requests, candidates)
        scores[name] = table


def realised_clicks(
    runner: ChainRunner,
    features: TableFeatures,
    clicks: Clicks,
    *,
    batch: int = 64,
    progress: Callable[[int, int], None] | None = None,
) -> npt.NDArray[np.int16]:
    """Clicks of every user of ``clicks`` among the items that every chain exposes, int16 ``[n, J]``.

    The chains are run from features alone; the clicks are looked at only afterwards.
    """
    n = len(clicks.users)
    out = np.zeros((n, len(runner.space)), dtype=np.int16)
    for start in range(0, n, batch):
        rows = np.arange(start, min(start + batch, n))
        exposed = runner.run(features.rows(clicks.users[rows]))
        liked = np.zeros((len(rows), runner.n_items + 1), dtype=bool)
        mine = clicks.items.take(rows)
        liked[mine.row_ids, mine.values] = True
        hits = np.take_along_axis(liked, exposed.reshape(len(rows), -1), axis=1)
        out[rows] = hits.reshape(exposed.shape).sum(axis=2)
        if progress is not None:
            progress(int(rows[-1]) + 1, n)
    return out
