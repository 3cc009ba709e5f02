"""DIEN, for ranking: a GRU finds interests in the history, an attentional GRU follows each towards the candidate."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from greenflow_ray.datasets.schema import Catalog
from greenflow_ray.models.costing.costs import Flops, layers
from greenflow_ray.models.networks.din import Attentive, AttentiveArgs, embedded
from greenflow_ray.models.networks.network import Tensors, pick
from greenflow_ray.models.networks.tensors import Sizes, UserInputs


class DienArgs(AttentiveArgs):
    """Settings of DIEN."""

    interest: int = Field(default=32, ge=1, description="width of interest states")
    mlp: tuple[int, ...] = (384, 320)
    auxiliary: float = Field(default=0.2, ge=0, description="weight of the auxiliary loss on the next history item")

    def flops(self, history: int) -> Flops:
        """DIN's, a GRU and the AUGRU's inputs on the user's side, and an AUGRU for every item."""
        din, gates = self.attended(history, self.mlp), layers(self.interest, 3 * self.interest)
        return Flops(
            din.per_item + history * gates + layers(self.interest, self.mlp[0]),
            din.per_request + history * (layers(self.width, 3 * self.interest) + 2 * gates),
        )


class Dien(Attentive):
    """The network (Zhou et al. 2019): GRU, attention, AUGRU; DIN's pooled history joins the final network.

    Gates come from one product a step; the reset gate acts after the product, as in cuDNN's GRU. All input-side
    projections are the user's and computed once a request.
    """

    Args = DienArgs
    args: DienArgs

    def __init__(self, args: DienArgs, sizes: Sizes, catalog: Catalog) -> None:
        super().__init__(args, sizes, catalog)
        k = args.interest
        self.extract_input = nn.Linear(args.width, 3 * k)
        self.extract_state = nn.Linear(k, 3 * k)
        self.evolve_input = nn.Linear(k, 3 * k)
        self.evolve_state = nn.Linear(k, 3 * k)
        self.next_item = nn.Linear(k, args.width)
        self._final(args.mlp, k)

    def interests(self, history: Tensor) -> Tensor:
        """Interest states ``[B, L, interest]`` of history vectors ``[B, L, width]``."""
        steps = self.extract_input(history)
        state = steps.new_zeros(len(history), self.args.interest)
        states = []
        for inputs in steps.unbind(1):
            keep, new = _gates(inputs, self.extract_state(state))
            state = torch.lerp(new, state, torch.sigmoid(keep))
            states.append(state)
        return torch.stack(states, 1)

    def users(self, inputs: UserInputs, tables: Tensors) -> Tensors:
        """As DIN's, and before the last the AUGRU's inputs ``[B, L, 3·interest]``."""
        history = embedded(inputs, tables)
        return self._users(inputs, history, self.interests(history))

    def _users(self, inputs: UserInputs, history: Tensor, states: Tensor) -> Tensors:
        *attended, first = self._attended(inputs, history)
        return *attended, self.evolve_input(states), first

    def match(self, users: Tensors, items: Tensors) -> Tensor:
        """Attend, evolve, pool, and let the final network judge."""
        _, mask, matrix, offset, evolve, _ = users
        vectors = items[0]
        logits = self.attention.logits(matrix, offset, vectors)
        open_gate = torch.sigmoid(logits) * mask.unsqueeze(1)
        state = evolve.new_zeros(*vectors.shape[:2], self.args.interest)
        for inputs, relevance in zip(evolve.unsqueeze(2).unbind(1), open_gate.unsqueeze(3).unbind(2), strict=True):
            keep, new = _gates(inputs, self.evolve_state(state))
            state = torch.lerp(state, new, torch.sigmoid(keep) * relevance.to(keep.dtype))
        return self._judge(logits, users, items, state)

    def training_step(self, inputs: UserInputs, candidates: Tensor, noise: Tensor) -> tuple[Tensor, Tensor | None]:
        """Scores, and the auxiliary loss: an interest state should tell the next history item from a random one."""
        tables = self.tables()
        history = embedded(inputs, tables)
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
