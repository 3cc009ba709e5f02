"""Share a window's energy over the work done in it, with an explicit rest, so that the parts add up exactly."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from greenflow_ray.errors import DataError

MICRO = 1_000_000


@dataclass(frozen=True)
class Attribution:
    """Energy of one window by whom it was spent for, in whole microjoules, so that sums are exact."""

    microjoules: Mapping[str, int]  # by name: a deployment, model instance, stage, chain or arm
    unattributed: int  # the rest: other processes, idling, what nobody can be charged for

    @property
    def total(self) -> int:
        """Microjoules of the whole window: exactly the parts plus the rest."""
        return sum(self.microjoules.values()) + self.unattributed

    @property
    def joules(self) -> dict[str, float]:
        """Joules by name, without the rest."""
        return {name: value / MICRO for name, value in self.microjoules.items()}

    @property
    def attributed_joules(self) -> float:
        """Joules of all names together."""
        return sum(self.microjoules.values()) / MICRO

    @property
    def unattributed_joules(self) -> float:
        """Joules of the rest."""
        return self.unattributed / MICRO


def share(joules: float, weights: Mapping[str, float], whole: float | None = None) -> Attribution:
    """Share ``joules`` by ``weights`` as :func:`split` does. Raises DataError on an impossible number."""
    check("joules", joules)
    return split(round(joules * MICRO), weights, whole)


def split(microjoules: int, weights: Mapping[str, float], whole: float | None = None) -> Attribution:
    """Share ``microjoules`` in proportion to ``weights``, e.g. CPU-seconds by deployment or FLOPs by chain.

    ``whole`` is what the window's energy paid for in the same unit, e.g. the CPU-seconds of all the node's processes;
    what the weights leave of it stays unattributed. Without ``whole`` nothing is left over. Clocks of processes and of
    the node differ a little: if the weights exceed ``whole``, their sum takes its place. Raises DataError on a
    negative or non-finite number.
    """
    for name, value in {"whole": whole or 0.0, **weights}.items():
        check(name, value)
    work = math.fsum(weights.values())
    base = max(work, whole or 0.0)
    if base == 0:
        return Attribution(dict.fromkeys(weights, 0), microjoules)
    parts = {name: math.floor(microjoules * (weight / base)) for name, weight in weights.items()}
    rest = microjoules - sum(parts.values())
    if whole is None or whole <= work:
        # Nothing is to be left over: the microjoules lost to rounding go to the largest part.
        largest = max(parts, key=parts.__getitem__)
        parts[largest] += rest
        rest = 0
    return Attribution(parts, rest)


def check(name: str, value: float) -> None:
    """Raise DataError, naming it, on a number that can be neither energy nor work."""
    if not math.isfinite(value) or value < 0:
        raise DataError(f"energy attribution: {name} is {value}; it must be a finite number of at least 0")
