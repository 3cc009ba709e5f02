"""`greenflow calibrate`: what every model instance of a cascade costs here, timed on real requests, counted in torch.

CPU-seconds become FLOP-equivalents by a reference: a dense matrix product on the same thread. So costs stay in one
unit, and a model that is as efficient as that product costs what its FLOPs say; others cost more.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

import numpy as np
from torch.utils.flop_counter import FlopCounterMode

from greenflow_ray.config import CascadeConfig, StageConfig
from greenflow_ray.datasets.features import FeatureSource
from greenflow_ray.datasets.schema import F32, F64, I64, Catalog, RequestBatch
from greenflow_ray.errors import DataError
from greenflow_ray.models import pool
from greenflow_ray.models.costing.costs import Costs, Flops, ModelCosts, declared
from greenflow_ray.models.costing.timing import (
    Clock,
    Point,
    Reference,
    fit,
    machine,
    matrix_product,
    one_thread,
    time_points,
)
from greenflow_ray.models.scorer import BareCorpusScorer, BareScorer, vet
from greenflow_ray.models.selection import keep_best
from greenflow_ray.ragged import Ragged
from greenflow_ray.support.progress import Progress, silent


def calibrate(
    config: CascadeConfig,
    catalog: Catalog,
    features: FeatureSource,
    users: I64,
    *,
    clock: Clock = time.process_time,
    reference: Reference | None = None,
    progress: Progress = silent,
) -> Costs:
    """Time and count every model of the cascade on requests of ``users`` (ids), as many as a full batch holds.

    A stage's candidates are those that the first model of the stage before keeps, best first, without the history: what
    serving would hand it. Every model scores the same requests one by one, in small batches and in full ones, at up to
    three numbers of items of its stage's range. Single-threaded; processes that a scorer starts are not seen.
    Raises DataError without users, ConfigError where a scorer breaks its contract.
    """
    if not len(users):
        raise DataError(f"{config.paths.data}: no validation users to calibrate with; raise data.split.validation")
    rng = np.random.default_rng([config.seed, 0xCA1])
    chosen = rng.permutation(users)[: config.serving.batch_requests]
    sharing = max(1, config.serving.batch_requests // 4)
    keys = cost_keys(config, catalog)
    measured: list[ModelCosts] = []
    references: list[F64] = []
    standard = reference or matrix_product()

    def told(name: str) -> Callable[[float], None]:
        return lambda share: progress(f"calibrating: timing {name}", (len(measured) + share) / len(keys))

    with one_thread():
        requests = features.lookup(chosen)
        # What the first stage scores for each request: every item, or its widest scale's most popular ones.
        widest = sizes_of(config.stages[0], len(catalog))[-1]
        items = catalog.by_popularity()[:widest] if widest < len(catalog) else np.arange(widest, dtype=np.int32)
        candidates = Ragged.from_lengths(np.tile(items, len(chosen)), np.full(len(chosen), widest))
        for k, stage in enumerate(config.stages):
            sizes = sizes_of(stage, len(catalog))
            candidates = leading(candidates, sizes[-1])
            following = candidates
            for i, model in enumerate(stage.pool):
                scorer = pool.make_scorer(config, model, catalog)
                score = Asking(scorer, len(catalog), first=k == 0)
                scores = score.vetted(requests, candidates)
                if i == 0 and k + 1 < len(config.stages):
                    keep = sizes_of(config.stages[k + 1], len(catalog))[-1]
                    following = best(scores, requests, candidates, keep)
                mine = sizes[-1:] if stage.scales == "corpus" and score.corpus else sizes
                points = make_points(score, features, chosen, candidates, mine, sharing)
                seconds, standards = time_points(points, standard, clock, told(model.name))
                references.append(standards)
                found = ModelCosts(
                    stage=stage.name,
                    name=model.name,
                    key=keys[model.name],
                    sizes=mine,
                    sharing=sharing,
                    declared=declared(scorer, model.name),
                    counted=counted(points, sharing),
                    timed=Flops(0, 0),  # until the reference's rate is known
                    fit=fit(points, seconds),
                )
                measured.append(found)
            candidates = following
    rate = standard.flops / float(np.median(np.concatenate(references)))
    models = (m.model_copy(update={"timed": m.fit.flops(sharing, rate)}) for m in measured)
    return Costs(machine=machine(), reference_flops_per_second=rate, models=tuple(models))


def cost_keys(config: CascadeConfig, catalog: Catalog) -> dict[str, str]:
    """What every model's costs are kept under, by name."""
    return {m.name: pool.cost_key(config, m, catalog) for stage in config.stages for m in stage.pool}


