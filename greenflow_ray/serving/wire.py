"""What travels between replicas: ragged batches as flat arrays and offsets, one message a batch and hop.

Nothing here holds a Python object per item; arrays above about 100 KiB go through Ray's shared memory uncopied.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from greenflow_ray.pricing.control.pacing import Pace
from greenflow_ray.pricing.kernels.choice import PriceDirective
from greenflow_ray.ragged import Ragged


class Reason(IntEnum):
    """Why an answer is not the one that the prices would have bought; 0: it is. Stage ``k`` gone is ``STAGE + k``."""

    NONE = 0
    NO_PRICE = 1
    PRICE_EXPIRED = 2
    BUDGET_CAP = 3
    REWARD_NOT_FINITE = 4
    REWARD_UNAVAILABLE = 5
    ALLOCATOR_TIMEOUT = 6
    ALLOCATOR_UNAVAILABLE = 7
    DEADLINE = 8
    BUDGET_UNKNOWN = 9
    STAGE = 16


def reason_text(code: int, stages: tuple[str, ...]) -> str | None:
    """Short code of a receipt, e.g. ``ranking_unavailable``; None for an undegraded answer."""
    if code == Reason.NONE:
        return None
    if code >= Reason.STAGE:
        return stages[code - Reason.STAGE].replace("-", "_") + "_unavailable"
    return Reason(code).name.lower()


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU-seconds that one replica's process has used since it started, and its node; sent along with its replies."""

    deployment: str
    replica: str
    cpu_seconds: float
    node: str = ""


@dataclass(frozen=True, slots=True)
class AllocationBatch:
    """Requests that want a chain.

    Attributes:
        user_ids: int64 ``[B]``.
        hashes: well-mixed hash of every request id, uint64 ``[B]``.
        request_ids: for the sample log, ``[B]``.
        explain: also send back every chain's reward.
    """

    user_ids: npt.NDArray[np.int64]
    hashes: npt.NDArray[np.uint64]
    request_ids: tuple[str, ...]
    explain: bool = False


@dataclass(frozen=True, slots=True)
class Allocation:
    """The allocator's decision.

    Attributes:
        chains: index of every request's chain, int32 ``[B]``.
        prices: dual price that each request paid, reward per FLOP, float64 ``[B]``.
        version: of the frontier behind the prices; 0 if there is none.
        reasons: :class:`Reason` of every request, int16 ``[B]``.
        rewards: float32 ``[B, J]`` if asked for.
        seconds: the allocator's own time.
    """

    chains: npt.NDArray[np.int32]
    prices: npt.NDArray[np.float64]
    version: int
    reasons: npt.NDArray[np.int16]
    rewards: npt.NDArray[np.float32] | None
    seconds: float


@dataclass(frozen=True, slots=True)
class StageBatch:
    """Requests for one model instance of one stage.

    Attributes:
        user_ids: int64 ``[B]``.
        candidates: item indices to score, one row a request; None at the first stage, which takes them from the corpus.
        scale: first stage only: how many items of the corpus to score (the most popular ones if not all).
        keep: how many of the best to send back, int64 ``[B]``.
    """

    user_ids: npt.NDArray[np.int64]
    candidates: Ragged | None
    scale: int
    keep: npt.NDArray[np.int64]

    @property
    def items(self) -> int:
        """Items to score, over all requests."""
        return len(self.user_ids) * self.scale if self.candidates is None else len(self.candidates.values)


@dataclass(frozen=True, slots=True)
class StageReply:
    """The kept items, best first.

    Attributes:
        items: item indices, one row a request.
        scores: float32, aligned with ``items.values``.
        seconds: the stage's own time, without the hop.
        usage: of the replica that answered.
    """

    items: Ragged
    scores: npt.NDArray[np.float32]
    seconds: float
    usage: Usage


@dataclass(frozen=True, slots=True)
class Orders:
    """What the ledger tells every allocator.

    Attributes:
        policy: ``greenflow`` (argmax of reward − price · cost) or ``fixed``.
        fixed: of the other: indices of chains and, beside each, the share of requests up to and with it.
        directive: prices and who pays which.
        price: the one price to report, reward per FLOP.
        reason: why the directive is capped; :class:`Reason`, 0 if it is not.
        allowance: FLOPs that this allocator may commit to until its next orders are due, None: no limit.
        pace: how its spend should go on from these orders; with it a budget is held even if no more orders come.
    """

    policy: str
    fixed: tuple[tuple[int, ...], tuple[float, ...]]
    directive: PriceDirective
    price: float
    reason: int
    allowance: float | None
    pace: Pace | None = None


