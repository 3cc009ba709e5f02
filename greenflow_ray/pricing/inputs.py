"""What the pricing engine accepts: arrays and numbers are checked here once, and refused by name."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from greenflow_ray.errors import PricingInputError

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]


def number(name: str, value: Any, *, minimum: float = 0.0) -> float:
    """``value`` as a finite float of at least ``minimum``. Raises PricingInputError naming ``name``."""
    try:
        result = float(value)
    except (TypeError, ValueError) as error:
        raise PricingInputError(f"{name}: expected a number, found {type(value).__name__}") from error
    if not math.isfinite(result):
        raise PricingInputError(f"{name}: {result} is not finite; give a finite number")
    if result < minimum:
        raise PricingInputError(f"{name}: {result:g} is below {minimum:g}")
    return result


def _real(name: str, value: Any, dtype: type[np.floating[Any]]) -> npt.NDArray[Any]:
    array = np.asarray(value)
    if array.dtype.kind not in "fiu":
        raise PricingInputError(f"{name}: dtype {array.dtype} is not real numbers; convert it to {np.dtype(dtype)}")
    with np.errstate(over="ignore"):  # what overflows becomes inf, and is refused as such
        return np.ascontiguousarray(array, dtype=dtype)


def rewards_array(value: Any) -> F32:
    """Rewards as C-contiguous float32 ``[n, J]``; finiteness is checked by the kernels, which read every value anyway.

    float16, float64 and integers are converted (a copy), and so are views that are not contiguous; read-only arrays
    are taken as they are.
    """
    array = _real("rewards", value, np.float32)
    if array.ndim != 2:
        raise PricingInputError(f"rewards: shape {array.shape} is not [requests, chains]")
    if array.shape[1] == 0:
        raise PricingInputError("rewards: no chains; give at least one column")
    return array


def costs_array(value: Any, shape: tuple[int, ...]) -> F64:
    """Costs as float64 ``[J]`` or ``[n, J]``, finite and non-negative, matching rewards of ``shape`` ``[n, J]``."""
    array = _real("costs", value, np.float64)
    if array.shape not in (shape, shape[1:]):
        raise PricingInputError(f"costs: shape {array.shape} does not match rewards {shape}; give [{shape[1]}]")
    if not np.isfinite(array).all():
        raise PricingInputError("costs: holds NaN or infinity; give finite costs")
    if array.size and array.min() < 0:
        raise PricingInputError(f"costs: {array.min():g} is negative; costs are computation and start at 0")
    return array


def refuse_rows(first_bad: int, bad: int) -> None:
    """Raise PricingInputError if a kernel met ``bad`` > 0 rows that are not finite, the first at ``first_bad``."""
    if bad:
        raise PricingInputError(
            f"rewards: {bad} row(s) hold NaN or infinity, the first is row {first_bad}; drop them or fix the estimator"
        )
