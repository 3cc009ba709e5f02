"""MovieLens in its formats: 100k, 1M and 10M, the newer CSV files, and pairs in Parquet; a rating counts as a click."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from greenflow_ray.datasets.assembly import Interactions
from greenflow_ray.datasets.formats import movielens_context as context
from greenflow_ray.datasets.reading import INT, Meter, columns, integers, rows
from greenflow_ray.errors import DataError
from greenflow_ray.support.progress import Progress, silent

Array = npt.NDArray[np.int64]

_PATTERNS = ("ratings.dat", "u.data", "ratings.csv", "ratings*.parquet", "*ratings*.dat")


@dataclass(frozen=True)
class _Layout:
    """How one format writes ratings, and what lies beside them."""

    shape: str
    delimiter: str
    wanted: tuple[str, str, str]
    names: tuple[str, ...] | None
    users: str | None = None
    movies: str | None = None


_LAYOUTS = {
    ".dat": _Layout(
        "user::item::rating::time",
        ":",
        ("user", "item", "time"),
        ("user", "", "item", " ", "rating", "  ", "time"),  # "::" is two delimiters with nothing between them
        "users.dat",
        "movies.dat",
    ),
    ".data": _Layout(
        "user<tab>item<tab>rating<tab>time",
        "\t",
        ("user", "item", "time"),
        ("user", "item", "rating", "time"),
        "u.user",
        "u.item",
    ),
    ".csv": _Layout(
        "userId,movieId,rating,timestamp", ",", ("userId", "movieId", "timestamp"), None, None, "movies.csv"
    ),
    ".parquet": _Layout("", "", ("", "", ""), None, "users.dat", "movies.dat"),
}


def ratings_file(path: Path) -> Path | None:
    """The ratings of a MovieLens folder: ratings.dat, u.data, ratings.csv, a pairs Parquet, or ``*ratings*.dat``.

    ``path`` may be a ratings file itself, whose neighbours then give the context. None if there is none.
    """
    if path.is_file():
        named = "ratings" in path.name and path.suffix in (".dat", ".parquet", ".csv")
        return path if named or path.name == "u.data" else None
    for pattern in _PATTERNS:
        found = sorted(p for p in path.glob(pattern) if p.is_file())
        if found:
            return found[0]
    return None


def source_files(path: Path) -> list[Path]:
    """Files that decide what :func:`read` returns."""
    ratings = ratings_file(path)
    if ratings is None:
        raise DataError(f"{path}: no {', '.join(_PATTERNS[:-1])} or {_PATTERNS[-1]}; give a MovieLens folder")
    layout = _LAYOUTS[ratings.suffix]
    beside = [ratings.parent / name for name in (layout.users, layout.movies) if name is not None]
    return [ratings] + [p for p in beside if p.is_file()]


def read(path: Path, progress: Progress = silent) -> Interactions:
    """Read a MovieLens folder or ratings file; the files about users and movies are optional.

    Raises DataError naming file, line and cure.
    """
    ratings, *beside = source_files(path)
    layout = _LAYOUTS[ratings.suffix]
    meter = Meter([ratings], progress, f"data: reading {ratings.name}")
    users, items, times = _pairs(ratings) if ratings.suffix == ".parquet" else _ratings(ratings, layout, meter)
    held = {file.name: file for file in beside}
    return Interactions(
        name=path.name if path.is_dir() else ratings.parent.name,
        users=users,
        items=items,
        times=times,
        user_tokens=context.users(held[layout.users]) if layout.users in held else {},
        item_tokens=context.movies(held[layout.movies]) if layout.movies in held else {},
        clock=1.0,
    )


def _ratings(path: Path, layout: _Layout, meter: Meter) -> tuple[Array, Array, Array]:
    wanted = dict.fromkeys(layout.wanted, INT)
    batches = rows(path, wanted, meter, shape=layout.shape, delimiter=layout.delimiter, names=layout.names)
    users, items, times = columns(batches, layout.wanted)
    return users, items, times


def _pairs(path: Path) -> tuple[Array, Array, None]:
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: not a readable Parquet file ({type(error).__name__}); download it again") from error
    found = {name.lower(): name for name in table.column_names}
    for wanted in ("userid", "movieid"):
        if wanted not in found:
            raise DataError(f"{path}: no column {wanted!r} among {table.column_names}; it needs userID and movieID")
    if table.num_rows == 0:
        raise DataError(f"{path}: empty; give a file with at least one rating")
    users, items = (integers(path, found[name], table.column(found[name])) for name in ("userid", "movieid"))
    return users, items, None
