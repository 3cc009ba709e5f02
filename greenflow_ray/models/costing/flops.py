"""FLOPs in closed form: multiply-adds of matrix products count two each, look-ups and element-wise work none.

That is the convention of ``torch.utils.flop_counter``, against which the formula of every network's settings is
tested. Work done once a request (the user's side) is told apart from work done for each item; what is computed once,
when a model is loaded (the item tables), costs nothing at serving. Histories are padded to a fixed length, and cost
that length.
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
