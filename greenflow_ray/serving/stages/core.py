"""What a stage replica does with a batch, without Ray: look up features, score, keep the best."""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from greenflow_ray.datasets.features import FeatureSource
from greenflow_ray.datasets.schema import Catalog, RequestBatch
from greenflow_ray.models.scorer import CorpusScorer, Scorer
from greenflow_ray.models.selection import exclude, keep_best, keep_best_corpus
from greenflow_ray.ragged import Ragged
from greenflow_ray.serving.wire import StageBatch, StageRows, joined

log = logging.getLogger(__name__)


def score_together(core: Callable[[StageBatch], StageRows], batches: list[StageBatch]) -> list[StageRows | Exception]:
    """Each message's rows, from one call for all that can be joined; where that fails, from one call each."""
    out: list[StageRows | Exception | None] = [None] * len(batches)
    kinds: dict[int, list[int]] = {}
    for i, batch in enumerate(batches):
        kinds.setdefault(batch.scale if batch.candidates is None else -1, []).append(i)
    for members in kinds.values():
        if len(members) > 1:
            try:
                rows = core(joined([batches[i] for i in members]))
            except Exception:
                log.info("%d messages together failed; each is tried alone", len(members))
            else:
                at = 0
                for i in members:
                    size = len(batches[i].user_ids)
                    out[i] = rows.part(at, at + size)
                    at += size
                continue
        for i in members:
            try:
                out[i] = core(batches[i])
            except Exception as error:
                out[i] = error
    return [row for row in out if row is not None]


class BadScores(Exception):
    """A model instance returned something that is not one finite score a candidate."""


class StageCore:
    """One model instance with its features; safe to call from one thread at a time."""

    def __init__(self, scorer: Scorer, catalog: Catalog, features: FeatureSource) -> None:
        self._scorer = scorer
        self._features = features
        self._n_items = len(catalog)
        self._popular = catalog.by_popularity()

    def __call__(self, batch: StageBatch) -> StageRows:
        """The best ``batch.keep`` items of every request. Raises BadScores, or whatever the scorer raises."""
        requests = self._features.lookup(batch.user_ids)
        if batch.candidates is not None:
            scores = self._checked(self._scorer.score(requests, batch.candidates), (len(batch.candidates.values),))
            items, kept = keep_best(scores, batch.candidates, batch.keep)
            return StageRows(items, kept.values)
        if batch.scale >= self._n_items and isinstance(self._scorer, CorpusScorer):
            scores = self._checked(self._scorer.score_corpus(requests), (len(requests), self._n_items))
            columns = None
        else:
            columns = self._popular[: batch.scale] if batch.scale < self._n_items else None
            pool = np.arange(self._n_items, dtype=np.int32) if columns is None else columns
            candidates = Ragged.from_lengths(np.tile(pool, len(requests)), np.full(len(requests), len(pool)))
            flat = self._checked(self._scorer.score(requests, candidates), (len(candidates.values),))
            scores = flat.reshape(len(requests), len(pool))
        items, kept = keep_best_corpus(self._without_history(scores, requests, columns), batch.keep)
        if columns is not None:
            items = Ragged(columns[items.values], items.offsets)
        return StageRows(items, kept.values)

    def warm_up(self) -> None:
        """Compile and allocate before the first request: a user whom nobody knows, through the whole path."""
        for writeable in (True, False):
            # Ray hands some arrays over read-only, which compiled kernels count as another type.
            nobody = np.array([np.iinfo(np.int64).min + 1], dtype=np.int64)
            keep = np.array([8], dtype=np.int64)
            candidates = Ragged.from_rows([self._popular[:32]])
            for array in (nobody, keep, candidates.values, candidates.offsets):
                array.flags.writeable = writeable
            self(StageBatch(nobody, None, self._n_items, keep))
            self(StageBatch(nobody, candidates, len(candidates.values), keep))

    def _without_history(
        self, scores: npt.NDArray[np.float32], requests: RequestBatch, columns: npt.NDArray[np.int32] | None
    ) -> npt.NDArray[np.float32]:
        """Scores ``[B, n]`` with −inf for what the user has already had; ``columns`` names their items if not all."""
        scores = np.array(scores, dtype=np.float32, copy=not scores.flags.writeable)
        if columns is not None:
            rows, seen = requests.history.row_ids, requests.history.values
            where = np.full(self._n_items, -1, dtype=np.int64)
            where[columns] = np.arange(len(columns))
            inside = where[seen] >= 0
            rows, seen = rows[inside], where[seen[inside]]
            seen_by = np.bincount(rows, minlength=len(requests))
            exclude(scores, Ragged.from_lengths(seen, seen_by))
        else:
            exclude(scores, requests.history)
        return scores

    @staticmethod
    def _checked(scores: npt.NDArray[np.float32], shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
        scores = np.ascontiguousarray(scores, dtype=np.float32)
        if scores.shape != shape:
            raise BadScores(f"scores have shape {scores.shape}, expected {shape}")
        if not np.isfinite(scores).all():
            raise BadScores("a score is not finite")
        return scores
