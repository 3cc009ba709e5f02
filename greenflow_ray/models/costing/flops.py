"""FLOPs in closed form: multiply-adds of matrix products count two each, look-ups and element-wise work none.

That is the convention of ``torch.utils.flop_counter``, against which every formula is tested. Work done once a request
(the user's side) is told apart from work done for each item; what is computed once, when a model is loaded (the
item tables), costs nothing at serving. Histories are padded to a fixed length, and cost that length.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True)
class Flops:
    """Cost of a model: FLOPs for each scored item, and FLOPs once a request."""

    per_item: int
    per_request: int


def layers(*widths: int) -> int:
    """One row through fully connected layers of the given widths."""
    return sum(2 * a * b for a, b in pairwise(widths))


def dssm(user: int, hidden: int, interests: int, width: int) -> Flops:
    """Two towers: the user's makes ``interests`` vectors, an item costs one dot product with each."""
    return Flops(2 * interests * width, layers(user, hidden, interests * width))


def ydnn(user: int, tower: int, first: int, second: int) -> Flops:
    """A two-layer network whose first layer is split: item half tabled, user half once a request."""
    return Flops(layers(first, second, 1), layers(user, tower, first))


def attention(length: int, width: int, hidden: int) -> Flops:
    """DIN's attention over ``length`` history items: score [h, i, h−i, h∘i], project, pool."""
    return Flops(
        length * (layers(width, hidden, 1) + 2 * width),
        length * layers(width, hidden),
    )


def din(user: int, length: int, width: int, hidden: int, mlp: tuple[int, ...]) -> Flops:
    """Attention, then ``[pooled, pooled∘i]`` through ``mlp``; the user's part of its first layer once a request."""
    attend = attention(length, width, hidden)
    return Flops(attend.per_item + layers(2 * width, *mlp, 1), attend.per_request + layers(user, mlp[0]))


def dien(user: int, length: int, width: int, hidden: int, interest: int, mlp: tuple[int, ...]) -> Flops:
    """DIN's attention, a GRU on the user's side, an AUGRU for every item, and the final network."""
    attend = attention(length, width, hidden)
    evolve = length * layers(interest, 3 * interest)
    extract = length * (layers(width, 3 * interest) + layers(interest, 3 * interest))
    project = length * layers(interest, 3 * interest)
    return Flops(
        attend.per_item + evolve + layers(2 * width + interest, *mlp, 1),
        attend.per_request + extract + project + layers(user, mlp[0]),
    )
