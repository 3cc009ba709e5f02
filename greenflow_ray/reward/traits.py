"""What a reward model is asked, and what ours knows of a request: its history, what that is made of, the context."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from greenflow_ray.datasets.schema import F32, I32, Catalog, RequestBatch
from greenflow_ray.support.jit import kernel

PROFILE_TOKENS = 32  # content tokens, by frequency in the corpus, whose share of the history is a feature of its own
CONTEXT_TOKENS = 48  # context tokens with an indicator of their own; rarer ones are left out
FACTORS = 16  # numbers of an item's vector from what is clicked together
RECENT = 100  # most recent history items that are summarised


class RewardEstimator(Protocol):
    """Estimates ``R_ij``, the expected clicks in the exposed items if request ``i`` is served by chain ``j``."""

    flops_per_request: int

    def predict(self, requests: RequestBatch) -> F32:
        """Rewards, float32 ``[B, J]``, in the chain space's order, all finite."""
        ...


@dataclass(frozen=True)
class RewardFeatures:
    """Turns a batch of requests into dense features, without knowing any click that is to be predicted."""

    factors: F32  # vector of every item, from training users' clicks, float32 ``[n_items, Q]``
    # per item, its frequent content tokens, its vector, that vector's square norm, log popularity and its square,
    # float32 ``[n_items, P + Q + 3]``
    profile: F32
    context: I32  # column of every context token, -1 where it has none, int32 ``[vocabulary]``
    columns: int  # number of context columns

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
        """Features, float32 ``[B, F]``, without tokens beyond the vocabulary. Raises IndexError for an unknown item."""
        tokens, history = requests.tokens, requests.history
        weights = np.empty(0, dtype=np.float32) if requests.weights is None else requests.weights
        out = np.zeros((len(requests), self.width), dtype=np.float32)
        _describe(
            history.values, history.offsets, self.profile, tokens.values, tokens.offsets, weights,
            requests.weights is not None, self.context, requests.known, out,
        )  # fmt: skip
        return out


@kernel
def _describe(
    items: Any, item_offsets: Any, profile: Any, tokens: Any, token_offsets: Any, weights: Any, weighted: bool,
    context: Any, known: Any, out: Any,
) -> None:  # fmt: skip
    """Write every request's features into ``out``, ``[B, F]`` zeros."""
    wide = profile.shape[1]
    shares, least = PROFILE_TOKENS, 1e-6
    total = np.empty(wide, np.float32)
    for i in range(out.shape[0]):
        row = out[i]
        end = item_offsets[i + 1]
        length = end - item_offsets[i]
        recent = min(length, RECENT)
        total[:] = 0
        for n in range(end - recent, end):
            item = items[n]
            if item < 0 or item >= profile.shape[0]:
                raise IndexError("history: an item is none of the catalog's; prepare features with this catalog")
            item_profile = profile[item]
            for f in range(wide):
                total[f] += item_profile[f]
        many = max(recent, 1)
        mass = 0.0
        for f in range(shares):
            row[f] = total[f] / many
            mass += total[f] / many
        mass = max(mass, least)
        entropy = 0.0
        for f in range(shares):
            share = total[f] / many / mass
            if share > 0:
                entropy -= share * np.log(share + least)
        resultant = 0.0
        for f in range(shares, wide - 3):
            mean = total[f] / many
            row[f] = mean
            resultant += mean * mean
        norm, popularity, squared = total[wide - 3] / many, total[wide - 2] / many, total[wide - 1] / many
        row[wide - 3] = norm
        row[wide - 2] = popularity
        row[wide - 1] = np.sqrt(max(squared - popularity * popularity, 0.0))
        row[wide] = np.log1p(length)
        row[wide + 1] = entropy
        row[wide + 2] = resultant
        # Mean cosine between two different items of the history: 1 is one taste, 0 is many.
        row[wide + 3] = (resultant * recent - norm) / max(recent - 1, 1) / max(norm, least)
        row[wide + 4] = recent == 0
        row[wide + 5] = known[i]
        for n in range(token_offsets[i], token_offsets[i + 1]):
            token = tokens[n]
            if 0 <= token < context.shape[0] and context[token] >= 0:
                row[wide + 6 + context[token]] = weights[n] if weighted else 1.0
