"""DIN, for ranking: the history pooled by its relevance to the candidate, then a wide network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from greenflow_ray.models.costing import flops
from greenflow_ray.models.networks.attention import Attention, pool
from greenflow_ray.models.networks.network import Network, Tensors, mlp
from greenflow_ray.models.networks.tensors import Feature, NetworkArgs, Sizes, UserInputs

if TYPE_CHECKING:
    from greenflow_ray.datasets.schema import Catalog


class DinArgs(NetworkArgs):
    """Settings of DIN: by default it sees everything, item identity included."""

    features: tuple[Feature, ...] = ("context", "history", "content", "popularity", "id")
    attention: int = Field(default=32, ge=1)
    mlp: tuple[int, ...] = (448, 512)


class Din(Network):
    """The network (Zhou et al. 2018); its activation units' scores are normalised by a softmax."""

    Args = DinArgs

    def __init__(self, args: DinArgs, sizes: Sizes, catalog: Catalog) -> None:
        super().__init__(args, sizes, catalog)
        self.args = args
        self.attention = Attention(args.width, args.attention)
        self.user_first = nn.Linear(args.user_width, args.mlp[0])
        self.item_first = nn.Linear(args.item_width, args.mlp[0], bias=False)
        self.pooled_first = nn.Linear(2 * args.width, args.mlp[0], bias=False)
        self.head = mlp(*args.mlp, 1)

    @property
    def flops(self) -> flops.Flops:
        """See :func:`greenflow_ray.models.costing.flops.din`."""
        a = self.args
        return flops.din(a.user_width, self.sizes.history, a.width, a.attention, a.mlp)

    def tables(self) -> Tensors:
        """Item vectors, and the item's part of the final network's first layer."""
        vectors = self.item_vectors()
        return vectors, self.item_first(self.with_popularity(vectors))

    def users(self, inputs: UserInputs, tables: Tensors) -> Tensors:
        """History vectors and mask, the attention's matrices and offsets, the user's part of the first layer."""
        history = F.embedding(inputs.history, tables[0]) * inputs.mask.unsqueeze(-1)
        first = self.user_first(self.user_vector(inputs, history))
        return history, inputs.mask, *self.attention.prepare(history), first

    def match(self, users: Tensors, items: Tensors) -> Tensor:
        """Attend, pool, and let the final network judge."""
        history, mask, matrix, offset, first = users
        vectors, item_first = items
        pooled = pool(self.attention.logits(matrix, offset, vectors), history, mask)
        joined = self.pooled_first(torch.cat([pooled, pooled * vectors], -1))
        out: Tensor = self.head(F.relu(joined + item_first + first.unsqueeze(1))).squeeze(-1)
        return out
