"""DIN and DIEN, for ranking: the history attended to from the candidate, then a wide network.

The first layer of the attention network acts on ``[h, i, h − i, h∘i]``. It is linear in ``i``: for a fixed history
item h it is ``(W₄ diag(h) + W₂ − W₃) i + (W₁ + W₃) h + b``. So each request gets its own matrix, stacked over its
history (element-wise work), and its candidates are multiplied by it at once; nothing of shape items × history × width
is ever made. The multiply-adds are those of the plain form.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from greenflow_ray.datasets.schema import Catalog
from greenflow_ray.models.costing.costs import Flops, layers
from greenflow_ray.models.networks.network import Network, Tensors, mlp, pick
from greenflow_ray.models.networks.tensors import Feature, NetworkArgs, Sizes, UserInputs


class Attention(nn.Module):
    """Scores every history item against every candidate, and pools the history by those scores."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.own = nn.Linear(width, hidden)  # W₁ + W₃ and the bias
        self.item = nn.Parameter(torch.empty(hidden, width))  # W₂ − W₃
        self.product = nn.Parameter(torch.empty(hidden, width))  # W₄
        for parameter in (self.item, self.product):
            nn.init.uniform_(parameter, -(width**-0.5), width**-0.5)
        self.out = nn.Linear(hidden, 1)

    def prepare(self, history: Tensor) -> tuple[Tensor, Tensor]:
        """From history ``[B, L, width]``: matrices ``[B, width, L·hidden]`` and offsets ``[B, 1, L·hidden]``."""
        batch, _, width = history.shape
        matrix = torch.addcmul(self.item, history.unsqueeze(2), self.product).reshape(batch, -1, width)
        return matrix.transpose(1, 2), self.own(history).reshape(batch, 1, -1)

    def logits(self, matrix: Tensor, offset: Tensor, items: Tensor) -> Tensor:
        """How much each history item matters to each candidate ``[B, n, width]``: ``[B, n, L]``."""
        hidden = F.relu(torch.baddbmm(offset, items, matrix), inplace=not torch.is_grad_enabled())
        return torch.squeeze(self.out(hidden.view(*hidden.shape[:2], -1, self.own.out_features)), -1)


def pool(logits: Tensor, history: Tensor, mask: Tensor) -> Tensor:
    """History ``[B, L, width]`` pooled by softmax of ``logits`` ``[B, n, L]`` where ``mask`` is 1; zero if nowhere."""
    held = mask.unsqueeze(1)
    weights = torch.softmax(logits + (held - 1) * 1e9, -1) * held
    return torch.bmm(weights, history)


class AttentiveArgs(NetworkArgs):
    """Settings that DIN and DIEN share: by default they see everything, item identity included."""

    features: tuple[Feature, ...] = ("context", "history", "content", "popularity", "id")
    attention: int = Field(default=32, ge=1)

    def attended(self, history: int, mlp: tuple[int, ...]) -> Flops:
        """For every history item a score of [h, i, h−i, h∘i], projected and pooled; then the final network."""
        width, hidden = self.width, self.attention
        return Flops(
            history * (layers(width, hidden, 1) + 2 * width) + layers(2 * width, *mlp, 1),
            history * layers(width, hidden) + layers(self.user_width, mlp[0]),
        )


class DinArgs(AttentiveArgs):
    """Settings of DIN."""

    mlp: tuple[int, ...] = (448, 512)

    def flops(self, history: int) -> Flops:
        """See :meth:`AttentiveArgs.attended`."""
        return self.attended(history, self.mlp)


class Attentive(Network):
    """What DIN and DIEN share: attention, and a final network whose first layer's item and user parts are split off."""

    def __init__(self, args: AttentiveArgs, sizes: Sizes, catalog: Catalog) -> None:
        super().__init__(args, sizes, catalog)
        self.attention = Attention(args.width, args.attention)

    def _final(self, widths: tuple[int, ...], more: int = 0) -> None:
        """Make the final network of ``widths`` over user, item, ``[pooled, pooled∘i]`` and ``more`` numbers."""
        self.user_first = nn.Linear(self.args.user_width, widths[0])
        self.item_first = nn.Linear(self.args.item_width, widths[0], bias=False)
        self.pooled_first = nn.Linear(2 * self.args.width + more, widths[0], bias=False)
        self.head = mlp(*widths, 1)

    def tables(self) -> Tensors:
        """Item vectors, and the item's part of the final network's first layer."""
        vectors = self.item_vectors()
        return vectors, self.item_first(self.with_popularity(vectors))

    def _attended(self, inputs: UserInputs, history: Tensor) -> Tensors:
        """History vectors and mask, the attention's matrices and offsets, the user's part of the first layer."""
        first = self.user_first(self.user_vector(inputs, history))
        return history, inputs.mask, *self.attention.prepare(history), first

    def _judge(self, logits: Tensor, users: Tensors, items: Tensors, *more: Tensor) -> Tensor:
        """Pool the history by the attention's ``logits``, and let the final network judge."""
        history, mask, *_, first = users
        vectors, item_first = items
        pooled = pool(logits, history, mask)
        joined = self.pooled_first(torch.cat([pooled, pooled * vectors, *more], -1))
        return torch.squeeze(self.head(F.relu(joined + item_first + first.unsqueeze(1))), -1)


def embedded(inputs: UserInputs, tables: Tensors) -> Tensor:
    """Vectors of the history's items, zero where there is none, ``[B, L, width]``."""
    return F.embedding(inputs.history, tables[0]) * inputs.mask.unsqueeze(-1)


class Din(Attentive):
    """DIN (Zhou et al. 2018); its activation units' scores are normalised by a softmax."""

    Args = DinArgs

    def __init__(self, args: DinArgs, sizes: Sizes, catalog: Catalog) -> None:
        super().__init__(args, sizes, catalog)
        self._final(args.mlp)

    def users(self, inputs: UserInputs, tables: Tensors) -> Tensors:
        """See :meth:`_attended`."""
        return self._attended(inputs, embedded(inputs, tables))

    def match(self, users: Tensors, items: Tensors) -> Tensor:
        """Attend, pool, and let the final network judge."""
        return self._judge(self.attention.logits(users[2], users[3], items[0]), users, items)


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
    """DIEN (Zhou et al. 2019): GRU, attention, AUGRU; DIN's pooled history joins the final network.

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
