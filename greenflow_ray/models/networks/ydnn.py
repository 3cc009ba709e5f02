"""YoutubeDNN, for pre-ranking: a small network over user and item, most of whose first layer is looked up."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from greenflow_ray.datasets.schema import Catalog
from greenflow_ray.models.costing.costs import Flops, layers
from greenflow_ray.models.networks.network import Network, Tensors, mlp
from greenflow_ray.models.networks.tensors import Feature, NetworkArgs, Sizes, UserInputs


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
    """The network (Covington et al. 2016), as a scorer of (user, item) pairs."""

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
