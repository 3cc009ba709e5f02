"""Fits the reward network: centred loss, early stopping on validation users, calibrated to realised clicks."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from greenflow_ray.config import RewardConfig
from greenflow_ray.datasets.schema import F32, Array
from greenflow_ray.reward.network.model import RewardNet, StageLayout
from greenflow_ray.support.progress import Steps, uncounted

BATCH = 256
PATIENCE = 12
HEAVIEST = 50.0  # weights of logged samples are clipped at this many times their mean


@dataclass(frozen=True)
class RewardSamples:
    """Features ``[n, F]``, and realised clicks of every chain, or what a teacher expects of them, ``[n, J]``."""

    features: F32
    clicks: Array


@dataclass(frozen=True)
class LoggedSamples:
    """What a log with exploration knows of ``n`` requests: the one chain that ran, how likely, and what it earned."""

    features: F32
    chain: Array
    clicks: Array
    propensity: Array  # > 0


def logged_loss(predicted: Tensor, chain: Tensor, clicks: Tensor, weight: Tensor) -> Tensor:
    """Squared error of the chain that ran, weighted by 1 ÷ its propensity (self-normalised); a scalar.

    In expectation it is the error over all chains alike, whatever policy filled the log (Horvitz and Thompson 1952).
    """
    error = predicted.gather(1, chain.unsqueeze(1)).squeeze(1) - clicks
    return (weight * error.square()).sum() / weight.sum().clamp_min(1e-6) / clicks.var().clamp_min(1e-6)


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
    train: RewardSamples | LoggedSamples,
    validation: RewardSamples,
    config: RewardConfig,
    seed: int,
    progress: Steps = uncounted,
) -> RewardNet:
    """Train on ``train``, keep the epoch that is best on ``validation``, and scale to what ``train`` earned."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = RewardNet(stages, train.features.shape[1], config)
    x = torch.from_numpy(train.features)
    loss_of, earned = _objective(train, config.centred)
    vx, vy = torch.from_numpy(validation.features), torch.from_numpy(validation.clicks.astype(np.float32))
    net.mean.copy_(x.mean(0))
    net.deviation.copy_(x.std(0).clamp_min(1e-3))
    with torch.no_grad():
        first = torch.arange(min(BATCH, len(x)))
        net.scale.mul_(earned(net(x[first]), first))
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(net.parameters(), lr=config.learning_rate, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, config.epochs)
    best, best_state, since = float("inf"), copy.deepcopy(net.state_dict()), 0
    for epoch in range(config.epochs):
        net.train()
        for rows in torch.split(torch.randperm(len(x), generator=generator), BATCH):
            loss = loss_of(net(x[rows]), rows)
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimiser.step()
        schedule.step()
        net.eval()
        with torch.no_grad():
            value = float(centred_loss(net(vx), vy, config.centred))
        progress(epoch + 1, config.epochs)
        since += 1
        if value < best:
            best, best_state, since = value, copy.deepcopy(net.state_dict()), 0
        elif since >= PATIENCE:
            break
    net.load_state_dict(best_state)
    with torch.no_grad():
        net.scale.mul_(earned(net(x), torch.arange(len(x))))
    return net.eval()


def _objective(
    train: RewardSamples | LoggedSamples, centred: float
) -> tuple[Callable[[Tensor, Tensor], Tensor], Callable[[Tensor, Tensor], Tensor]]:
    """The loss of predictions ``[b, J]`` for given rows, and what these rows earned ÷ what is predicted."""
    y = torch.from_numpy(train.clicks.astype(np.float32))
    if isinstance(train, RewardSamples):
        return (
            lambda predicted, rows: centred_loss(predicted, y[rows], centred),
            lambda predicted, rows: y[rows].mean().clamp_min(1e-3) / predicted.mean().clamp_min(1e-6),
        )
    chain = torch.from_numpy(train.chain.astype(np.int64))
    weight = 1 / torch.from_numpy(train.propensity.astype(np.float32))
    weight = weight.clamp(max=HEAVIEST * float(weight.mean()))

    def earned(predicted: Tensor, rows: Tensor) -> Tensor:
        believed = predicted.gather(1, chain[rows].unsqueeze(1)).squeeze(1)
        return (weight[rows] * y[rows]).sum().clamp_min(1e-3) / (weight[rows] * believed).sum().clamp_min(1e-6)

    return lambda predicted, rows: logged_loss(predicted, chain[rows], y[rows], weight[rows]), earned
