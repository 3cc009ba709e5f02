"""DIEN, for ranking: a GRU finds interests in the history, an attentional GRU follows each towards the candidate."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from greenflow_ray.models.costing import flops
from greenflow_ray.models.networks.attention import Attention, pool
from greenflow_ray.models.networks.network import Network, Tensors, mlp, pick
from greenflow_ray.models.networks.tensors import Feature, NetworkArgs, Sizes, UserInputs

if TYPE_CHECKING:
    from greenflow_ray.datasets.schema import Catalog


class DienArgs(NetworkArgs):
    """Settings of DIEN: by default it sees everything, item identity included."""

    features: tuple[Feature, ...] = ("context", "history", "content", "popularity", "id")
    attention: int = Field(default=32, ge=1)
    interest: int = Field(default=32, ge=1, description="width of interest states")
    mlp: tuple[int, ...] = (384, 320)
    auxiliary: float = Field(default=0.2, ge=0, description="weight of the auxiliary loss on the next history item")


class Dien(Network):
    """The network (Zhou et al. 2019): GRU, attention, AUGRU; DIN's pooled history joins the final network.

    Gates come from one product a step; the reset gate acts after the product, as in cuDNN's GRU. All input-side
    projections are the user's and computed once a request.
    """

    Args = DienArgs

    def __init__(self, args: DienArgs, sizes: Sizes, catalog: Catalog) -> None:
        super().__init__(args, sizes, catalog)
        self.args = args
        k = args.interest
        self.attention = Attention(args.width, args.attention)
        self.extract_input = nn.Linear(args.width, 3 * k)
        self.extract_state = nn.Linear(k, 3 * k)
        self.evolve_input = nn.Linear(k, 3 * k)
        self.evolve_state = nn.Linear(k, 3 * k)
        self.next_item = nn.Linear(k, args.width)
        self.user_first = nn.Linear(args.user_width, args.mlp[0])
        self.item_first = nn.Linear(args.item_width, args.mlp[0], bias=False)
        self.pooled_first = nn.Linear(2 * args.width + k, args.mlp[0], bias=False)
        self.head = mlp(*args.mlp, 1)

    @property
    def flops(self) -> flops.Flops:
        """See :func:`greenflow_ray.models.costing.flops.dien`."""
        a = self.args
        return flops.dien(a.user_width, self.sizes.history, a.width, a.attention, a.interest, a.mlp)

    def tables(self) -> Tensors:
        """Item vectors, and the item's part of the final network's first layer."""
        vectors = self.item_vectors()
        return vectors, self.item_first(self.with_popularity(vectors))

    def interests(self, history: Tensor) -> Tensor:
        """Interest states ``[B, L, interest]`` of history vectors ``[B, L, width]``."""
        state = torch.zeros(len(history), self.args.interest)
        states = []
        for inputs in self.extract_input(history).unbind(1):
            keep, new = _gates(inputs, self.extract_state(state))
            state = torch.lerp(new, state, torch.sigmoid(keep))
            states.append(state)
        return torch.stack(states, 1)

    def users(self, inputs: UserInputs, tables: Tensors) -> Tensors:
        """As DIN's, and the AUGRU's inputs ``[B, L, 3·interest]``."""
        history = F.embedding(inputs.history, tables[0]) * inputs.mask.unsqueeze(-1)
        return self._users(inputs, history, self.interests(history))

    def _users(self, inputs: UserInputs, history: Tensor, states: Tensor) -> Tensors:
        first = self.user_first(self.user_vector(inputs, history))
        return history, inputs.mask, *self.attention.prepare(history), self.evolve_input(states), first

    def match(self, users: Tensors, items: Tensors) -> Tensor:
        """Attend, evolve, pool, and let the final network judge."""
        history, mask, matrix, offset, evolve, first = users
        vectors, item_first = items
        logits = self.attention.logits(matrix, offset, vectors)
        open_gate = torch.sigmoid(logits) * mask.unsqueeze(1)
        state = vectors.new_zeros(*vectors.shape[:2], self.args.interest)
        for inputs, relevance in zip(evolve.unsqueeze(2).unbind(1), open_gate.unsqueeze(3).unbind(2), strict=True):
            keep, new = _gates(inputs, self.evolve_state(state))
            state = torch.lerp(state, new, torch.sigmoid(keep) * relevance)
        pooled = pool(logits, history, mask)
        joined = self.pooled_first(torch.cat([pooled, pooled * vectors, state], -1))
        out: Tensor = self.head(F.relu(joined + item_first + first.unsqueeze(1))).squeeze(-1)
        return out

    def training_step(self, inputs: UserInputs, candidates: Tensor, noise: Tensor) -> tuple[Tensor, Tensor | None]:
        """Scores, and the auxiliary loss: an interest state should tell the next history item from a random one."""
        tables = self.tables()
        history = F.embedding(inputs.history, tables[0]) * inputs.mask.unsqueeze(-1)
        states = self.interests(history)
        scores = self.match(self._users(inputs, history, states), pick(tables, candidates))
        if self.args.auxiliary == 0:
            return scores, None
        guess, held = self.next_item(states[:, :-1]), inputs.mask[:, 1:]
        real = (guess * history[:, 1:]).sum(-1)
        fake = (guess * F.embedding(noise[:, 1:], tables[0])).sum(-1)
        loss = ((F.softplus(-real) + F.softplus(fake)) * held).sum() / held.sum().clamp(min=1)
        return scores, self.args.auxiliary * loss


def _gates(inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """Logit of the update gate and candidate state, from both projections ``[…, 3·interest]``."""
    k = state.shape[-1] // 3
    both = inputs[..., : 2 * k] + state[..., : 2 * k]
    reset = torch.sigmoid(both[..., :k])
    new = torch.tanh(torch.addcmul(inputs[..., 2 * k :], reset, state[..., 2 * k :]))
    return both[..., k:], new
