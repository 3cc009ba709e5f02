"""What the reward model knows of a request: how much history, what it is made of, and the user's context."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from greenflow_ray.datasets.schema import Catalog, RequestBatch
from greenflow_ray.ragged import Ragged

F32 = npt.NDArray[np.float32]

PROFILE_TOKENS = 32
"""Content tokens, by frequency in the corpus, whose share of the history is a feature of its own."""

CONTEXT_TOKENS = 48
"""Context tokens with an indicator of their own; rarer ones are left out."""

FACTORS = 16
"""Numbers of an item's vector from what is clicked together."""

RECENT = 100
"""Most recent history items that are summarised."""


@dataclass(frozen=True)
class RewardFeatures:
    """Turns a batch of requests into dense features, without knowing any click that is to be predicted.

    Attributes:
        factors: vector of every item, from training users' clicks, float32 ``[n_items, Q]``.
        profile: per item, its frequent content tokens, its vector, that vector's square norm, log popularity and its
            square, float32 ``[n_items, P + Q + 3]``.
        context: column of every context token, -1 where it has none, int32 ``[vocabulary]``.
        columns: number of context columns.
    """

    factors: F32
    profile: F32
    context: npt.NDArray[np.int32]
    columns: int

    @classmethod
    def of(cls, catalog: Catalog, context_vocabulary: int, factors: F32) -> RewardFeatures:
        """Prepare for a catalog, a number of context tokens, and item vectors."""
        tokens = catalog.tokens
        frequency = np.bincount(tokens.values, minlength=len(catalog.vocabulary))
        top = np.argsort(-frequency, kind="stable")[:PROFILE_TOKENS]
        column = np.full(len(catalog.vocabulary), -1)
        column[top] = np.arange(len(top))
        content = np.zeros((len(catalog), PROFILE_TOKENS), dtype=np.float32)
        mine = column[tokens.values]
        np.add.at(content, (tokens.row_ids[mine >= 0], mine[mine >= 0]), 1.0)
        popularity = np.log1p(1e3 * catalog.popularity)
        norm = np.square(factors).sum(axis=1)
        profile = np.column_stack([content, factors, norm, popularity, popularity**2]).astype(np.float32)
        columns = min(context_vocabulary, CONTEXT_TOKENS)
        context = np.where(np.arange(context_vocabulary) < columns, np.arange(context_vocabulary), -1).astype(np.int32)
        return cls(factors, profile, context, columns)

    @property
    def width(self) -> int:
        """Number of features, F."""
        return int(self.profile.shape[1]) + 6 + self.columns

    def __call__(self, requests: RequestBatch) -> F32:
        """Features, float32 ``[B, F]``."""
        history = _recent(requests.history, RECENT)
        lengths = history.lengths
        mean = _sum_rows(self.profile[history.values], history) / np.maximum(lengths, 1)[:, None]
        share, vector = mean[:, :PROFILE_TOKENS], mean[:, PROFILE_TOKENS:-3]
        norm, popularity, popularity_2 = mean[:, -3], mean[:, -2], mean[:, -1]
        mass = share / np.maximum(share.sum(axis=1, keepdims=True), 1e-6)
        resultant = np.square(vector).sum(axis=1)
        # Mean cosine between two different items of the history: 1 is one taste, 0 is many.
        coherence = (resultant * lengths - norm) / np.maximum(lengths - 1, 1) / np.maximum(norm, 1e-6)
        summaries = [
            np.sqrt(np.maximum(popularity_2 - popularity**2, 0.0)),
            np.log1p(requests.history.lengths),
            -(mass * np.log(mass + 1e-6)).sum(axis=1),
            resultant,
            coherence,
            lengths == 0,
            requests.known,
        ]
        out = np.zeros((len(requests), self.width), dtype=np.float32)
        k = mean.shape[1] - 1
        out[:, :k] = mean[:, :-1]
        out[:, k : k + len(summaries)] = np.column_stack(summaries)
        columns = self.context[requests.tokens.values]
        keep = columns >= 0
        weights = np.float32(1.0) if requests.weights is None else requests.weights[keep]
        out[requests.tokens.row_ids[keep], k + len(summaries) + columns[keep]] = weights
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