@dataclass(frozen=True, slots=True)
class Commitment:
    """What an allocator replica has decided since it started; cumulative, so that a lost message loses nothing.

    ``weight`` is the sum over its requests of the multipliers with which it paced their spend.
    """

    reporter: str
    requests: int
    weight: float
    flops: int
    own_flops: int
    samples: int
    samples_dropped: int
    usage: Usage


@dataclass(frozen=True, slots=True)
class Settlement:
    """What a gateway replica has answered since it started; cumulative.

    Attributes:
        flops: sum over the receipts, an exact integer.
        uncommitted_requests: requests of which no allocator is known to have decided.
        correction_flops: ``flops`` minus what allocators had committed for the same requests (may be negative).
        chains: answers by chain name.
        chain_flops: ``flops`` by chain name.
        reasons: degraded answers by reason.
        usages: latest word of every replica this gateway has heard from.
        hop_p99: 99th percentile of recent batches' wall-clock by hop, seconds.
    """

    reporter: str
    requests: int
    flops: int
    degraded: int
    uncommitted_requests: int
    correction_flops: int
    chains: dict[str, int]
    chain_flops: dict[str, int]
    reasons: dict[str, int]
    usages: tuple[Usage, ...]
    hop_p99: dict[str, float]


@dataclass(frozen=True, slots=True)
class StageRows:
    """Items best first and their scores, one row a request: what one stage hands to the next."""

    items: Ragged
    scores: npt.NDArray[np.float32]

    def take(self, rows: npt.NDArray[np.int64]) -> StageRows:
        """The given rows, in that order."""
        positions = self.items.positions(rows)
        lengths = self.items.lengths[rows]
        return StageRows(Ragged.from_lengths(self.items.values[positions], lengths), self.scores[positions])

    def part(self, first: int, end: int) -> StageRows:
        """Rows ``first`` up to ``end``, as views."""
        offsets = self.items.offsets[first : end + 1]
        inside = slice(int(offsets[0]), int(offsets[-1]))
        return StageRows(Ragged(self.items.values[inside], offsets - offsets[0]), self.scores[inside])

    def head(self, counts: npt.NDArray[np.int64]) -> StageRows:
        """The first ``counts``, int64 ``[rows]``, of every row."""
        lengths = np.minimum(self.items.lengths, counts)
        starts = self.items.offsets[:-1]
        shifts = np.cumsum(lengths) - lengths
        positions = np.arange(int(lengths.sum()), dtype=np.int64) + np.repeat(starts - shifts, lengths)
        return StageRows(Ragged.from_lengths(self.items.values[positions], lengths), self.scores[positions])


def joined(batches: list[StageBatch]) -> StageBatch:
    """Messages for one model instance end to end: all with candidates, or all of one scale without."""
    rows = [batch.candidates for batch in batches if batch.candidates is not None]
    candidates = None
    if rows:
        lengths = np.concatenate([part.lengths for part in rows])
        candidates = Ragged.from_lengths(np.concatenate([part.values for part in rows]), lengths)
    return StageBatch(
        np.concatenate([batch.user_ids for batch in batches]),
        candidates,
        batches[0].scale,
        np.concatenate([batch.keep for batch in batches]),
    )


def join(parts: list[Ragged], scores: list[npt.NDArray[np.float32]], order: npt.NDArray[np.int64]) -> StageRows:
    """Put rows of several replies end to end, then back into the batch's order; ``order[i]`` is the row of output i."""
    if len(parts) == 1:
        return StageRows(parts[0], scores[0])
    lengths = np.concatenate([part.lengths for part in parts])
    whole = Ragged.from_lengths(np.concatenate([part.values for part in parts]), lengths)
    positions = whole.positions(order)
    items = Ragged.from_lengths(whole.values[positions], lengths[order])
    return StageRows(items, np.concatenate(scores)[positions])
