"""Clicks matched to the samples they answer, for one partition of request ids: pure Arrow, no Ray."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from zlib import crc32

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from greenflow_ray.nearline.reading import vetting

SAMPLE_COLUMNS = (
    "time", "request_id", "context_key", "reward", "chain", "cost", "price", "price_version", "propensity",
    "sampling_rate",
)  # fmt: skip
CLICK_COLUMNS = ("time", "request_id", "item_id")
PART = "part"

_ROWS = pa.schema({
    PART: pa.int32(), "click": pa.bool_(), "time": pa.float64(), "request_id": pa.string(), "context_key": pa.int64(),
    "reward": pa.list_(pa.float32()), "chain": pa.int32(), "cost": pa.float64(), "price": pa.float64(),
    "price_version": pa.int64(), "propensity": pa.float32(), "sampling_rate": pa.float32(), "item_id": pa.int64(),
})  # fmt: skip
"""Samples and clicks in one table, as they travel to their partition; what a row has no value for is null."""


@dataclass(frozen=True)
class Counts:
    """What became of samples and clicks; see :class:`greenflow_ray.nearline.learning.dataset.Summary`."""

    samples: int = 0
    clicked: int = 0
    open: int = 0
    clicks: int = 0
    late_clicks: int = 0
    orphan_clicks: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))


def sample_rows(table: pa.Table, parts: int) -> pa.Table:
    """Samples (``SAMPLE_COLUMNS``) on their way to one of ``parts`` partitions."""
    table = table.set_column(
        table.schema.get_field_index("reward"), "reward", table["reward"].cast(_ROWS.field("reward").type)
    )
    return _rows(table, parts, click=False)


def click_rows(table: pa.Table, parts: int) -> pa.Table:
    """Clicks (``CLICK_COLUMNS``), each once, on their way to one of ``parts`` partitions."""
    return _rows(first_of(table, ("request_id", "item_id")), parts, click=True)


def match(rows: pa.Table, schema: pa.Schema, horizon_s: float, now: float) -> tuple[pa.Table, Counts]:
    """One partition's samples with their clicks, columns of ``schema`` (:func:`joined_schema`), and the counts.

    Of samples with the same request id the earliest counts; of clicks on the same item of one request too. A click
    belongs to its sample if it came at most ``horizon_s`` seconds after it; one that seems to come before it was timed
    by another machine's clock, and belongs. ``now``, Unix seconds, says whose horizon has passed.
    """
    is_click = rows["click"]
    samples = first_of(rows.filter(pc.invert(is_click)), ("request_id",))
    clicks = first_of(rows.filter(is_click), ("request_id", "item_id"))
    found = pc.index_in(clicks["request_id"], value_set=samples["request_id"].combine_chunks())
    owned = np.asarray(pc.is_valid(found))
    owner = np.asarray(pc.fill_null(found, 0), dtype=np.int64)
    at = np.asarray(samples["time"], dtype=np.float64)
    delay = np.zeros(len(owner))
    delay[owned] = np.asarray(clicks["time"], dtype=np.float64)[owned] - at[owner[owned]]
    joined = owned & (delay <= horizon_s)
    order = np.flatnonzero(joined)[np.argsort(owner[joined], kind="stable")]
    count = np.bincount(owner[joined], minlength=len(at)).astype(np.int32)
    offsets = np.concatenate([[0], np.cumsum(count)]).astype(np.int32)
    items = pa.ListArray.from_arrays(offsets, clicks["item_id"].combine_chunks().take(pa.array(order)))
    complete = now - at > horizon_s
    width = schema.field("reward").type.list_size
    reward = samples["reward"].combine_chunks()
    columns = {name: samples[name] for name in SAMPLE_COLUMNS}
    columns["reward"] = pa.FixedSizeListArray.from_arrays(reward.flatten(), width)
    columns |= {"clicks": pa.array(count), "items": items, "complete": pa.array(complete)}
    counts = Counts(
        samples=len(at),
        clicked=int(np.count_nonzero(count)),
        open=int(np.count_nonzero(~complete)),
        clicks=int(joined.sum()),
        late_clicks=int(np.count_nonzero(owned & ~joined)),
        orphan_clicks=int(np.count_nonzero(~owned)),
    )
    return pa.table(columns).cast(schema), counts


def joined_schema(chains: str, costs: Sequence[float], names: Sequence[str]) -> pa.Schema:
    """Columns and metadata of joined files: digest, FLOPs and names of the chains."""
    metadata = {
        vetting.META_SCHEMA: vetting.SCHEMA_VERSION,
        vetting.META_CHAINS: chains.encode(),
        vetting.META_COSTS: json.dumps(costs).encode(),
        vetting.META_NAMES: json.dumps(names).encode(),
    }
    reward = pa.list_(pa.field("item", pa.float32(), nullable=False), len(costs))
    fields = [pa.field(n, reward if n == "reward" else _ROWS.field(n).type, nullable=False) for n in SAMPLE_COLUMNS]
    return pa.schema(
        [
            *fields,
            pa.field("clicks", pa.int32(), nullable=False),
            pa.field("items", pa.list_(pa.field("item", pa.int64(), nullable=False)), nullable=False),
            pa.field("complete", pa.bool_(), nullable=False),
        ],
        metadata=metadata,
    )


def first_of(table: pa.Table, keys: Sequence[str]) -> pa.Table:
    """The earliest row (by ``time``) of each combination of ``keys``, sorted by them."""
    if len(table) < 2:
        return table
    order = pc.sort_indices(table, [(key, "ascending") for key in (*keys, "time")])
    table = table.take(order)
    new = np.zeros(len(table), dtype=np.bool_)
    new[0] = True
    for key in keys:
        column = table[key].combine_chunks()
        new[1:] |= np.asarray(pc.not_equal(column[1:], column[:-1]))
    return table.filter(pa.array(new))


def _rows(table: pa.Table, parts: int, *, click: bool) -> pa.Table:
    n = len(table)
    part = np.fromiter((crc32(i.encode()) % parts for i in table["request_id"].to_pylist()), np.int32, n)
    given = {PART: pa.array(part), "click": pa.array(np.full(n, click))}
    columns = [
        given[f.name]
        if f.name in given
        else table[f.name].cast(f.type)
        if f.name in table.column_names
        else pa.nulls(n, f.type)
        for f in _ROWS
    ]
    return pa.table(columns, schema=_ROWS)
