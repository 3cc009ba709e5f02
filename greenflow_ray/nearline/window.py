"""Which sample files a repricing reads: those of the window, vetted by their footers alone; bad ones are set aside."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

SCHEMA_VERSION = b"1"
META_SCHEMA = b"greenflow.schema"
META_COSTS = b"greenflow.costs"
META_CHAINS = b"greenflow.chains_digest"


@dataclass(frozen=True)
class BadFile:
    """A file that could not be used, and why."""

    path: Path
    reason: str


@dataclass(frozen=True)
class Window:
    """Sample files to aggregate.

    Attributes:
        files: vetted files of one chain space, oldest first.
        rows: rows in them.
        costs: FLOPs of every chain, float64 ``[J]``.
        chains: digest of the chain space the rows belong to.
        bad: files of the window that were refused.
        other: files of the window that belong to another chain space (an earlier configuration's); neither used
            nor bad.
    """

    files: tuple[Path, ...]
    rows: int
    costs: npt.NDArray[np.float64]
    chains: str
    bad: tuple[BadFile, ...]
    other: int

    @property
    def bad_share(self) -> float:
        """Refused files ÷ all files of the window."""
        seen = len(self.files) + len(self.bad) + self.other
        return len(self.bad) / seen if seen else 0.0


def look(folder: Path, since: float) -> Window:
    """Vet the files in ``folder`` modified after ``since`` (Unix seconds).

    Only footers are read, with pyarrow; no pickled metadata is ever interpreted. Rows of the newest file's chain space
    are used; a replica that was upgraded a moment ago makes older rows incomparable, not wrong.
    """
    found = sorted(
        (p for p in folder.glob("*.parquet") if p.stat().st_mtime > since),
        key=lambda p: (p.stat().st_mtime_ns, p.name),
    )
    good: list[tuple[Path, int, str, bytes]] = []
    bad: list[BadFile] = []
    for path in found:
        try:
            good.append((path, *_footer(path)))
        except (pa.ArrowException, OSError, ValueError, KeyError) as error:
            bad.append(BadFile(path, " ".join(str(error).split())[:200]))
    if not good:
        return Window((), 0, np.empty(0), "", tuple(bad), 0)
    chains, costs = good[-1][2], good[-1][3]
    mine = [(path, rows) for path, rows, digest, _ in good if digest == chains]
    return Window(
        tuple(path for path, _ in mine),
        sum(rows for _, rows in mine),
        np.asarray(json.loads(costs), dtype=np.float64),
        chains,
        tuple(bad),
        len(good) - len(mine),
    )


def _footer(path: Path) -> tuple[int, str, bytes]:
    """Rows, chain-space digest and costs of a file. Raises if it is not a sample file of this schema."""
    with pq.ParquetFile(path) as file:
        meta = file.metadata.metadata or {}
        if meta.get(META_SCHEMA) != SCHEMA_VERSION:
            raise ValueError(f"schema version {meta.get(META_SCHEMA, b'none').decode()!r}, expected '1'")
        costs = meta[META_COSTS]
        count = len(json.loads(costs))
        kind = file.schema_arrow.field("reward").type
        if not (pa.types.is_fixed_size_list(kind) and kind.list_size == count and kind.value_type == pa.float32()):
            raise ValueError(f"column 'reward' is {kind}, expected {count} float32 a row")
        return file.metadata.num_rows, meta[META_CHAINS].decode(), costs


def set_aside(bad: tuple[BadFile, ...], folder: Path) -> Counter[str]:
    """Move refused files into ``folder/refused`` so that they are seen once; returns a count for each reason."""
    reasons: Counter[str] = Counter()
    refused = folder / "refused"
    for file in bad:
        reasons[file.reason] += 1
        try:
            refused.mkdir(exist_ok=True)
            file.path.replace(refused / file.path.name)
        except OSError:
            pass  # gone already, or the folder is read-only: the count is what matters
    return reasons


def retire(folder: Path, before: float) -> int:
    """Delete sample files not modified since ``before`` (Unix seconds); returns how many."""
    old = [p for p in folder.glob("*.parquet") if p.stat().st_mtime < before]
    for path in old:
        path.unlink(missing_ok=True)
    return len(old)
