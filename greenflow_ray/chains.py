"""The chain space: every way to serve a request (model instance and item scale, stage by stage) and its cost."""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from greenflow_ray.errors import ConfigError

__all__ = ["Chain", "ChainSpace", "Choice", "ModelCost", "Stage"]


@dataclass(frozen=True)
class ModelCost:
    """What one model instance costs: ``flops_per_item`` for each scored item, ``flops_per_request`` once a request.

    ``scales`` are those of its stage's item scales that it may score; empty: all.
    """

    name: str
    flops_per_item: int
    flops_per_request: int = 0
    scales: tuple[int, ...] = ()

    def cost(self, items: int) -> int:
        """FLOPs to score ``items`` candidates of one request."""
        return self.flops_per_request + self.flops_per_item * items


@dataclass(frozen=True)
class Stage:
    """One stage of the cascade: its pool of model instances and the item scales it may score."""

    name: str
    pool: tuple[ModelCost, ...]
    scales: tuple[int, ...]


@dataclass(frozen=True)
class Choice:
    """One stage's part of a chain: which model instance scores, and how many items."""

    model: str
    items: int


@dataclass(frozen=True)
class Chain:
    """An action chain ``((m_1, n_1), …, (m_K, n_K))`` and its cost in FLOPs (paper, section 4.1)."""

    choices: tuple[Choice, ...]
    flops: int

    @cached_property
    def name(self) -> str:
        """Readable and unique, e.g. ``dssm:2000>ydnn:400>din:80``."""
        return ">".join(f"{c.model}:{c.items}" for c in self.choices)


@dataclass(frozen=True)
class ChainSpace:
    """All chains of a cascade, in a fixed order: the cartesian product of pools and item scales.

    Chains in which a stage would score more items than the stage before scored are left out: they
    cannot be served. Costs are integers, so sums of them are exact.
    """

    stages: tuple[Stage, ...]
    chains: tuple[Chain, ...] = field(init=False)

    def __post_init__(self) -> None:
        for stage in self.stages:
            if not stage.pool or not stage.scales:
                raise ConfigError(f"stage {stage.name!r} has no model or no item scale; give it at least one of each")
            for model in stage.pool:
                if foreign := sorted(set(model.scales) - set(stage.scales)):
                    raise ConfigError(f"model {model.name!r}: scales: {foreign[0]} is none of stage {stage.name!r}'s")
        options = [
            [(Choice(m.name, n), m.cost(n)) for m in stage.pool for n in sorted(m.scales or stage.scales)]
            for stage in self.stages
        ]
        chains = tuple(
            Chain(tuple(choice for choice, _ in combo), sum(cost for _, cost in combo))
            for combo in itertools.product(*options)
            if all(a[0].items >= b[0].items for a, b in itertools.pairwise(combo))
        )
        if not chains:
            raise ConfigError(
                "no chain is possible: a later stage's smallest item scale exceeds an earlier stage's largest"
            )
        object.__setattr__(self, "chains", chains)

    def __len__(self) -> int:
        return len(self.chains)

    @cached_property
    def costs(self) -> npt.NDArray[np.float64]:
        """FLOPs of every chain, float64 ``[J]`` holding exact integers."""
        return np.array([c.flops for c in self.chains], dtype=np.float64)

    @cached_property
    def items(self) -> npt.NDArray[np.int32]:
        """Items scored by every chain in every stage, int32 ``[J, K]``."""
        return np.array([[c.items for c in chain.choices] for chain in self.chains], dtype=np.int32)

    @cached_property
    def models(self) -> npt.NDArray[np.int32]:
        """Index, in its stage's pool, of the model instance of every chain in every stage, int32 ``[J, K]``."""
        index = [{m.name: i for i, m in enumerate(stage.pool)} for stage in self.stages]
        rows = [[index[k][c.model] for k, c in enumerate(chain.choices)] for chain in self.chains]
        return np.array(rows, dtype=np.int32)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Name of every chain."""
        return tuple(chain.name for chain in self.chains)

    @cached_property
    def fullest(self) -> int:
        """Index of the dearest chain."""
        return int(np.argmax(self.costs))

    @cached_property
    def cheapest(self) -> int:
        """Index of the cheapest chain: the floor, which any request can always be given."""
        return int(np.argmin(self.costs))

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all names and costs: rows logged under one space are never read under another."""
        return hashlib.sha256("\n".join(f"{c.name} {c.flops}" for c in self.chains).encode()).hexdigest()

    def index(self, name: str) -> int:
        """Index of the chain called ``name``, ``"fullest"`` or ``"cheapest"``."""
        if name in ("fullest", "cheapest"):
            return self.fullest if name == "fullest" else self.cheapest
        try:
            return self.names.index(name)
        except ValueError:
            raise ConfigError(
                f"no chain is called {name!r}; use 'fullest', 'cheapest' or a name like {self.names[0]!r}"
            ) from None
