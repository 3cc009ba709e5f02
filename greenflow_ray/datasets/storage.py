"""The prepared set on disk: Parquet tables and a manifest, written atomically, checked when read.

``manifest.json`` names schema version, seed, digest, vocabularies and the SHA-256 of the tables. Clicks lie in one
file a split; each carries the set's digest and the SHA-256 of its own content in its Parquet metadata, so that the
final users' clicks leave no trace in any other file.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from greenflow_ray.datasets.schema import Catalog, Clicks, Dataset, Split, Users
from greenflow_ray.errors import ArtifactError, DataError
from greenflow_ray.ragged import Ragged

SCHEMA_VERSION = 3  # version of the files' layout and of the code that fills them; part of every digest

MANIFEST = "manifest.json"
_TABLES = ("users.parquet", "items.parquet")
_ABOUT = ("name", "synthetic", "ordered", "seed", "digest")
_CURE = "run `greenflow prepare` again"


def file_sha256(path: Path, read: Callable[[int], None] = lambda _: None) -> str:
    """SHA-256 of a file's bytes, hexadecimal; ``read`` is told of bytes as they are read."""
    sha = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            sha.update(block)
            read(len(block))
    return sha.hexdigest()


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """Yield an empty folder that takes the place of ``folder`` on success and vanishes on failure."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        fresh.chmod(0o755)
        yield fresh
        old = fresh.with_name(fresh.name + "-old")
        if folder.exists():
            folder.rename(old)
        fresh.rename(folder)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def write(folder: Path, dataset: Dataset, clicks: Mapping[Split, Clicks]) -> None:
    """Write ``dataset`` and its held-out ``clicks`` into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    users, catalog = dataset.users, dataset.catalog
    columns = {"user_id": users.user_ids, "split": users.split, "tokens": _lists(users.tokens)}
    columns |= {"history": _lists(users.history), "since": users.since}
    if users.weights is not None:
        columns["weights"] = _lists(Ragged(users.weights, users.tokens.offsets))
    pq.write_table(pa.table(columns), folder / "users.parquet")
    columns = {"item_id": catalog.item_ids, "tokens": _lists(catalog.tokens), "popularity": catalog.popularity}
    pq.write_table(pa.table(columns), folder / "items.parquet")
    for split, held_out in clicks.items():
        meta = {"greenflow.digest": dataset.digest, "greenflow.sha256": _clicks_sha256(held_out)}
        table = pa.table({"user": held_out.users, "items": _lists(held_out.items)})
        pq.write_table(table.replace_schema_metadata(meta), folder / f"clicks-{split.name.lower()}.parquet")
    manifest = {
        "schema": SCHEMA_VERSION,
        **{name: getattr(dataset, name) for name in _ABOUT},
        "users": len(users),
        "items": len(catalog),
        "files": {name: file_sha256(folder / name) for name in _TABLES},
        "vocabulary": {"users": list(users.vocabulary), "items": list(catalog.vocabulary)},
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a prepared set. Raises DataError if there is none, ArtifactError if it is not ours."""
    path = Path(folder) / MANIFEST
    if not path.is_file():
        raise DataError(f"{folder}: no prepared data here ({MANIFEST} is missing); run `greenflow prepare` first")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        version = manifest["schema"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"{path}: not a manifest of prepared data ({type(error).__name__}); {_CURE}") from error
    if version != SCHEMA_VERSION:
        raise ArtifactError(f"{path}: schema {version}, this version reads {SCHEMA_VERSION}; {_CURE}")
    return dict(manifest)


def load(folder: Path) -> Dataset:
    """Read a set without any held-out click. Raises DataError if there is none, ArtifactError if it was altered."""
    folder = Path(folder)
    manifest = read_manifest(folder)
    for name in _TABLES:
        if not (folder / name).is_file() or file_sha256(folder / name) != manifest["files"].get(name):
            raise ArtifactError(f"{folder / name}: missing, or its SHA-256 differs from {MANIFEST}; {_CURE}")
    table = pq.read_table(folder / "users.parquet")
    vocabulary = manifest["vocabulary"]
    users = Users(
        _flat(table, "user_id", np.int64),
        _flat(table, "split", np.int8),
        _ragged(table, "tokens"),
        tuple(vocabulary["users"]),
        _ragged(table, "history"),
        _flat(table, "since", np.int64),
        _ragged(table, "weights", np.float32).values if "weights" in table.column_names else None,
    )
    table = pq.read_table(folder / "items.parquet")
    ids, popularity = _flat(table, "item_id", np.int64), _flat(table, "popularity", np.float32)
    catalog = Catalog(ids, _ragged(table, "tokens"), tuple(vocabulary["items"]), popularity)
    return Dataset(**{name: manifest[name] for name in _ABOUT}, catalog=catalog, users=users)


def load_clicks(folder: Path, split: Split) -> Clicks:
    """Held-out clicks of a split's users. Raises DataError if missing, ArtifactError if altered or another set's."""
    path = Path(folder) / f"clicks-{split.name.lower()}.parquet"
    digest = read_manifest(folder)["digest"]
    if not path.is_file():
        raise DataError(f"{path}: missing; {_CURE}")
    try:
        table = pq.read_table(path)
        meta = {k.decode(): v.decode() for k, v in (table.schema.metadata or {}).items()}
        clicks = Clicks(_flat(table, "user", np.int64), _ragged(table, "items"))
    except (pa.ArrowException, KeyError, ValueError) as error:
        raise ArtifactError(f"{path}: not a clicks file ({type(error).__name__}); {_CURE}") from error
    if meta.get("greenflow.digest") != digest:
        raise ArtifactError(f"{path}: belongs to another data set than {MANIFEST}; {_CURE}")
    if meta.get("greenflow.sha256") != _clicks_sha256(clicks):
        raise ArtifactError(f"{path}: its content does not match its SHA-256; {_CURE}")
    return clicks


def _clicks_sha256(clicks: Clicks) -> str:
    sha = hashlib.sha256()
    for array, dtype in ((clicks.users, "<i8"), (clicks.items.offsets, "<i8"), (clicks.items.values, "<i4")):
        sha.update(np.ascontiguousarray(array, dtype=dtype).tobytes())
    return sha.hexdigest()


def _lists(ragged: Ragged) -> Any:
    kind = pa.float32() if ragged.values.dtype.kind == "f" else pa.int32()
    return pa.ListArray.from_arrays(pa.array(ragged.offsets.astype(np.int32)), pa.array(ragged.values, kind))


def _flat(table: Any, name: str, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    return np.ascontiguousarray(table.column(name).to_numpy(), dtype=dtype)


def _ragged(table: Any, name: str, dtype: npt.DTypeLike = np.int32) -> Ragged:
    column = table.column(name).combine_chunks()
    lengths = column.value_lengths().to_numpy(zero_copy_only=False)
    return Ragged.from_lengths(np.ascontiguousarray(column.flatten().to_numpy(), dtype=dtype), lengths)
