"""The energy side of the ledger's book, without Ray: whom joules are charged to, and what a budget in watts buys."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from greenflow_ray.config import EnergyConfig, Limits
from greenflow_ray.energy.account import EnergyAccount
from greenflow_ray.energy.carbon.intensity import CarbonIntensity
from greenflow_ray.energy.limits import DAY_S, Bound, binding
from greenflow_ray.energy.metering.meter import EnergyWindow
from greenflow_ray.energy.power import PowerModel
from greenflow_ray.serving.wire import Usage


class EnergyBook:
    """One per ledger; not thread-safe. It is told cumulative usages and FLOPs, and finds each window's by itself.

    Attributes:
        intensity: the grid's carbon intensity as last heard, None: not yet.
        watts: of serving in the last window, PUE included, None: not yet.
    """

    def __init__(self, config: EnergyConfig, core: float | None = None) -> None:
        """``core``: FLOP-equivalents of a CPU-second, where chains' costs are timed."""
        self._core = core
        self.intensity: CarbonIntensity | None = None
        self.watts: float | None = None
        self._account = EnergyAccount(config)
        self._power = PowerModel(config)
        self._cpu: dict[str, float] = {}
        self._flops: Counter[str] = Counter()
        self._day = 0
        self._today = 0.0

    def observe(
        self,
        windows: Mapping[str, EnergyWindow],
        usages: Iterable[Usage],
        flops: Mapping[str, int],
        intensity: CarbonIntensity | None,
        wall: float,
    ) -> None:
        """Charge what the nodes used since the last call.

        Args:
            windows: by node.
            usages: every replica's cumulative CPU-seconds.
            flops: cumulative FLOPs by chain.
            intensity: of the grid, None: unknown.
            wall: Unix seconds.
        """
        self.intensity = intensity
        spent: dict[str, Counter[str]] = {}
        for usage in usages:
            seconds = max(usage.cpu_seconds - self._cpu.get(usage.replica, 0.0), 0.0)
            self._cpu[usage.replica] = usage.cpu_seconds
            spent.setdefault(usage.node, Counter())[usage.deployment] += seconds  # type: ignore[assignment]
        done = Counter({chain: n - self._flops[chain] for chain, n in flops.items() if n > self._flops[chain]})
        self._flops = Counter(flops)
        joules = self._account.observe(windows, spent, done, intensity)
        seconds = max((window.seconds for window in windows.values()), default=0.0)
        if seconds > 0 and set(spent) <= set(windows):  # with a node missing, watts would belong to other FLOPs
            self.watts = joules / seconds
            self._power.learn(sum(done.values()) / seconds, self.watts, seconds)
        if int(wall // DAY_S) != self._day:
            self._day, self._today = int(wall // DAY_S), 0.0
        self._today += joules

    def bound(self, limits: Limits, wall: float) -> Bound:
        """The FLOP/s that the limits allow at ``wall``, Unix seconds, and which of them binds."""
        today = self._today if int(wall // DAY_S) == self._day else 0.0
        return binding(limits, self._power, self.intensity, today, wall, self._core)

    def told(self) -> dict[str, Any]:
        """JSON-able, for ``GET /v1/stats``."""
        return {**self._account.told(), "joules_attributed_today": self._today, "power_model": self._model()}

    def _model(self) -> dict[str, Any]:
        power = self._power
        return {"source": power.label, "fixed_watts": power.fixed, "joules_per_flop": power.per_flop}

    def state(self) -> dict[str, Any]:
        """What a restarted ledger needs, JSON-able."""
        return {
            "account": self._account.state(),
            "power": self._power.state(),
            "cpu": dict(self._cpu),
            "flops": dict(self._flops),
            "day": [self._day, self._today],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up what :meth:`state` said."""
        self._account.restore(state["account"])
        self._power.restore(state["power"])
        self._cpu, self._flops = dict(state["cpu"]), Counter(state["flops"])
        self._day, self._today = int(state["day"][0]), float(state["day"][1])
