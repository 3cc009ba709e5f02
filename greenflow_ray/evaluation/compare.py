"""`greenflow evaluate`: what each policy earns from the final users at each budget, with its real cost."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import numpy.typing as npt

from greenflow_ray.config import CascadeConfig
from greenflow_ray.console import Terminal
from greenflow_ray.datasets.features import TableFeatures
from greenflow_ray.datasets.schema import Split
from greenflow_ray.datasets.storage import load, load_clicks
from greenflow_ray.evaluation import policies
from greenflow_ray.models.artifacts import load_pool
from greenflow_ray.models.cascade import chain_space
from greenflow_ray.pricing.choice import request_hashes
from greenflow_ray.pricing.frontier import Frontier
from greenflow_ray.reward.artifact import load_reward
from greenflow_ray.reward.grid import ChainRunner, realised_clicks
from greenflow_ray.reward.training import sample_clicks

BUDGETS = (0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)
"""Budgets, as shares of the fullest chain's cost."""

RESAMPLES = 1000


def evaluate_run(config: CascadeConfig, terminal: Terminal) -> dict[str, Any]:
    """Compare policies on the final users; writes ``evaluation.json`` and returns it.

    Every policy's decisions are made from features and fitting users alone. The final users' clicks are loaded
    afterwards, to score them.
    """
    dataset = load(config.paths.data)
    pool = load_pool(config, dataset.catalog)
    space = chain_space(config, pool, len(dataset.catalog))
    reward = load_reward(config.paths.reward, space, dataset.catalog)
    features = TableFeatures(dataset.users)
    runner = ChainRunner(space, pool, len(dataset.catalog), config.exposure)
    with terminal.progress() as progress:
        fitted_rows, fitted_clicks = sample_clicks(config, dataset, runner, Split.REWARD, progress)
        fitting = fitted_clicks.mean(axis=0).astype(np.float64)
        frontier = Frontier.build(reward.predict(features.rows(fitted_rows)), space.costs)
        rows = dataset.users.of(Split.FINAL)
        predicted = reward.predict(features.rows(rows))
        hashes = request_hashes(dataset.users.user_ids[rows])
        decisions: dict[tuple[str, float], npt.NDArray[np.int32]] = {}
        for share in BUDGETS:
            budget = share * float(space.costs.max())
            if budget < space.costs.min():
                continue  # no policy can serve everyone for so little
            fixed = policies.best_fixed(fitting, space.costs, budget)
            decisions["best fixed chain", share] = np.full(len(rows), fixed, dtype=np.int32)
            decisions["GLOBAL", share] = policies.priced_globally(fitting, space.costs, budget, len(rows), hashes)
            decisions["GreenFlow", share] = policies.priced(predicted, space.costs, frontier, budget, hashes)
        # Only here do the final users' clicks come in.
        clicks = load_clicks(config.paths.data, Split.FINAL)
        realised = np.zeros((len(rows), len(space)), dtype=np.int16)
        found = realised_clicks(
            runner, features, clicks, progress=lambda done, of: progress("scoring final users", done / of)
        )
        realised[np.searchsorted(rows, clicks.users)] = found
    table = _score(decisions, realised, space.costs, config.seed)
    result = {
        "schema": 1,
        "dataset": dataset.name,
        "synthetic": dataset.synthetic,
        "seed": config.seed,
        "users": len(rows),
        "fullest_flops": float(space.costs.max()),
        "fullest_clicks": float(realised[:, space.fullest].mean()),
        "policies": table,
    }
    path = config.run / "evaluation.json"
    path.write_text(json.dumps(result, indent=2), encoding="utf-8")
    terminal.table(
        f"Clicks per final user, {dataset.name}{' (synthetic)' if dataset.synthetic else ''}, {len(rows)} users",
        ("budget", "policy", "clicks", "FLOPs used ÷ budget", "clicks ÷ GLOBAL", "95 % interval"),
        [
            (
                f"{row['budget_share']:.0%}",
                row["policy"],
                f"{row['clicks']:.3f}",
                f"{row['cost_share'] / row['budget_share']:.3f}",
                f"{row['ratio']:.3f}",
                f"{row['low']:.3f} to {row['high']:.3f}",
            )
            for row in table
        ],
    )
    terminal.say(f"written to {path}")
    return result


def _score(
    decisions: dict[tuple[str, float], npt.NDArray[np.int32]],
    realised: npt.NDArray[np.int16],
    costs: npt.NDArray[np.float64],
    seed: int,
) -> list[dict[str, Any]]:
    """Clicks and cost of every decision, beside GLOBAL's on the same users, bootstrapped over users in pairs."""
    users = np.arange(len(realised))
    weights = np.random.default_rng(seed).multinomial(len(users), np.full(len(users), 1 / len(users)), RESAMPLES)
    rows = []
    for (policy, share), chosen in decisions.items():
        mine = realised[users, chosen].astype(np.float64)
        other = realised[users, decisions["GLOBAL", share]].astype(np.float64)
        ratios = (weights @ mine) / np.maximum(weights @ other, 1e-9)
        low, high = np.quantile(ratios, [0.025, 0.975])
        rows.append(
            {
                "policy": policy,
                "budget_share": share,
                "clicks": float(mine.mean()),
                "cost_share": float(costs[chosen].mean() / costs.max()),
                "ratio": float(mine.sum() / max(other.sum(), 1e-9)),
                "low": float(low),
                "high": float(high),
            }
        )
    return rows
