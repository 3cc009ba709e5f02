"""DIN's attention over the history, arranged so that a request's candidates go through it as one matrix product.

The first layer of the attention network acts on ``[h, i, h − i, h∘i]``. It is linear in ``i``: for a fixed history
item h it is ``(W₄ diag(h) + W₂ − W₃) i + (W₁ + W₃) h + b``. So each request gets its own matrix, stacked over its
history (element-wise work), and its candidates are multiplied by it at once; nothing of shape items × history × width
is ever made. The multiply-adds are those of the plain form.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


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
        out: Tensor = self.out(hidden.view(*hidden.shape[:2], -1, self.own.out_features)).squeeze(-1)
        return out


def pool(logits: Tensor, history: Tensor, mask: Tensor) -> Tensor:
    """History ``[B, L, width]`` pooled by the softmax of ``logits`` ``[B, n, L]`` where ``mask`` ``[B, L]`` is 1.

    An empty history pools to zero.
    """
    held = mask.unsqueeze(1)
    weights = torch.softmax(logits + (held - 1) * 1e9, -1) * held
    return torch.bmm(weights, history)
