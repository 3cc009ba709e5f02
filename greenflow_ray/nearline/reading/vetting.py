"""Whether a file of the logs may be used: judged by its footer before anything interprets it, then by its pages."""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

SCHEMA_VERSION = b"1"
META_SCHEMA = b"greenflow.schema"
META_COSTS = b"greenflow.costs"
META_CHAINS = b"greenflow.chains_digest"
META_NAMES = b"greenflow.chain_names"

_END = b"PAR1"
_ARROW_SCHEMA = b"ARROW:schema"
_EXTENSION = b"ARROW:extension"
_STRING_FIELD = 0x18
"""Thrift's compact protocol: the next field, of type binary."""

FAULTS = (pa.ArrowException, OSError, ValueError, KeyError)
"""What reading a damaged or foreign file may raise."""


@dataclass(frozen=True)
class BadFile:
    """A file that could not be used, and why."""

    path: Path
    reason: str

    @classmethod
    def of(cls, path: Path, error: BaseException) -> BadFile:
        """The reason on one line."""
        return cls(path, " ".join(str(error).split())[:200] or type(error).__name__)


@dataclass(frozen=True)
class SampleFooter:
    """What a sample file says: digest of its chain space, FLOPs and names of the chains (it may carry no names)."""

    chains: str
    costs: tuple[float, ...]
    names: tuple[str, ...]


def sample_footer(path: Path, columns: Sequence[str] = ("reward",)) -> SampleFooter:
    """The footer of a file of samples that has ``columns``. Raises one of ``FAULTS`` if it is none."""
    refuse_extensions(path)
    with pq.ParquetFile(path) as file:
        meta = _metadata(file)
        costs = json.loads(meta.get(META_COSTS, b"null"))
        if not isinstance(costs, list) or not all(_positive(c) for c in costs):
            raise ValueError("its chains' costs are not a list of positive numbers")
        names = json.loads(meta.get(META_NAMES, b"[]"))
        if not isinstance(names, list) or len(names) not in (0, len(costs)):
            raise ValueError(f"names of {len(costs)} chains expected")
        kind = file.schema_arrow.field("reward").type
        if not (pa.types.is_fixed_size_list(kind) and kind.list_size == len(costs) and kind.value_type == pa.float32()):
            raise ValueError(f"column 'reward' is {kind}, expected {len(costs)} float32 a row")
        missing = [name for name in columns if name not in file.schema_arrow.names]
        if missing:
            raise ValueError(f"column {missing[0]!r} is missing")
        return SampleFooter(meta.get(META_CHAINS, b"").decode(), tuple(map(float, costs)), tuple(map(str, names)))


def plain_footer(path: Path, schema: pa.Schema) -> None:
    """Raise one of ``FAULTS`` unless the file has the columns of ``schema`` and its version."""
    refuse_extensions(path)
    with pq.ParquetFile(path) as file:
        _metadata(file)
        for field in schema:
            found = file.schema_arrow.field(field.name).type
            if found != field.type:
                raise ValueError(f"column {field.name!r} is {found}, expected {field.type}")


def refuse_extensions(path: Path) -> None:
    """Raise ValueError if the footer declares an Arrow extension type.

    Its metadata would be handed to whatever class is registered under its name as soon as the file is opened, and some
    of those unpickle it (CVE-2026-41486). No log of ours holds one, so the raw bytes alone decide.
    """
    footer = _raw_footer(path)
    at = footer.find(_ARROW_SCHEMA)
    while at >= 0:
        at += len(_ARROW_SCHEMA)
        try:
            message = base64.b64decode(_string(footer, at), validate=True)
        except (binascii.Error, IndexError) as error:
            raise ValueError(f"its Arrow schema cannot be read ({error})") from error
        if _EXTENSION in message:
            raise ValueError("it declares an Arrow extension type, whose metadata could run code")
        at = footer.find(_ARROW_SCHEMA, at)


def unreadable(files: Iterable[Path], columns: Sequence[str]) -> tuple[BadFile, ...]:
    """Those of ``files`` whose pages of ``columns`` cannot be read to the end, or which are gone."""
    bad: list[BadFile] = []
    for path in files:
        try:
            with pq.ParquetFile(path, page_checksum_verification=True) as file:
                rows = sum(batch.num_rows for batch in file.iter_batches(columns=list(columns)))
                if rows != file.metadata.num_rows:
                    raise ValueError(f"{rows} rows, its footer says {file.metadata.num_rows}")
        except FAULTS as error:
            bad.append(BadFile.of(path, error))
    return tuple(bad)


def _raw_footer(path: Path) -> bytes:
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - 8))
        tail = file.read(8)
        length = int.from_bytes(tail[:4], "little")
        if tail[4:] != _END or length + 12 > size:
            raise ValueError("not a whole Parquet file")
        file.seek(size - 8 - length)
        return file.read(length)


def _string(footer: bytes, at: int) -> bytes:
    """The string that follows at ``at`` in thrift's compact protocol. Raises IndexError or ValueError if none does."""
    if footer[at] != _STRING_FIELD:
        raise ValueError("its Arrow schema is not where it belongs")
    length = shift = 0
    while True:
        at += 1
        length |= (footer[at] & 0x7F) << shift
        shift += 7
        if footer[at] < 0x80:
            break
    found = footer[at + 1 : at + 1 + length]
    if len(found) < length:
        raise ValueError("its Arrow schema is cut off")
    return found


def _metadata(file: pq.ParquetFile) -> dict[bytes, bytes]:
    meta: dict[bytes, bytes] = file.metadata.metadata or {}
    if meta.get(META_SCHEMA) != SCHEMA_VERSION:
        found = meta.get(META_SCHEMA, b"none").decode(errors="replace")
        raise ValueError(f"schema version {found!r}, expected {SCHEMA_VERSION.decode()!r}")
    return meta


def _positive(value: object) -> bool:
    return isinstance(value, int | float) and value > 0 and math.isfinite(value)
