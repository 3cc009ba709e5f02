"""What networks are fed: the catalog's and a batch's features as tensors, and the settings all architectures share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from pydantic import Field

from greenflow_ray.config import Section
from greenflow_ray.datasets.schema import F32, Dataset, RequestBatch
from greenflow_ray.models.costing.costs import Flops
from greenflow_ray.ragged import Ragged

Feature = Literal["context", "history", "content", "popularity", "id"]
"""Who the user is · what they clicked · what an item is · how often it is clicked · which item it is."""

POPULARITY = 2  # numbers that describe an item's popularity: its standardised logarithm, and that number's square


class NetworkArgs(Section, ABC):
    """Settings that every architecture has; ``features`` says what it may see."""

    features: tuple[Feature, ...]
    width: int = Field(default=64, ge=1, description="width of item vectors")
    context_width: int = Field(default=32, ge=1, description="width of the context embedding")
    passes: int = Field(default=1, ge=1, description="epochs for each of training.epochs: cheap models take more")
    history: int | None = Field(default=None, ge=1, description="history items attended to; null: history_length")
    loss: Literal["logistic", "softmax"] = Field(
        default="logistic", description="of each click and non-click, or of each click against its user's non-clicks"
    )
    precision: Literal["float32", "bfloat16"] = Field(
        default="float32", description="of training's and scoring's products; weights are kept as float32"
    )

    @abstractmethod
    def flops(self, history: int) -> Flops:
        """What such a network costs at serving where it attends to ``history`` items."""

    def sees(self, feature: Feature) -> bool:
        """Whether the network may see ``feature``."""
        return feature in self.features

    @property
    def user_width(self) -> int:
        """Width of the user vector: context, mean of the history's item vectors, and of its popularity."""
        seen_popularity = POPULARITY if self.sees("popularity") else 0
        history = self.width + seen_popularity if self.sees("history") else 0
        return max(1, (self.context_width if self.sees("context") else 0) + history)

    @property
    def item_width(self) -> int:
        """Width of the item's input to a first layer: its vector, and its popularity."""
        return self.width + (POPULARITY if self.sees("popularity") else 0)


@dataclass(frozen=True)
class Sizes:
    """Sizes of the embedding tables, and how much history is attended to."""

    items: int
    item_tokens: int
    user_tokens: int
    history: int

    @classmethod
    def of(cls, dataset: Dataset, history: int) -> Sizes:
        """Those of networks for a prepared set."""
        return cls(len(dataset.catalog), len(dataset.catalog.vocabulary), len(dataset.users.vocabulary), history)


@dataclass(frozen=True)
class UserInputs:
    """A batch of users as tensors."""

    tokens: torch.Tensor  # context tokens end to end, int64 ``[total]``; those we do not know become one last token
    offsets: torch.Tensor  # start of every user's tokens, int64 ``[B]``
    history: torch.Tensor  # item indices, oldest first, left-aligned, padded with 0, int64 ``[B, L]``
    mask: torch.Tensor  # 1 where ``history`` holds an item, else 0, float32 ``[B, L]``
    shares: torch.Tensor | None = None  # of every token in its user's context, float32 ``[total]``; None: equal

    def to(self, dtype: torch.dtype) -> UserInputs:
        """The same with numbers of this type."""
        return replace(self, mask=self.mask.to(dtype), shares=None if self.shares is None else self.shares.to(dtype))

    @classmethod
    def of(cls, requests: RequestBatch, sizes: Sizes) -> UserInputs:
        """Tensors of a batch of requests; of each history the last ``sizes.history`` items are kept."""
        tokens, history = requests.tokens, requests.history.padded(sizes.history, -1)
        held = history >= 0
        return cls(
            torch.from_numpy(np.minimum(tokens.values, sizes.user_tokens).astype(np.int64)),
            torch.from_numpy(tokens.offsets[:-1].astype(np.int64)),
            torch.from_numpy(np.where(held, history, 0).astype(np.int64)),
            torch.from_numpy(held.astype(np.float32)),
            None if requests.weights is None else torch.from_numpy(shares(tokens, requests.weights)),
        )


def shares(tokens: Ragged, weights: F32) -> F32:
    """Weights scaled to sum to one in every row of ``tokens``, float32 ``[total]``; a row of zeros stays zero."""
    sums = np.bincount(tokens.row_ids, weights, minlength=len(tokens))
    return np.asarray(weights / np.where(sums > 0, sums, 1.0)[tokens.row_ids], dtype=np.float32)
