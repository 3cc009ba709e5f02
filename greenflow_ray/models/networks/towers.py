"""DSSM, for recall, and YoutubeDNN, for pre-ranking: towers of user and item, the item's tabled.

DSSM's score is the best match of an item with one of the user's interest vectors. Ten interests of 64 numbers make an
item cost 1,280 FLOPs, a tenth of the paper's DSSM, spent where it pays: one matrix product over the corpus.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from greenflow_ray.datasets.schema import Catalog
from greenflow_ray.models.costing.costs import Flops, layers
from greenflow_ray.models.networks.network import Network, Tensors, mlp
from greenflow_ray.models.networks.tensors import Feature, NetworkArgs, Sizes, UserInputs


class DssmArgs(NetworkArgs):
    """Settings of DSSM: by default it sees content and context, neither popularity nor item identity."""

    passes: int = Field(default=4, ge=1)
    features: tuple[Feature, ...] = ("context", "history", "content")
    hidden: int = Field(default=256, ge=1)
    interests: int = Field(default=10, ge=1)

    def flops(self, history: int) -> Flops:  # noqa: ARG002 - its mean costs nothing
        """The user's tower makes the interests; an item costs one dot product with each."""
        interests = self.interests * self.width
        return Flops(2 * interests, layers(self.user_width, self.hidden, interests))


PRODUCTS = 1 << 18  # dot products held at once: about a mebibyte, which stays in a core's cache


class Dssm(Network):
    """DSSM (Huang et al. 2013; several interests as in MIND, Li et al. 2019)."""

    Args = DssmArgs
    args: DssmArgs
    scores_corpus: ClassVar[bool] = True

    def __init__(self, args: DssmArgs, sizes: Sizes, catalog: Catalog) -> None:
        super().__init__(args, sizes, catalog)
        self.scale = 1 / math.sqrt(args.width)
        self.item_tower = mlp(args.item_width, 2 * args.width, args.width)
        self.user_tower = mlp(args.user_width, args.hidden, args.interests * args.width)

    def tables(self) -> Tensors:
        """The item's inputs, and its tower's output."""
        vectors = self.item_vectors()
        return self.item_tower(self.with_popularity(vectors)), vectors

    def users(self, inputs: UserInputs, tables: Tensors) -> Tensors:
        """Interest vectors, ``[B, interests, width]``."""
        vector = self.user_vector(inputs, F.embedding(inputs.history, tables[1]))
        return (self.user_tower(vector).view(len(vector), self.args.interests, self.args.width),)

    def match(self, users: Tensors, items: Tensors) -> Tensor:
        """The best dot product over interests, over √width."""
        return torch.bmm(users[0], items[0].transpose(1, 2)).amax(1).mul(self.scale)

    def match_corpus(self, users: Tensors, tables: Tensors) -> Tensor:
        """The same for every item: one product of all interests with all items."""
        (interests,) = users
        best = [
            torch.mm(part.reshape(-1, part.shape[-1]), tables[0].T).view(*part.shape[:2], -1).amax(1)
            for part in torch.split(interests, max(1, PRODUCTS // (interests.shape[1] * len(tables[0]))))
        ]
        return torch.cat(best).mul(self.scale)


class YdnnArgs(NetworkArgs):
    """Settings of YoutubeDNN: by default it sees content, context and popularity, not item identity."""

    passes: int = Field(default=4, ge=1)
    features: tuple[Feature, ...] = ("context", "history", "content", "popularity")
    tower: int = Field(default=128, ge=1)
    first: int = Field(default=96, ge=1)
    second: int = Field(default=64, ge=1)

    def flops(self, history: int) -> Flops:  # noqa: ARG002 - its mean costs nothing
        """The first layer is split: its item half is tabled, its user half computed once a request."""
        return Flops(layers(self.first, self.second, 1), layers(self.user_width, self.tower, self.first))


class Ydnn(Network):
    """YoutubeDNN (Covington et al. 2016), as a scorer of pairs: most of its first layer is looked up."""

    Args = YdnnArgs
    args: YdnnArgs

    def __init__(self, args: YdnnArgs, sizes: Sizes, catalog: Catalog) -> None:
        super().__init__(args, sizes, catalog)
        self.user_tower = mlp(args.user_width, args.tower, args.first)
        self.item_first = nn.Linear(args.item_width, args.first, bias=False)
        self.head = mlp(args.first, args.second, 1)

    def tables(self) -> Tensors:
        """The item half of the first layer, and item vectors for histories."""
        vectors = self.item_vectors()
        return self.item_first(self.with_popularity(vectors)), vectors

    def users(self, inputs: UserInputs, tables: Tensors) -> Tensors:
        """The user half of the first layer, ``[B, first]``."""
        return (self.user_tower(self.user_vector(inputs, F.embedding(inputs.history, tables[1]))),)

    def match(self, users: Tensors, items: Tensors) -> Tensor:
        """Join both halves, then the rest of the network."""
        return torch.squeeze(self.head(F.relu(items[0] + users[0].unsqueeze(1))), -1)
