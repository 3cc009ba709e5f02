"""The revenue frontier of the published price, and where both arms were beside it."""

from __future__ import annotations

import numpy as np

from greenflow_ray.loadtest.result import ArmResult
from greenflow_ray.pricing.frontier import Frontier
from greenflow_ray.report import contents
from greenflow_ray.statistics import ratio_interval

POINTS = 61


def curve(
    frontier: Frontier, equal: ArmResult, greenflow: ArmResult, seed: int, tuned: ArmResult | None = None
) -> contents.Frontier | None:
    """The frontier's points, closer together where it bends, and the arms' realised means; None if it is empty."""
    if not frontier.requests > 0:
        return None
    flops = frontier.floor + (frontier.top - frontier.floor) * np.linspace(0.0, 1.0, POINTS) ** 1.5
    return contents.Frontier(
        points=tuple(contents.FrontierPoint(flops=x, clicks=frontier.reward(x)) for x in dict.fromkeys(flops.tolist())),
        requests=frontier.requests,
        equal=_point(frontier, equal, seed),
        tuned=None if tuned is None else _point(frontier, tuned, seed),
        today=_point(frontier, greenflow, seed),
    )


def _point(frontier: Frontier, arm: ArmResult, seed: int) -> contents.ArmPoint:
    requests = max(len(arm.requests), 1)
    flops = float(arm.recounted.sum()) / requests
    clicks = arm.requests.clicks.astype(np.float64)
    return contents.ArmPoint(
        flops=flops,
        clicks=float(clicks.sum()) / requests,
        clicks_interval=ratio_interval(arm.requests.user_id, clicks, np.ones(len(clicks)), np.random.default_rng(seed)),
        predicted=frontier.reward(flops) if flops >= frontier.floor else None,
    )
