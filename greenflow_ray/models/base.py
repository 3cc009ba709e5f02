"""The contract of a stage's model instance: score a ragged batch, and say what it costs."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from greenflow_ray.datasets.schema import RequestBatch
from greenflow_ray.ragged import Ragged


@runtime_checkable
class Scorer(Protocol):
    """Scores candidates for a batch of requests; higher is better.

    Costs are integers: multiply-adds count as two FLOPs, embedding look-ups as none, and work done on the user's side
    is counted once a request.
    """

    flops_per_item: int
    flops_per_request: int

    def score(self, requests: RequestBatch, candidates: Ragged) -> npt.NDArray[np.float32]:
        """Scores of ``candidates`` (item indices, one row a request), float32 ``[total]``, all finite."""
        ...


@runtime_checkable
class CorpusScorer(Scorer, Protocol):
    """A scorer that can score every item of the corpus without being handed the candidates."""

    def score_corpus(self, requests: RequestBatch) -> npt.NDArray[np.float32]:
        """Scores of the whole corpus, float32 ``[B, n_items]``."""
        ...
