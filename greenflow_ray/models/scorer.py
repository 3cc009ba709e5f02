"""The contract of a stage's model instance: score a ragged batch, and say what it costs, or let it be measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from greenflow_ray.datasets.schema import Catalog, RequestBatch
from greenflow_ray.errors import ConfigError
from greenflow_ray.ragged import Ragged


@runtime_checkable
class BareScorer(Protocol):
    """Scores candidates for a batch of requests; higher is better. Called by one thread at a time.

    This is all that a model needs where the cascade's ``costs`` are ``timed`` or ``counted``.
    """

    def score(self, requests: RequestBatch, candidates: Ragged) -> npt.NDArray[np.float32]:
        """Scores of ``candidates`` (item indices, one row a request), float32 ``[total]``, all finite."""
        ...


@runtime_checkable
class Scorer(BareScorer, Protocol):
    """A scorer that says what it costs.

    Costs are integers: multiply-adds count as two FLOPs, embedding look-ups as none, and work done on the user's side
    is counted once a request.
    """

    flops_per_item: int
    flops_per_request: int


@runtime_checkable
class BareCorpusScorer(BareScorer, Protocol):
    """A scorer that can score every item of the corpus without being handed the candidates."""

    def score_corpus(self, requests: RequestBatch) -> npt.NDArray[np.float32]:
        """Scores of the whole corpus, float32 ``[B, n_items]``."""
        ...


@runtime_checkable
class CorpusScorer(Scorer, BareCorpusScorer, Protocol):
    """A corpus scorer that says what it costs."""


class AsRanked:
    """No model: the list as the stage before left it. Its work is the request's for nothing."""

    flops_per_item = flops_per_request = 0

    def score(self, requests: RequestBatch, candidates: Ragged) -> npt.NDArray[np.float32]:  # noqa: ARG002
        """0 for a row's first candidate, −1 for the next and so on, float32 ``[total]``."""
        starts = np.repeat(candidates.offsets[:-1], candidates.lengths)
        return (starts - np.arange(len(candidates.values))).astype(np.float32)


def as_ranked(weights: Path, catalog: Catalog) -> AsRanked:  # noqa: ARG001
    """A pool entry's factory: ``{name: none, factory: "greenflow_ray.models.scorer:as_ranked", scales: [20]}``."""
    return AsRanked()


def vet(scorer: BareScorer, scores: Any, *shape: int) -> npt.NDArray[np.float32]:
    """``scores`` as float32. Raises ConfigError if they have another shape or are not finite."""
    found = np.asarray(scores, dtype=np.float32)
    if found.shape != shape:
        raise ConfigError(
            f"{type(scorer).__name__}: scores have shape {found.shape}, expected {shape}; return one for each candidate"
        )
    if not np.isfinite(found).all():
        raise ConfigError(f"{type(scorer).__name__}: a score is not finite; return finite numbers only")
    return found
