"""How kernels are compiled: once a machine (cached on disk), and without the interpreter's lock."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import numba as nb

F = TypeVar("F", bound=Callable[..., object])


def kernel(function: F) -> F:
    """Compile to machine code; divisions by zero give infinity, as in NumPy."""
    return cast(F, nb.njit(nogil=True, cache=True, error_model="numpy")(function))


def fused(function: F) -> F:
    """The same; of fast arithmetic it may use fused multiply-adds only, so that NaN stays NaN."""
    return cast(F, nb.njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract"})(function))
