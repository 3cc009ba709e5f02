"""What GreenFlow itself costs: the parts of its CPU time, and its shares of CPU time and FLOPs."""

from __future__ import annotations

import numpy as np

from greenflow_ray.energy.metering.processes import LEDGER, METER
from greenflow_ray.loadtest.result import ArmResult
from greenflow_ray.report import contents

REPRICING = "repricing job"
"""Its name among the parts, and among the deployments to which energy is charged."""
OWN = ("allocator", LEDGER, METER)
"""Deployments and actors that only GreenFlow needs."""


def overhead(
    result: ArmResult, reward_flops: int | None, p99_s: float | None, repricing_cpu_seconds: float | None
) -> contents.Overhead:
    """Of the GreenFlow arm: its own parts + repricing, ÷ all of Serve + repricing; unknown parts left out."""
    answered = int(np.count_nonzero(result.ok))
    flops_share = None
    if reward_flops is not None and answered:
        own = reward_flops * answered
        flops_share = own / (own + int(result.recounted.sum()))
    parts: dict[str, float] = {}
    for name, spent in result.cpu_seconds.items():
        if name.lower() in OWN:
            parts[name.lower()] = spent
    total = sum(result.cpu_seconds.values())
    if repricing_cpu_seconds is not None:
        parts[REPRICING] = repricing_cpu_seconds
        total += repricing_cpu_seconds
    return contents.Overhead(
        flops_share=flops_share,
        cpu_share=sum(parts.values()) / total if result.cpu_seconds and total > 0 else None,
        p99_seconds=p99_s,
        cpu_seconds=parts,
    )
