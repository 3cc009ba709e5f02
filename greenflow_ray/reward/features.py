"""What the reward model knows of a request: how much history, what it is made of, and the user's context."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from greenflow_ray.datasets.schema import Catalog, RequestBatch
from greenflow_ray.ragged import Ragged

PROFILE_TOKENS = 32
"""Content tokens, by frequency in the corpus, whose share of the history is a feature of its own."""

CONTEXT_TOKENS = 48
"""Context tokens with an indicator of their own; rarer ones are left out."""

RECENT = 100
"""Most recent history items that are summarised."""


@dataclass(frozen=True)
class RewardFeatures:
    """Turns a batch of requests into dense features, without knowing any click that is to be predicted.

    Attributes:
        profile: per item, share of its content in each frequent token, log popularity and its square,
            float32 ``[n_items, P + 2]``.
        context: column of every context token, -1 where it has none, int32 ``[vocabulary]``.
        columns: number of context columns.
    """

    profile: npt.NDArray[np.float32]
    context: npt.NDArray[np.int32]
    columns: int

    @classmethod
    def of(cls, catalog: Catalog, context_vocabulary: int) -> RewardFeatures:
        """Prepare for a catalog and a number of context tokens."""
        tokens = catalog.tokens
        frequency = np.bincount(tokens.values, minlength=len(catalog.vocabulary))
        top = np.argsort(-frequency, kind="stable")[:PROFILE_TOKENS]
        column = np.full(len(catalog.vocabulary), -1)
        column[top] = np.arange(len(top))
        profile = np.zeros((len(catalog), PROFILE_TOKENS + 2), dtype=np.float32)
        mine = column[tokens.values]
        np.add.at(profile, (tokens.row_ids[mine >= 0], mine[mine >= 0]), 1.0)
        popularity = np.log1p(1e3 * catalog.popularity)
        profile[:, -2] = popularity
        profile[:, -1] = popularity**2
        columns = min(context_vocabulary, CONTEXT_TOKENS)
        context = np.where(np.arange(context_vocabulary) < columns, np.arange(context_vocabulary), -1).astype(np.int32)
        return cls(profile, context, columns)

    @property
    def width(self) -> int:
        """Number of features, F."""
        return int(self.profile.shape[1]) + 4 + self.columns

    def __call__(self, requests: RequestBatch) -> npt.NDArray[np.float32]:
        """Features, float32 ``[B, F]``."""
        n = len(requests)
        history = _recent(requests.history, RECENT)
        lengths = history.lengths
        summed = _sum_rows(self.profile[history.values], history)
        mean = summed / np.maximum(lengths, 1)[:, None]
        share = mean[:, :-2]
        spread = np.sqrt(np.maximum(mean[:, -1] - mean[:, -2] ** 2, 0.0))
        mass = share / np.maximum(share.sum(axis=1, keepdims=True), 1e-6)
        entropy = -(mass * np.log(mass + 1e-6)).sum(axis=1)
        out = np.zeros((n, self.width), dtype=np.float32)
        out[:, : mean.shape[1] - 1] = mean[:, :-1]
        k = mean.shape[1] - 1
        out[:, k] = spread
        out[:, k + 1] = np.log1p(requests.history.lengths)
        out[:, k + 2] = entropy
        out[:, k + 3] = lengths == 0
        out[:, k + 4] = requests.known
        columns = self.context[requests.tokens.values]
        keep = columns >= 0
        weights = np.float32(1.0) if requests.weights is None else requests.weights[keep]
        out[requests.tokens.row_ids[keep], k + 5 + columns[keep]] = weights
        return out


def _recent(history: Ragged, most: int) -> Ragged:
    """The last ``most`` values of every row."""
    lengths = history.lengths
    if not len(lengths) or lengths.max() <= most:
        return history
    kept = np.minimum(lengths, most)
    from_end = np.repeat(history.offsets[1:], lengths) - np.arange(len(history.values))
    return Ragged.from_lengths(history.values[from_end <= most], kept)


def _sum_rows(values: npt.NDArray[np.float32], layout: Ragged) -> npt.NDArray[np.float32]:
    """Sums of ``values``, ``[total, F]``, over the rows of ``layout``, float32 ``[rows, F]``; empty rows give 0."""
    out = np.zeros((len(layout), values.shape[1]), dtype=np.float32)
    filled = np.flatnonzero(layout.lengths)
    if len(filled):
        out[filled] = np.add.reduceat(values, layout.offsets[filled], axis=0)
    return out
