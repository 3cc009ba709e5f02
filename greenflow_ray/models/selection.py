"""Keep each request's best items: exact, ties to the lower item index, compiled, without Python per item."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from greenflow_ray.datasets.schema import F32, I32, I64
from greenflow_ray.ragged import Ragged
from greenflow_ray.support.jit import kernel

U64 = npt.NDArray[np.uint64]

_LOW = np.uint64(0xFFFFFFFF)
_NONE = np.uint64(0xFFFFFFFFFFFFFFFF)


def keep_best(scores: F32, candidates: Ragged, n: I64) -> tuple[Ragged, Ragged]:
    """Keep the ``n[i]`` best candidates of every row ``i``, best first.

    ``scores`` is float32 ``[total]``, ``candidates`` holds item indices, ``n`` is ``[B]``. Ties go to the lower item
    index; rows shorter than ``n`` keep all. Items whose score is −inf or NaN are left out. Returns items (int32) and
    their scores (float32).
    """
    keys, offsets = _keys(np.ascontiguousarray(scores, dtype=np.float32), candidates.values), candidates.offsets
    kept = np.minimum(_count(keys, offsets), np.maximum(n, 0))
    items = Ragged.from_lengths(np.empty(int(kept.sum()), dtype=np.int32), kept)
    best = Ragged(np.empty(len(items.values), dtype=np.float32), items.offsets)
    _select(keys, offsets, items.offsets, items.values, best.values)
    return items, best


def keep_best_corpus(scores: F32, n: I64) -> tuple[Ragged, Ragged]:
    """:func:`keep_best` where every row scores the whole corpus: ``scores`` is float32 ``[B, n_items]``."""
    batch, n_items = scores.shape
    items = np.broadcast_to(np.arange(n_items, dtype=np.int32), scores.shape).ravel()
    return keep_best(scores.ravel(), Ragged(items, np.arange(batch + 1, dtype=np.int64) * n_items), n)


def exclude(scores: F32, items: Ragged) -> None:
    """Set corpus ``scores`` ``[B, n_items]`` to −inf in place for each row's ``items``: what a user had before."""
    scores[items.row_ids, items.values] = -np.inf


def _keys(scores: F32, items: I32) -> U64:
    """Sortable keys: descending score in the upper half (as integers order floats), item index in the lower."""
    bits = (scores + np.float32(0)).view(np.uint32)  # + 0 makes −0 and 0 equal
    flipped = np.where(bits >> 31, bits, ~bits ^ np.uint32(0x80000000))
    keys = (flipped.astype(np.uint64) << np.uint64(32)) | items.astype(np.uint64)
    return np.where(scores > -np.inf, keys, _NONE)


@kernel
def _count(keys: U64, offsets: I64) -> I64:
    out = np.zeros(len(offsets) - 1, dtype=np.int64)
    for row in range(len(out)):
        for i in range(offsets[row], offsets[row + 1]):
            if keys[i] != _NONE:
                out[row] += 1
    return out


@kernel
def _select(keys: U64, offsets: I64, out_offsets: I64, items: I32, scores: F32) -> None:
    for row in range(len(offsets) - 1):
        start, n = out_offsets[row], out_offsets[row + 1] - out_offsets[row]
        if n == 0:
            continue
        mine = keys[offsets[row] : offsets[row + 1]]
        best = np.sort(np.partition(mine, n - 1)[:n]) if n < len(mine) else np.sort(mine)
        bits = np.empty(n, dtype=np.uint32)
        for i in range(n):
            items[start + i] = np.int32(best[i] & _LOW)
            high = np.uint32(best[i] >> np.uint64(32))
            bits[i] = high if high >> np.uint32(31) else ~high ^ np.uint32(0x80000000)
        scores[start : start + n] = bits.view(np.float32)
