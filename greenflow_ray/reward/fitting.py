"""Fits the reward network: centred loss, early stopping on validation users, calibrated to realised clicks."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from greenflow_ray.config import RewardConfig
from greenflow_ray.reward.layout import StageLayout
from greenflow_ray.reward.model import RewardNet

BATCH = 128
PATIENCE = 12


@dataclass(frozen=True)
class RewardSamples:
    """Features ``[n, F]`` and realised clicks ``[n, J]`` of users whose every chain was run."""

    features: npt.NDArray[np.float32]
    clicks: npt.NDArray[np.int16]


def centred_loss(predicted: Tensor, realised: Tensor, weight: float) -> Tensor:
    """Squared error of a user's mean reward, and of the differences between the user's chains.

    The choice ``argmax_j R_ij - price c_j`` depends on differences only, while users' levels vary far more: a plain
    squared loss spends the network on the levels. Both parts are scaled by their variance; ``weight`` is the share of
    the differences. Arrays ``[B, J]``; returns a scalar.
    """
    level_p, level_y = predicted.mean(1, keepdim=True), realised.mean(1, keepdim=True)
    level = (level_p - level_y).square().mean() / level_y.var().clamp_min(1e-6)
    spread_y = realised - level_y
    spread = (predicted - level_p - spread_y).square().mean() / spread_y.square().mean().clamp_min(1e-6)
    return (1 - weight) * level + weight * spread


def fit(
    stages: tuple[StageLayout, ...],
    train: RewardSamples,
    validation: RewardSamples,
    config: RewardConfig,
    seed: int,
    progress: Callable[[int, int, float], None] | None = None,
) -> RewardNet:
    """Train on ``train``, keep the epoch that is best on ``validation``, and scale to the clicks of ``train``."""
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = RewardNet(
            stages,
            train.features.shape[1],
            config.hidden,
            config.bases,
            recursive=config.recursive,
            multi_basis=config.multi_basis,
        )
    x, y = torch.from_numpy(train.features), torch.from_numpy(train.clicks.astype(np.float32))
    vx, vy = torch.from_numpy(validation.features), torch.from_numpy(validation.clicks.astype(np.float32))
    net.mean.copy_(x.mean(0))
    net.deviation.copy_(x.std(0).clamp_min(1e-3))
    with torch.no_grad():
        net.scale.copy_(y.mean().clamp_min(1e-3) / net(x[:BATCH]).mean().clamp_min(1e-6))
    optimiser = torch.optim.AdamW(net.parameters(), lr=config.learning_rate, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, config.epochs)
    best, best_state, since = float("inf"), copy.deepcopy(net.state_dict()), 0
    for epoch in range(config.epochs):
        net.train()
        for rows in torch.split(torch.randperm(len(x), generator=generator), BATCH):
            loss = centred_loss(net(x[rows]), y[rows], config.centred)
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimiser.step()
        schedule.step()
        net.eval()
        with torch.no_grad():
            value = float(centred_loss(net(vx), vy, config.centred))
        if progress is not None:
            progress(epoch + 1, config.epochs, value)
        since += 1
        if value < best:
            best, best_state, since = value, copy.deepcopy(net.state_dict()), 0
        elif since >= PATIENCE:
            break
    net.load_state_dict(best_state)
    with torch.no_grad():
        net.scale.mul_(y.sum() / net(x).sum().clamp_min(1e-6))
    return net.eval()
