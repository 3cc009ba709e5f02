"""The energy account: every interval's joules charged to deployments and chains, and turned into grams, exactly."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from greenflow_ray.config import EnergyConfig
from greenflow_ray.energy.attribution import MICRO, Attribution, check, share, split
from greenflow_ray.energy.carbon.intensity import CarbonIntensity
from greenflow_ray.energy.metering.meter import EnergyWindow
from greenflow_ray.errors import DataError

FORGET_AFTER = 720
"""Intervals without a word after which a node is no longer listed; its energy stays in the sums."""
_SHORTEST_S = 1e-3  # a shorter window has energy, but no watts
_COUNTS = ("deployments", "chains", "waiting_flops", "methods")


@dataclass
class _Node:
    """What is known of one node; ``waiting`` are CPU-seconds whose energy has not been told yet."""

    microjoules: int
    seconds: float
    missed: int
    missed_in_a_row: int
    label: str
    method: str
    problem: str | None
    waiting: dict[str, float]


@dataclass
class _Grams:
    """gCO2e of one kind of intensity: of all energy, of the attributed part, and of all at stale intensities."""

    all: float = 0.0
    attributed: float = 0.0
    stale: float = 0.0


class EnergyAccount:
    """One for the cluster; not thread-safe. Sums are whole microjoules, so that the parts add up to the total exactly.

    A node's energy is shared by CPU-seconds: what its deployments used of the node's busy CPU-seconds is theirs, the
    rest is unattributed; an accelerator's energy is shared in the same way, as nobody counts its use by process. The
    attributed energy of an interval is then shared among chains by the FLOPs charged to them; what was used while no
    chain was charged anything stays apart (``idle``), so that chains and idle add up to the attributed part.

    A node whose window is missing is counted, and its CPU-seconds wait for the next window, which covers them too.
    """

    def __init__(self, config: EnergyConfig) -> None:
        self._pue = config.pue
        self._deployments: Counter[str] = Counter()
        self._chains: Counter[str] = Counter()
        self._unattributed = 0
        self._idle = 0
        self._measured = 0
        self._methods: dict[str, int] = {}
        self._grams: dict[str, _Grams] = {}
        self._kind: str | None = None
        self._without_intensity = 0
        self._intervals = 0
        self._node_seconds = 0.0
        self._nodes: dict[str, _Node] = {}
        self._waiting_flops: Counter[str] = Counter()
        self._watts = (0.0, 0.0)

    def observe(
        self,
        windows: Mapping[str, EnergyWindow],
        cpu_seconds: Mapping[str, Mapping[str, float]],
        flops_by_chain: Mapping[str, int],
        intensity: CarbonIntensity | None,
    ) -> float:
        """Charge one interval; returns the joules attributed to serving.

        Args:
            windows: by node, what it used; a node that was not heard is left out.
            cpu_seconds: by node and deployment, used in the interval.
            flops_by_chain: charged in the interval.
            intensity: of the grid in the interval; None: unknown, and no grams are counted.
        """
        self._intervals += 1
        parts: list[Attribution] = []
        watts = attributed_watts = 0.0
        for name in sorted({*windows, *cpu_seconds, *self._nodes}):
            part = self._charge(name, windows.get(name), cpu_seconds.get(name, {}))
            if part is None:
                continue
            parts.append(part)
            if (seconds := windows[name].seconds) >= _SHORTEST_S:
                watts += part.total / MICRO / seconds
                attributed_watts += part.attributed_joules / seconds
        self._watts = (watts, attributed_watts)
        attributed = sum(sum(part.microjoules.values()) for part in parts)
        rest = sum(part.unattributed for part in parts)
        self._unattributed += rest
        self._charge_chains(attributed, flops_by_chain)
        self._charge_grams(attributed, attributed + rest, intensity)
        return attributed / MICRO

    def _charge(self, name: str, window: EnergyWindow | None, used: Mapping[str, float]) -> Attribution | None:
        """Share one node's window, or note why there is none."""
        node = self._nodes.setdefault(name, _Node(0, 0.0, 0, 0, "estimated", "", None, {}))
        node.problem = None
        try:
            for deployment, seconds in used.items():
                check(deployment, seconds)
        except DataError as error:  # the energy was used all the same: it stays unattributed
            node.problem, used = str(error), {}
        if window is None:
            node.problem = node.problem or "not heard"
            node.waiting = _sum(node.waiting, used)
        else:
            try:
                return self._share(node, window, used)
            except DataError as error:
                node.problem = str(error)
        node.missed += 1
        node.missed_in_a_row += 1
        if node.missed_in_a_row > FORGET_AFTER and not any(used.values()):
            del self._nodes[name]
        return None

    def _share(self, node: _Node, window: EnergyWindow, used: Mapping[str, float]) -> Attribution:
        both = _sum(node.waiting, used)
        # A meter that was started anew does not cover what waited. Clocks of processes and of the node differ a little.
        covered = math.fsum(both.values()) <= 1.05 * window.node_cpu_seconds
        part = share(window.joules, both if covered else used, window.node_cpu_seconds)
        node.waiting = {}
        self._deployments.update(part.microjoules)
        self._methods[window.method] = self._methods.get(window.method, 0) + part.total
        self._measured += part.total if window.source == "measured" else 0
        self._node_seconds += window.seconds
        node.microjoules += part.total
        node.seconds += window.seconds
        node.label, node.method = window.source, window.method
        node.missed_in_a_row = 0
        return part

    def _charge_chains(self, microjoules: int, flops: Mapping[str, int]) -> None:
        """Share the attributed energy among chains; FLOPs without energy wait for it."""
        self._waiting_flops.update(flops)
        charged = {chain: float(count) for chain, count in self._waiting_flops.items() if count > 0}
        if microjoules == 0:
            return
        if charged:
            self._chains.update(split(microjoules, charged).microjoules)
        else:
            self._idle += microjoules
        self._waiting_flops.clear()

    def _charge_grams(self, attributed: int, total: int, intensity: CarbonIntensity | None) -> None:
        if intensity is None:
            self._without_intensity += total
            return
        self._kind = intensity.kind
        grams = self._grams.setdefault(intensity.kind, _Grams())
        grams.all += intensity.grams(total / MICRO)
        grams.attributed += intensity.grams(attributed / MICRO)
        grams.stale += intensity.grams(total / MICRO) if intensity.stale else 0.0

    @property
    def attributed_microjoules(self) -> int:
        """Of all deployments together."""
        return sum(self._deployments.values())

    @property
    def total_microjoules(self) -> int:
        """Of all nodes: exactly attributed plus unattributed."""
        return self.attributed_microjoules + self._unattributed

    def told(self) -> dict[str, Any]:
        """JSON-able, everything since the start and PUE included.

        ``grams`` is None before the first intensity; it is of the kind of intensity in ``grams_kind`` and of all energy
        but ``joules_without_intensity``, ``grams_attributed`` is serving's part of it, and ``grams_stale`` what of it
        rests on stale intensities. ``label`` is ``measured`` only if every joule was.
        """
        total = self.total_microjoules
        grams = self._grams.get(self._kind or "")
        return {
            "joules": total / MICRO,
            "joules_attributed": self.attributed_microjoules / MICRO,
            "joules_unattributed": self._unattributed / MICRO,
            "joules_by_deployment": {name: value / MICRO for name, value in sorted(self._deployments.items())},
            "joules_by_chain": {name: value / MICRO for name, value in sorted(self._chains.items())},
            "joules_idle": self._idle / MICRO,
            "joules_without_intensity": self._without_intensity / MICRO,
            "grams": grams and grams.all,
            "grams_attributed": grams and grams.attributed,
            "grams_stale": grams and grams.stale,
            "grams_kind": self._kind,
            "label": "measured" if 0 < total == self._measured else "estimated",
            "measured_share": self._measured / total if total else None,
            "methods": sorted(self._methods, key=lambda method: -self._methods[method]),
            "pue": self._pue,
            "watts": self._watts[0],
            "watts_attributed": self._watts[1],
            "intervals": self._intervals,
            "node_seconds": self._node_seconds,
            "nodes": {
                name: {
                    "heard": node.missed_in_a_row == 0,
                    "intervals_missed": node.missed,
                    "problem": node.problem,
                    "joules": node.microjoules / MICRO,
                    "seconds": node.seconds,
                    "label": node.label,
                    "method": node.method,
                }
                for name, node in self._nodes.items()
            },
        }

    def state(self) -> dict[str, Any]:
        """What :meth:`restore` needs, JSON-able."""
        return {
            "deployments": dict(self._deployments),
            "chains": dict(self._chains),
            "unattributed": self._unattributed,
            "idle": self._idle,
            "measured": self._measured,
            "methods": dict(self._methods),
            "grams": {kind: asdict(grams) for kind, grams in self._grams.items()},
            "kind": self._kind,
            "without_intensity": self._without_intensity,
            "intervals": self._intervals,
            "node_seconds": self._node_seconds,
            "nodes": {name: asdict(node) for name, node in self._nodes.items()},
            "waiting_flops": dict(self._waiting_flops),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up a saved account. Raises DataError if it is malformed; the account is then as before."""
        try:
            sums = [int(state[key]) for key in ("unattributed", "idle", "measured", "without_intensity", "intervals")]
            names = [{str(k): int(v) for k, v in state[key].items()} for key in _COUNTS]
            grams = {str(kind): _Grams(**value) for kind, value in state["grams"].items()}
            nodes = {str(name): _Node(**value) for name, value in state["nodes"].items()}
            kind, node_seconds = state["kind"], float(state["node_seconds"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(f"energy account: malformed state ({error!r}); start afresh") from error
        self._unattributed, self._idle, self._measured, self._without_intensity, self._intervals = sums
        self._deployments, self._chains, self._waiting_flops = (Counter(counts) for counts in names[:3])
        self._methods, self._grams, self._nodes, self._kind = names[3], grams, nodes, kind
        self._node_seconds = node_seconds


def _sum(a: Mapping[str, float], b: Mapping[str, float]) -> dict[str, float]:
    return {name: a.get(name, 0.0) + b.get(name, 0.0) for name in {**a, **b}}
