"""The ledger's two cumulative accounts: no message is counted twice, and none that is lost is missed.

Allocators report what they *committed* to when they chose chains, which drives the price and the hard cap; gateways
report what they *answered*, receipt by receipt, which is the total. Where a stage failed or the allocator was not heard
from, the gateway's account also says by how much the answers differ from the commitments.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import cache
from typing import Any

from greenflow_ray.serving.wire import Commitment, Settlement, Usage

LIVE_S = 3.0
"""An allocator not heard from for this long has no share of the allowance."""


@dataclass(frozen=True, slots=True)
class Spend:
    """What was committed, and corrected, within a while.

    Attributes:
        requests, flops: ≥ 0.
        weight: sum over the requests of the multipliers with which they were paced.
    """

    requests: int
    flops: int
    weight: float


class Reports:
    """What every replica has said; not thread-safe. ``clock`` for durations."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._commitments: dict[str, Commitment] = {}
        self._settlements: dict[str, Settlement] = {}
        self._heard: dict[str, float] = {}
        self._reported: set[str] = set()
        self._awaited: set[str] = set()
        self._usages: dict[str, Usage] = {}
        self._used: dict[str, float] = {}
        self._pending_requests = 0
        self._pending_weight = 0.0
        self._pending_flops = 0

    def commit(self, account: Commitment) -> None:
        """Take in an allocator's account. The same one twice changes nothing, nor does one that a later overtook."""
        self._reported.add(account.reporter)
        self._awaited.discard(account.reporter)
        known = self._commitments.get(account.reporter)
        if known is not None and account.requests < known.requests:
            return
        self._pending_requests += max(account.requests - (known.requests if known else 0), 0)
        self._pending_weight += max(account.weight - (known.weight if known else 0.0), 0.0)
        self._pending_flops += max(account.flops - (known.flops if known else 0), 0)
        self._commitments[account.reporter] = account
        self._heard[account.reporter] = self._clock()
        self._note(account.usage)

    def settle(self, account: Settlement) -> None:
        """Take in a gateway's account. The same one twice changes nothing, nor does one that a later overtook."""
        known = self._settlements.get(account.reporter)
        if known is not None and account.requests < known.requests:
            return
        self._pending_requests += account.uncommitted_requests - (known.uncommitted_requests if known else 0)
        self._pending_flops += account.correction_flops - (known.correction_flops if known else 0)
        self._settlements[account.reporter] = replace(account, usages=())
        for usage in account.usages:
            self._note(usage)

    def _note(self, usage: Usage) -> None:
        known = self._usages.get(usage.replica)
        if known is None or usage.cpu_seconds >= known.cpu_seconds:
            self._usages[usage.replica] = usage
            self._used[usage.replica] = self._clock()

    @property
    def live(self) -> set[str]:
        """Allocators heard from lately."""
        return {reporter for reporter, heard in self._heard.items() if self._clock() - heard <= LIVE_S}

    @property
    def complete(self) -> bool:
        """Whether every allocator that lives has reported since :meth:`take`, so that there is nothing to wait for."""
        return self.live <= self._reported

    @property
    def silent(self) -> bool:
        """Whether there are allocators, and none has reported since :meth:`take`."""
        return bool(self._commitments) and not self._reported

    @property
    def awaited(self) -> bool:
        """Whether an allocator of the life before :meth:`restore` is yet to say what it spent meanwhile."""
        return bool(self._awaited & self.live)

    def take(self) -> Spend:
        """What came in since the last time."""
        self._reported = set()
        requests, flops = max(self._pending_requests, 0), max(self._pending_flops, 0)
        # A correction that exceeds what was committed since is carried over, not lost.
        self._pending_requests -= requests
        self._pending_flops -= flops
        # Requests of which no allocator knows were not paced.
        weight, self._pending_weight = self._pending_weight if self._pending_weight else float(requests), 0.0
        return Spend(requests, flops, weight)

    def usages(self) -> list[Usage]:
        """Latest word of every replica."""
        return list(self._usages.values())

    def replicas(self) -> dict[str, int]:
        """Replicas heard from lately, by deployment."""
        now = self._clock()
        alive = (u.deployment for u in self._usages.values() if now - self._used[u.replica] <= LIVE_S)
        return dict(sorted(Counter(alive).items()))

    def chain_flops(self) -> Counter[str]:
        """FLOPs of the answers, by chain name."""
        flops: Counter[str] = Counter()
        for account in self._settlements.values():
            flops.update(account.chain_flops)
        return flops

    def told(self) -> dict[str, Any]:
        """The totals as ``GET /v1/stats`` shows them."""
        settled, committed = self._settlements.values(), self._commitments.values()
        chains: Counter[str] = Counter()
        reasons: Counter[str] = Counter()
        cpu: Counter[str] = Counter()
        p99: dict[str, float] = {}
        for account in settled:
            chains.update(account.chains)
            reasons.update(account.reasons)
            for hop, seconds in account.hop_p99.items():
                p99[hop] = max(p99.get(hop, 0.0), seconds)
        for usage in self._usages.values():
            cpu[usage.deployment] += usage.cpu_seconds  # type: ignore[assignment]
        return {
            "requests": sum(a.requests for a in settled),
            "flops": sum(a.flops for a in settled),
            "degraded": sum(a.degraded for a in settled),
            "reasons": dict(reasons),
            "chains": dict(chains),
            "committed": {
                "requests": sum(a.requests for a in committed),
                "flops": sum(a.flops for a in committed),
                "uncommitted_requests": sum(a.uncommitted_requests for a in settled),
                "correction_flops": sum(a.correction_flops for a in settled),
            },
            "allocator_flops": sum(a.own_flops for a in committed),
            "allocator_p99_seconds": p99.get("allocator"),
            "hop_p99_seconds": p99,
            "samples": {
                "written": sum(a.samples for a in committed),
                "dropped": sum(a.samples_dropped for a in committed),
            },
            "cpu_seconds": dict(cpu),
        }

    def state(self) -> dict[str, Any]:
        """What :meth:`restore` needs, JSON-able, FLOPs exact."""
        return {
            "commitments": [{**plain(a), "usage": plain(a.usage)} for a in self._commitments.values()],
            "settlements": [plain(a) for a in self._settlements.values()],
            "usages": [plain(u) for u in self._usages.values()],
            "pending": [self._pending_requests, self._pending_flops],
            "live": sorted(self.live),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take up an earlier life's state; replicas that lived then are taken to live now.

        Raises KeyError, TypeError and ValueError if it is malformed.
        """
        self._commitments = {
            a["reporter"]: Commitment(**{**a, "usage": Usage(**a["usage"])}) for a in state["commitments"]
        }
        self._settlements = {a["reporter"]: Settlement(**{**a, "usages": ()}) for a in state["settlements"]}
        self._usages = {u["replica"]: Usage(**u) for u in state["usages"]}
        self._pending_requests, self._pending_flops = (int(n) for n in state["pending"])
        self._awaited = {str(reporter) for reporter in state.get("live", ())}
        self._heard = dict.fromkeys(self._awaited, self._clock())
        self._used = dict.fromkeys(self._usages, self._clock())


@cache
def _names(kind: type[Any]) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))


def plain(record: Any) -> dict[str, Any]:
    """A dataclass's fields, not copied: ``asdict`` copies every value, every second."""
    return {name: getattr(record, name) for name in _names(record.__class__)}
