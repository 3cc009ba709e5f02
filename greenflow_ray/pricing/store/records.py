"""What a price store holds: published frontiers with their prices, as checksummed bytes, and who may publish next."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from greenflow_ray.errors import CorruptRecord, PricingInputError
from greenflow_ray.pricing import inputs
from greenflow_ray.pricing.frontier import DIGEST, Frontier, sealed

_MAGIC = b"GFPR"
_LENGTHS = struct.Struct("<4sII")


@dataclass(frozen=True)
class PriceDraft:
    """To publish: a frontier, ``price`` (≥ 0) at the budget known now, ``requests`` behind it, free-form ``meta``."""

    frontier: Frontier
    price: float
    requests: float
    meta: Mapping[str, Any] = field(default_factory=dict)

    def check(self) -> None:
        """Raise PricingInputError unless everything is finite and the frontier holds requests."""
        self.frontier.check()
        if not self.frontier.requests > 0:
            raise PricingInputError("frontier: holds no requests; nothing to publish")
        inputs.number("price", self.price)
        inputs.number("requests", self.requests)


@dataclass(frozen=True)
class PriceRecord:
    """A published frontier. ``version`` ≥ 1 increases strictly; ``published_at`` is in Unix seconds."""

    version: int
    frontier: Frontier
    price: float
    requests: float
    published_at: float
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Lease:
    """Who may publish: ``owner``, until ``until`` (Unix seconds) unless renewed."""

    owner: str
    until: float


def encode(draft: PriceDraft, version: int, published_at: float) -> tuple[PriceRecord, bytes]:
    """Check a draft and write it out. Raises PricingInputError if it is not finite or ``meta`` is not JSON."""
    draft.check()
    fields: dict[str, Any] = {
        "version": version,
        "price": float(draft.price),
        "requests": float(draft.requests),
        "published_at": float(published_at),
        "meta": dict(draft.meta),
    }
    try:
        head = json.dumps(fields, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise PricingInputError(f"meta: not JSON ({error}); use strings, finite numbers, lists and mappings") from error
    frontier = draft.frontier.to_bytes()
    body = _LENGTHS.pack(_MAGIC, len(head), len(frontier)) + head + frontier
    return PriceRecord(frontier=draft.frontier, **fields), sealed(body)


def decode(version: int, blob: bytes | None) -> PriceRecord:
    """Read a record back. Raises CorruptRecord if it is missing, torn, altered, not finite or not ``version``."""
    if not isinstance(blob, bytes) or len(blob) < _LENGTHS.size + DIGEST:
        raise CorruptRecord(f"price record {version}: missing or torn; the last good one stays in force")
    body = blob[:-DIGEST]
    if sealed(body) != blob or body[:4] != _MAGIC:
        raise CorruptRecord(f"price record {version}: its checksum does not match; the last good one stays in force")
    _, head_size, _ = _LENGTHS.unpack_from(body)
    try:
        head = json.loads(body[_LENGTHS.size : _LENGTHS.size + head_size])
        frontier = Frontier.from_bytes(body[_LENGTHS.size + head_size :])
        price, requests, published_at = (float(head[name]) for name in ("price", "requests", "published_at"))
        record = PriceRecord(int(head["version"]), frontier, price, requests, published_at, head["meta"])
    except (ValueError, KeyError, TypeError, PricingInputError) as error:
        raise CorruptRecord(f"price record {version}: {error}; the last good one stays in force") from error
    if record.version != version or not math.isfinite(record.price):
        raise CorruptRecord(f"price record {version}: claims to be {record.version}; the last good one stays in force")
    return record


def good(found: Iterable[tuple[int, bytes | None]]) -> Iterator[PriceRecord]:
    """The records of versions and their bytes; corrupt ones are passed over."""
    for version, blob in found:
        with suppress(CorruptRecord):
            yield decode(version, blob)
