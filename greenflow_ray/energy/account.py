"""The energy account: every interval's joules charged to deployments and chains, and turned into grams, exactly."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from greenflow_ray.config import EnergyConfig
from greenflow_ray.energy.attribution import MICRO, Attribution, check, share, split
from greenflow_ray.energy.carbon.intensity import CarbonIntensity
from greenflow_ray.energy.metering.meter import EnergyWindow
from greenflow_ray.errors import DataError

FORGET_AFTER = 720
"""Intervals without a word after which a node is no longer listed; its energy stays in the sums."""
_SHORTEST_S = 1e-3  # a shorter window has energy, but no watts


class _Node(BaseModel, extra="forbid"):
    """What is known of one node; ``waiting`` are CPU-seconds whose energy has not been told yet."""

    microjoules: int
    seconds: float
    missed: int
    missed_in_a_row: int
    label: str
    method: str
    problem: str | None
    waiting: dict[str, float]


_UNHEARD = _Node(
    microjoules=0, seconds=0.0, missed=0, missed_in_a_row=0, label="estimated", method="", problem=None, waiting={}
)


class _Grams(BaseModel, extra="forbid"):
    """gCO2e of one kind of intensity: of all energy, of the attributed part, and of all at stale intensities."""

    all: float = 0.0
    attributed: float = 0.0
    stale: float = 0.0


class _Sums(BaseModel, extra="forbid"):
    """All that an account knows and a saved one holds, energy in microjoules.

    ``methods`` says how it was found, ``grams`` is by the kind of intensity, of which ``kind`` is the latest;
    ``waiting_flops`` are those of chains whose energy has not been told yet.
    """

    deployments: Counter[str] = Counter()
    chains: Counter[str] = Counter()
    unattributed: int = 0
    idle: int = 0
    measured: int = 0
    methods: Counter[str] = Counter()
    grams: dict[str, _Grams] = {}
    kind: str | None = None
    without_intensity: int = 0
    intervals: int = 0
    node_seconds: float = 0.0
    nodes: dict[str, _Node] = {}
    waiting_flops: Counter[str] = Counter()


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
        self._sums = _Sums()
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
        self._sums.intervals += 1
        parts: list[Attribution] = []
        watts = attributed_watts = 0.0
        for name in sorted({*windows, *cpu_seconds, *self._sums.nodes}):
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
        self._sums.unattributed += rest
        self._charge_chains(attributed, flops_by_chain)
        self._charge_grams(attributed, attributed + rest, intensity)
        return attributed / MICRO

    def _charge(self, name: str, window: EnergyWindow | None, used: Mapping[str, float]) -> Attribution | None:
        """Share one node's window, or note why there is none."""
        node = self._sums.nodes.setdefault(name, _UNHEARD.model_copy())
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
            del self._sums.nodes[name]
        return None

    def _share(self, node: _Node, window: EnergyWindow, used: Mapping[str, float]) -> Attribution:
        both = _sum(node.waiting, used)
        # A meter that was started anew does not cover what waited. Clocks of processes and of the node differ a little.
        covered = math.fsum(both.values()) <= 1.05 * window.node_cpu_seconds
        part = share(window.joules, both if covered else used, window.node_cpu_seconds)
        node.waiting = {}
        sums = self._sums
        sums.deployments.update(part.microjoules)
        sums.methods[window.method] += part.total
        sums.measured += part.total if window.source == "measured" else 0
        sums.node_seconds += window.seconds
        node.microjoules += part.total
        node.seconds += window.seconds
        node.label, node.method = window.source, window.method
        node.missed_in_a_row = 0
        return part

    def _charge_chains(self, microjoules: int, flops: Mapping[str, int]) -> None:
        """Share the attributed energy among chains; FLOPs without energy wait for it."""
        sums = self._sums
        sums.waiting_flops.update(flops)
        charged = {chain: float(count) for chain, count in sums.waiting_flops.items() if count > 0}
        if microjoules == 0:
            return
        if charged:
            sums.chains.update(split(microjoules, charged).microjoules)
        else:
            sums.idle += microjoules
        sums.waiting_flops.clear()

    def _charge_grams(self, attributed: int, total: int, intensity: CarbonIntensity | None) -> None:
        if intensity is None:
            self._sums.without_intensity += total
            return
        self._sums.kind = intensity.kind
        grams = self._sums.grams.setdefault(intensity.kind, _Grams())
        grams.all += intensity.grams(total / MICRO)
        grams.attributed += intensity.grams(attributed / MICRO)
        grams.stale += intensity.grams(total / MICRO) if intensity.stale else 0.0

    @property
    def attributed_microjoules(self) -> int:
        """Of all deployments together."""
        return sum(self._sums.deployments.values())

    @property
    def total_microjoules(self) -> int:
        """Of all nodes: exactly attributed plus unattributed."""
        return self.attributed_microjoules + self._sums.unattributed

    def told(self) -> dict[str, Any]:
        """JSON-able, everything since the start and PUE included.

        ``grams`` is None before the first intensity; it is of the kind of intensity in ``grams_kind`` and of all energy
        but ``joules_without_intensity``, ``grams_attributed`` is serving's part of it, and ``grams_stale`` what of it
        rests on stale intensities. ``label`` is ``measured`` only if every joule was.
        """
        sums, total = self._sums, self.total_microjoules
        grams = sums.grams.get(sums.kind or "")
        return {
            "joules": total / MICRO,
            "joules_attributed": self.attributed_microjoules / MICRO,
            "joules_unattributed": sums.unattributed / MICRO,
            "joules_by_deployment": {name: value / MICRO for name, value in sorted(sums.deployments.items())},
            "joules_by_chain": {name: value / MICRO for name, value in sorted(sums.chains.items())},
            "joules_idle": sums.idle / MICRO,
            "joules_without_intensity": sums.without_intensity / MICRO,
            "grams": grams and grams.all,
            "grams_attributed": grams and grams.attributed,
            "grams_stale": grams and grams.stale,
            "grams_kind": sums.kind,
            "label": "measured" if 0 < total == sums.measured else "estimated",
            "measured_share": sums.measured / total if total else None,
            "methods": [method for method, _ in sums.methods.most_common()],
            "pue": self._pue,
            "watts": self._watts[0],
            "watts_attributed": self._watts[1],
            "intervals": sums.intervals,
            "node_seconds": sums.node_seconds,
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
                for name, node in sums.nodes.items()
            },
        }

    def state(self) -> dict[str, Any]:
        """What :meth:`restore` needs, JSON-able."""
        return self._sums.model_dump()

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up a saved account. Raises DataError if it is malformed; the account is then as before."""
        try:
            sums = _Sums.model_validate(dict(state))
        except ValidationError as error:
            raise DataError(f"energy account: malformed state ({error.errors()[0]['msg']}); start afresh") from error
        if missing := _Sums.model_fields.keys() - sums.model_fields_set:
            raise DataError(f"energy account: malformed state (without {', '.join(sorted(missing))}); start afresh")
        self._sums = sums


def _sum(a: Mapping[str, float], b: Mapping[str, float]) -> dict[str, float]:
    return {name: a.get(name, 0.0) + b.get(name, 0.0) for name in {**a, **b}}
