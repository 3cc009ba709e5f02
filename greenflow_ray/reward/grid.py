"""What every chain really earns: runs the whole chain space for a batch of users, scoring each item once a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from greenflow_ray.chains import ChainSpace
from greenflow_ray.datasets.features import TableFeatures
from greenflow_ray.datasets.schema import F32, I16, I32, I64, Clicks, Mask, RequestBatch
from greenflow_ray.models.scorer import AsRanked, CorpusScorer, Scorer
from greenflow_ray.ragged import Ragged
from greenflow_ray.support.jit import kernel
from greenflow_ray.support.progress import Steps, uncounted

BATCH = 64  # users that are served side by side
ABSENT = np.int32(2**31 - 1)  # place of an item that a prefix of stages does not keep

Prefix = tuple[tuple[str, int], ...]


class ChainRunner:
    """Serves users with every chain of a space at once.

    Chains that share a beginning share its work, and an item that several chains score with one model is scored once,
    and sorted once: what a chain keeps are the first of that order which the stage before kept too. The result
    equals serving each chain by itself; ties go to the lower item index, as in serving.
    """

    def __init__(self, space: ChainSpace, pool: Mapping[str, Scorer], n_items: int, exposure: int) -> None:
        self.space, self.pool, self.n_items, self.exposure = space, pool, n_items, exposure
        self._chains: dict[Prefix, int] = {
            tuple((c.model, c.items) for c in chain.choices): j for j, chain in enumerate(space.chains)
        }

    def run(self, requests: RequestBatch) -> I32:
        """Exposed items of every request under every chain, int32 ``[B, J, e]``, best first, then -1."""
        out = np.full((len(requests), len(self.space), self.exposure), -1, dtype=np.int32)
        start = np.tile(np.arange(self.n_items, dtype=np.int32), (len(requests), 1))
        start[requests.history.row_ids, requests.history.values] = ABSENT
        places: dict[Prefix, I32] = {(): start}
        for k in range(len(self.space.stages)):
            places = self._extended(requests, k, places, out)
        return out

    def _extended(self, requests: RequestBatch, k: int, places: dict[Prefix, I32], out: I32) -> dict[Prefix, I32]:
        """Extend every prefix by stage ``k``; ``places`` holds each item's place in its order, ``[B, n_items]``."""
        last = k + 1 == len(self.space.stages)
        prefixes = sorted({key[: k + 1] for key in self._chains})
        following: dict[Prefix, I32] = {}
        for model in self.space.stages[k].pool:
            mine = [p for p in prefixes if p[-1][0] == model.name]
            if not mine:
                continue
            ranked = isinstance(self.pool[model.name], AsRanked)  # its order is its parent's, not one of its own
            # Nobody has been ranked before the first stage: it takes every item that is not in the history.
            limits = {p: int(ABSENT) if k == 0 and not ranked else p[-1][1] for p in mine}
            if not ranked:
                needed = np.zeros((len(requests), self.n_items), dtype=bool)
                for parent in dict.fromkeys(p[:-1] for p in mine):
                    needed |= places[parent] < max(limits[p] for p in mine if p[:-1] == parent)
                order = self._ordered(requests, model.name, needed, whole=k == 0)
            for prefix in mine:
                before = places[prefix[:-1]]
                if ranked:
                    order = np.argsort(before, axis=1, kind="stable").astype(np.int32)
                if last:
                    held = out[:, self._chains[prefix]]
                else:
                    held = following[prefix] = np.full((len(requests), self.n_items), ABSENT, dtype=np.int32)
                _keep(order, before, limits[prefix], last, held)
        return following

    def _ordered(self, requests: RequestBatch, name: str, needed: Mask, *, whole: bool) -> I32:
        """The ``needed`` items of every request, best first by model ``name``, then -1; int32 ``[B, most]``."""
        scorer = self.pool[name]
        lengths = needed.sum(axis=1)
        rows, items = np.nonzero(needed)
        candidates = Ragged.from_lengths(items.astype(np.int32), lengths)
        if whole and isinstance(scorer, CorpusScorer):
            scores = scorer.score_corpus(requests)[rows, items]
        else:
            scores = scorer.score(requests, candidates)
        best = np.lexsort((items, -scores, rows))
        return Ragged(candidates.values[best], candidates.offsets).padded(int(lengths.max(initial=0)), -1)


@kernel
def _keep(order: Any, parent: Any, limit: int, exposed: bool, out: Any) -> None:
    """Number, in ``order``, the items whose place in ``parent`` lies below ``limit``: every item's, ``[B, n_items]``.

    Where they are ``exposed``, the items themselves instead, as many as ``out`` holds, ``[B, e]``.
    """
    for b in range(order.shape[0]):
        rank = 0
        for i in range(order.shape[1]):
            item = order[b, i]
            if item < 0 or (exposed and rank == out.shape[1]):
                break
            if parent[b, item] < limit:
                if exposed:
                    out[b, rank] = item
                else:
                    out[b, item] = rank
                rank += 1


def realised_clicks(
    runner: ChainRunner,
    features: TableFeatures,
    clicks: Clicks,
    *,
    exposures: Sequence[int] = (),
    batch: int = BATCH,
    progress: Steps = uncounted,
) -> I16:
    """Clicks of every user of ``clicks`` among the items that every chain exposes, int16 ``[n, J]``.

    With ``exposures``, each at most the runner's, those of every shorter list too: int16 ``[len(exposures), n, J]``.
    The chains are run from features alone; the clicks are looked at only afterwards.
    """
    places = np.zeros(clicks.users.max(initial=-1) + 1, dtype=np.int64)
    places[clicks.users] = np.arange(len(clicks.users))

    def liked(users: I64) -> F32:
        mine = clicks.items.take(places[users])
        worth = np.zeros((len(users), runner.n_items), dtype=np.float32)
        worth[mine.row_ids, mine.values] = 1
        return worth

    cuts = exposures or (runner.exposure,)
    found = expected_clicks(runner, features, clicks.users, liked, exposures=cuts, batch=batch, progress=progress)
    out = found.astype(np.int16)
    return out if exposures else out[0]


def expected_clicks(
    runner: ChainRunner,
    features: TableFeatures,
    users: I64,
    probabilities: Callable[[I64], F32],
    *,
    exposures: Sequence[int],
    batch: int = BATCH,
    progress: Steps = uncounted,
) -> F32:
    """Expected clicks of ``users`` (table rows) where every click's probability is known.

    ``probabilities`` gives float32 ``[b, n_items]`` for table rows; returns float32 ``[len(exposures), n, J]``.
    """
    cuts, n = np.asarray(exposures) - 1, len(users)
    out = np.zeros((len(cuts), n, len(runner.space)), dtype=np.float32)
    for rows in np.split(np.arange(n), range(batch, n, batch)) if n else ():
        exposed = runner.run(features.rows(users[rows]))
        worth = np.pad(probabilities(users[rows]), ((0, 0), (0, 1)))  # the last column is no item's: index -1
        gained = np.take_along_axis(worth, exposed.reshape(len(rows), -1), axis=1).reshape(exposed.shape)
        out[:, rows] = np.moveaxis(np.cumsum(gained, axis=2)[:, :, cuts], 2, 0)
        progress(int(rows[-1]) + 1, n)
    return out