def counted(points: Sequence[Point], sharing: int) -> Flops | None:
    """FLOPs that torch's own counter sees at the points, solved for item and request; None if it sees none.

    Matrix products count two for each multiply-add; embedding look-ups, element-wise work and everything outside torch
    count none. That is the convention of :mod:`.costs`, so for the built-in networks, whose cost is a line, the result
    equals what they declare.
    """
    totals = []
    for point in points:
        with FlopCounterMode(display=False) as counter:
            point.run()
        totals.append(float(counter.get_total_flops()))
    return fit(points, np.array(totals)).flops(sharing) if any(totals) else None


def sizes_of(stage: StageConfig, n_items: int) -> tuple[int, ...]:
    """Up to three numbers of items in a stage's range, increasing; a stage with one scale is also timed below it."""
    scales = (n_items,) if stage.scales == "corpus" else stage.scales
    low, high = min(scales), max(scales)
    low = low if low < high else max(1, high // 4)
    return tuple(sorted({low, round((low * high) ** 0.5), high}))


def best(scores: F32, requests: RequestBatch, candidates: Ragged, keep: int) -> Ragged:
    """The best ``keep`` candidates of every request, best first, without what its user has already had."""
    seen = requests.history
    width = 1 + max(int(candidates.values.max(initial=0)), int(seen.values.max(initial=0)))
    had = np.isin(candidates.row_ids * width + candidates.values, seen.row_ids * width + seen.values)
    unseen = np.where(had, np.float32(-np.inf), scores)
    return keep_best(unseen, candidates, np.full(len(candidates), keep))[0]


class Asking:
    """Asks a scorer as serving does: the first stage's, if it can, for the whole corpus where all items are due."""

    def __init__(self, scorer: BareScorer, n_items: int, *, first: bool) -> None:
        self._scorer, self._n_items = scorer, n_items
        self.corpus = scorer if first and isinstance(scorer, BareCorpusScorer) else None

    def __call__(self, requests: RequestBatch, candidates: Ragged) -> tuple[F32, tuple[int, ...]]:
        """Scores as the scorer returns them, and the shape they should have: ``[total]``, or ``[B, n_items]``."""
        total, shape = len(candidates.values), (len(requests), self._n_items)
        if self.corpus is not None and total == math.prod(shape):
            return self.corpus.score_corpus(requests), shape
        return self._scorer.score(requests, candidates), (total,)

    def vetted(self, requests: RequestBatch, candidates: Ragged) -> F32:
        """Scores of ``candidates``, float32 ``[total]``. Raises ConfigError if they are not what they must be."""
        scores, shape = self(requests, candidates)
        found = vet(self._scorer, scores, *shape)
        return found if len(shape) == 1 else np.asarray(found[candidates.row_ids, candidates.values])


def make_points(
    score: Asking, features: FeatureSource, users: I64, candidates: Ragged, sizes: Sequence[int], sharing: int
) -> list[Point]:
    """All of ``users`` scored one by one, ``sharing`` at a time, and at once; for each number of items in ``sizes``."""

    def point(batch: int, n: int) -> Point:
        parts = np.array_split(np.arange(len(users)), -(-len(users) // batch))
        asked = [(features.lookup(users[rows]), leading(candidates.take(rows), n)) for rows in parts]

        def run() -> None:
            for requests, handed in asked:
                score(requests, handed)

        return Point(run, len(parts), len(users), sum(len(handed.values) for _, handed in asked))

    return [point(batch, n) for batch in sorted({1, min(sharing, len(users)), len(users)}) for n in sizes]


def leading(rows: Ragged, n: int) -> Ragged:
    """The first ``n`` values of every row, all of a shorter one."""
    dense = rows.padded(n, -1, keep="first")
    return Ragged.from_lengths(dense[dense >= 0], (dense >= 0).sum(axis=1))
