"""The recursive multi-basis reward model: total reward as a sum of stage uplifts (paper, equations 4 to 7).

    R_ij = sum_k dR_k,    dR_k = sum_l w_kl * phi_l(v_kl),    w >= 0, v >= 0, phi increasing and concave

Three gaps of the published design are closed by construction:

1. The state ``h_k`` handed from stage to stage depends on the *models* chosen, never on item scales; earlier item
   scales reach a later stage only through a factor ``1 + eta . T(n_<k)`` with ``eta >= 0``. So the total, not only
   each part, is non-decreasing in every item scale. (``monotone=False`` drops the constraint, for comparison.)
2. Every item scale has a thermometer code of its own, so no two chains share a reward by construction.
3. The thermometer's steps are free and non-negative; concavity holds in ``v``. Nothing is claimed of concavity in
   FLOPs: the pricing engine takes the concave hull itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from greenflow_ray.chains import ChainSpace
from greenflow_ray.config import RewardConfig
from greenflow_ray.datasets.schema import F32, I64

BASES: dict[str, Callable[[Tensor], Tensor]] = {
    "log1p": torch.log1p,
    "tanh": torch.tanh,
    "ratio": lambda v: v / (1 + v),
    "exp": lambda v: -torch.expm1(-v),
    "sqrt": lambda v: v * torch.rsqrt(1 + v * v),
}
"""Increasing concave functions on ``v >= 0`` with ``phi(0) = 0``."""

RISE, BOOST = -2.0, -3.0  # where the heads of steps and lifts begin, before softplus
UNBOUND, UNIT = 2.3, 0.5413
"""Without monotonicity a step begins at ``RISE + UNBOUND``, slightly rising; softplus(UNIT) = 1."""


@dataclass(frozen=True)
class StageLayout:
    """One stage, seen from all chains."""

    # for each distinct model prefix (m_1..m_k), the prefix (m_1..m_{k-1}) it extends, int64 ``[P_k]``
    parents: I64
    models: I64  # the prefix's last model, index in the stage's pool, int64 ``[P_k]``
    pool: int  # number of model instances of the stage
    scales: int  # number of item scales, S_k
    # thermometer codes of the distinct item tuples of *earlier* stages, float32 ``[Q_k, sum (S_<k - 1)]``
    codes: F32
    prefix: I64  # each chain's model prefix, int64 ``[J]``
    scale: I64  # each chain's item scale, int64 ``[J]``
    earlier: I64  # each chain's row of ``codes``, int64 ``[J]``


def layout(space: ChainSpace) -> tuple[StageLayout, ...]:
    """The layout of every stage, in order. Every item scale has a code of its own."""
    own = [np.searchsorted(sorted(stage.scales), space.items[:, k]) for k, stage in enumerate(space.stages)]
    scale = np.stack(own, axis=1)
    stages: list[StageLayout] = []
    previous = np.zeros((1, 0), dtype=np.int64)
    for k, stage in enumerate(space.stages):
        prefixes, prefix = np.unique(space.models[:, : k + 1], axis=0, return_inverse=True)
        parents = np.array([int(np.flatnonzero((previous == row[:-1]).all(axis=1))[0]) for row in prefixes])
        tuples, earlier = np.unique(scale[:, :k], axis=0, return_inverse=True)
        codes = [np.arange(1, len(s.scales)) <= tuples[:, [i]] for i, s in enumerate(space.stages[:k])]
        found = StageLayout(
            parents=parents,
            models=prefixes[:, -1].astype(np.int64),
            pool=len(stage.pool),
            scales=len(stage.scales),
            codes=np.concatenate([np.zeros((len(tuples), 0)), *codes], axis=1, dtype=np.float32),
            prefix=np.asarray(prefix, dtype=np.int64).reshape(-1),
            scale=scale[:, k].astype(np.int64),
            earlier=np.asarray(earlier, dtype=np.int64).reshape(-1),
        )
        stages.append(found)
        previous = prefixes.astype(np.int64)
    return tuple(stages)


class StageUplift(nn.Module):
    """``g_k`` of equation 4: from the state and context, one stage's uplift and the next state."""

    codes: Tensor
    models: Tensor
    parents: Tensor
    prefix: Tensor
    own: Tensor
    earlier: Tensor

    def __init__(self, stage: StageLayout, config: RewardConfig) -> None:
        super().__init__()
        self.stage, self.monotone = stage, config.monotone
        self.bases: tuple[str, ...] = config.bases if config.multi_basis else ("identity",)
        width, n_bases, earlier = config.hidden, len(self.bases), stage.codes.shape[1]
        self.embed = nn.Embedding(stage.pool, width)
        self.step = nn.Linear(2 * width, width)
        self.weight = nn.Linear(width, n_bases)
        self.start = nn.Linear(width, n_bases)
        self.rise = nn.Linear(width, n_bases * max(stage.scales - 1, 0)) if stage.scales > 1 else None
        self.boost = nn.Linear(width, n_bases * earlier) if earlier else None
        constants = {  # they move with the module but are rebuilt from the chain space, not stored
            "codes": stage.codes.T.copy(),
            "models": stage.models,
            "parents": stage.parents,
            "prefix": stage.prefix,
            "own": stage.prefix * stage.scales + stage.scale,
            "earlier": stage.prefix * stage.codes.shape[0] + stage.earlier,
        }
        for name, array in constants.items():
            self.register_buffer(name, torch.from_numpy(array), persistent=False)
        for head, value in ((self.weight, 0.0), (self.start, -1.0), (self.rise, RISE), (self.boost, BOOST)):
            if head is not None:
                nn.init.constant_(head.bias, value)

    def forward(self, state: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """From two ``[B, P_{k-1}, H]`` to the uplift of every chain, ``[B, J]``, and the next state ``[B, P_k, H]``."""
        both = torch.cat([state[:, self.parents] + self.embed(self.models), context[:, self.parents]], dim=-1)
        state = torch.tanh(self.step(both))
        n_bases = len(self.bases)
        weight = functional.softplus(self.weight(state))
        start = self.start(state).unsqueeze(-1)
        v = functional.softplus(start)
        if self.rise is not None:
            steps = self.rise(state).unflatten(-1, (n_bases, -1))
            if self.monotone:
                risen = v + functional.softplus(steps).cumsum(-1)
            else:
                risen = functional.softplus(start + (steps + UNBOUND).cumsum(-1))
            v = torch.cat([v, risen], dim=-1)
        chains = v.permute(0, 2, 1, 3).flatten(2)[:, :, self.own]
        if self.boost is not None:
            lifts = self.boost(state).unflatten(-1, (n_bases, -1))
            if self.monotone:
                factor = 1 + functional.softplus(lifts) @ self.codes
            else:
                factor = functional.softplus((lifts - BOOST) @ self.codes + UNIT)
            chains = chains * factor.permute(0, 2, 1, 3).flatten(2)[:, :, self.earlier]
        weights = weight.permute(0, 2, 1)[:, :, self.prefix]
        if self.bases == ("identity",):
            return (weights * chains)[:, 0], state
        parts = [weights[:, i] * BASES[name](chains[:, i]) for i, name in enumerate(self.bases)]
        return torch.stack(parts).sum(0), state


class RewardNet(nn.Module):
    """The whole model: standardised features in, reward of every chain out; ``config`` says its shape."""

    mean: Tensor
    deviation: Tensor
    scale: Tensor

    def __init__(self, stages: Sequence[StageLayout], features: int, config: RewardConfig) -> None:
        super().__init__()
        self.recursive, hidden = config.recursive, config.hidden
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("deviation", torch.ones(features))
        self.register_buffer("scale", torch.ones(()))
        self.trunk = nn.Sequential(nn.Linear(features, 2 * hidden), nn.ReLU(), nn.Linear(2 * hidden, hidden), nn.ReLU())
        self.stages = nn.ModuleList(StageUplift(stage, config) for stage in stages)

    def forward(self, features: Tensor) -> Tensor:
        """Features, float32 ``[B, F]``, to rewards in expected clicks, float32 ``[B, J]``."""
        context = self.trunk((features - self.mean) / self.deviation).unsqueeze(1)
        state = torch.zeros_like(context)
        total = torch.zeros((), dtype=features.dtype)
        for stage in self.stages:
            uplift, following = stage(state, context.expand(-1, state.shape[1], -1))
            total = total + uplift
            state = following if self.recursive else torch.zeros_like(following)
        return total * self.scale

    @property
    def uplifts(self) -> list[StageUplift]:
        """The stages' modules, in order."""
        return [stage for stage in self.stages if isinstance(stage, StageUplift)]

    def evaluate(self, features: F32) -> F32:
        """:meth:`forward` on arrays, without gradients."""
        with torch.inference_mode():
            return np.asarray(self(torch.from_numpy(features)).numpy())

    @property
    def flops_per_request(self) -> int:
        """Multiply-adds of the linear layers, counted as two, for one request."""

        def products(module: nn.Module) -> int:
            return sum(layer.weight.numel() for layer in module.modules() if isinstance(layer, nn.Linear))

        stages = (len(s.models) * (products(s) + len(s.bases) * s.codes.numel()) for s in self.uplifts)
        return 2 * (products(self.trunk) + sum(stages))
