"""`greenflow prepare`: find out what the data is, bring it to the schema, keep it until source or settings change."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import ModuleType

from greenflow_ray.config import CascadeConfig
from greenflow_ray.datasets import storage, summary
from greenflow_ray.datasets.aliccp import source
from greenflow_ray.datasets.assembly import assemble
from greenflow_ray.datasets.formats import kuairand, movielens, sequences, synthetic, tables
from greenflow_ray.datasets.reading import Meter
from greenflow_ray.datasets.schema import Dataset, Split
from greenflow_ray.errors import DataError, InvalidInput
from greenflow_ray.support.progress import Progress, part, silent

_READERS: dict[str, ModuleType] = {
    "movielens": movielens,
    "aliccp": source,
    "kuairand": kuairand,
    "parquet": tables,
    "sequences": sequences,
}
"""In the order in which they are looked for. Each has ``source_files``, ``read``, and what to say where it is not."""

_CHECKED, _READ, _ASSEMBLED = 0.15, 0.75, 0.9  # shares of the whole at which a step is done


def detect(path: Path) -> str:
    """The format of a data folder or file by what it holds. Raises DataError: missing, empty, or none that we know."""
    if not path.exists():
        raise DataError(f"{path}: no such data folder; check data.path")
    if path.is_dir() and not any(path.iterdir()):
        raise DataError(f"{path}: the data folder is empty; give one with data in a known format")
    for name, reader in _READERS.items():
        if reader.source_files(path):
            return name
    raise DataError(
        f"{path}: unknown dataset format; expected MovieLens (ratings.dat, ratings.csv, u.data or ratings*.parquet), "
        "KuaiRand (log_standard_*.csv), Ali-CCP (sample_skeleton_*.csv), Parquet (interactions.parquet) or sequences "
        "(X.txt beside X_item2attributes.json)"
    )


def resolve(config: CascadeConfig) -> tuple[str, Path | None]:
    """Format and path to read; format ``synthetic`` has no path. Raises DataError."""
    data = config.data
    if data.format == "synthetic" or (data.format == "auto" and data.path is None):
        return "synthetic", None
    if data.path is None:
        raise DataError(f"data.format is {data.format!r} but data.path is not set; name the data folder")
    if data.format == "auto" or not data.path.exists():
        return detect(data.path), data.path
    return data.format, data.path


def source_digest(config: CascadeConfig, name: str, path: Path | None, progress: Progress) -> str:
    """Digest of all that decides the prepared set: source files' bytes, settings, seed, version of this code."""
    sha = hashlib.sha256(f"{storage.SCHEMA_VERSION} {name} {config.digest('data')} {config.data_seed}".encode())
    if path is not None:
        files = _READERS[name].source_files(path)
        if not files:
            raise DataError(f"{path}: {_READERS[name].MISSING}")
        meter = Meter(files, progress, f"data: checking {path}")
        for file in files:
            sha.update(f"{file.name} {storage.file_sha256(file, meter.add)}".encode())
    return sha.hexdigest()


def prepare(config: CascadeConfig, *, progress: Progress = silent) -> Dataset:
    """Prepare the set that ``config`` declares in ``config.paths.data``, or reuse it if nothing changed.

    An earlier set in that folder stays intact until the new one is complete. Raises DataError for bad input.
    """
    folder = config.paths.data
    name, path = resolve(config)
    digest = source_digest(config, name, path, part(progress, 0.0, _CHECKED))
    held = _held(folder, digest)
    if held is not None:
        progress(f"data: reused {held.name}", 1.0)
        return held
    source, truth = None, None
    if path is None:
        progress(f"data: drawing {config.data.users} users and {config.data.items} items", 0.1)
        dataset, clicks, truth = synthetic.generate(config.data, config.data_seed, digest)
    else:
        source = _READERS[name].read(path, part(progress, _CHECKED, _READ))
        progress(f"data: assembling {len(source.users):,} events", _READ)
        dataset, clicks = assemble(source, config.data, config.data_seed, digest)
        progress("data: writing", _ASSEMBLED)
    with storage.replacing(folder) as fresh:
        storage.write(fresh, dataset, clicks)
        if truth is not None:
            synthetic.save_truth(fresh, truth)
        summary.save(fresh, summary.summarise(source, dataset, clicks))
    progress(f"data: {dataset.name}, {len(dataset.users)} users, {len(dataset.catalog)} items", 1.0)
    return dataset


def _held(folder: Path, digest: str) -> Dataset | None:
    """The prepared set in ``folder`` if it is whole and its digest is ``digest``."""
    try:
        if storage.read_manifest(folder)["digest"] != digest:
            return None
        for split in Split:
            storage.load_clicks(folder, split)
        return storage.load(folder)
    except InvalidInput:
        return None
