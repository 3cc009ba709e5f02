"""MovieLens: ratings with or without times, users.dat and movies.dat; every rating counts as a click."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from greenflow_ray.datasets.assembly import Interactions
from greenflow_ray.errors import DataError

_YEAR = re.compile(r"\((\d{4})\)\s*$")


def ratings_file(path: Path) -> Path | None:
    """The ratings of a MovieLens folder: ratings.dat, else a pairs Parquet, else another ``*ratings*.dat``; or None.

    ``path`` may be a ratings file itself, whose neighbours users.dat and movies.dat then give the context.
    """
    if path.is_file():
        return path if "ratings" in path.name and path.suffix in (".dat", ".parquet") else None
    for pattern in ("ratings.dat", "ratings*.parquet", "*ratings*.dat"):
        found = sorted(p for p in path.glob(pattern) if p.is_file())
        if found:
            return found[0]
    return None


def source_files(path: Path) -> list[Path]:
    """Files that decide what :func:`read` returns."""
    ratings = ratings_file(path)
    if ratings is None:
        raise DataError(f"{path}: no ratings.dat, ratings*.parquet or *ratings*.dat; give a MovieLens folder")
    return [ratings] + [p for p in (ratings.parent / "users.dat", ratings.parent / "movies.dat") if p.is_file()]


def read(path: Path) -> Interactions:
    """Read a MovieLens folder or ratings file; movies.dat and users.dat are optional.

    Raises DataError naming file, line and cure.
    """
    ratings, *_ = source_files(path)
    users, items, times = _pairs(ratings) if ratings.suffix == ".parquet" else _ratings(ratings)
    return Interactions(
        name=path.name if path.is_dir() else ratings.parent.name,
        users=users,
        items=items,
        times=times,
        user_tokens=_users(ratings.parent / "users.dat"),
        item_tokens=_movies(ratings.parent / "movies.dat"),
    )


def _pairs(path: Path) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], None]:
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: not a readable Parquet file ({type(error).__name__}); download it again") from error
    found = {name.lower(): name for name in table.column_names}
    columns = []
    for wanted in ("userid", "movieid"):
        if wanted not in found:
            raise DataError(f"{path}: no column {wanted!r} among {table.column_names}; it needs userID and movieID")
        try:
            columns.append(table.column(found[wanted]).cast(pa.int64()).to_numpy())
        except (pa.ArrowException, ValueError) as error:
            raise DataError(f"{path}: column {found[wanted]!r} holds values that are not integers; mend it") from error
    if table.num_rows == 0:
        raise DataError(f"{path}: empty; give a file with at least one rating")
    return columns[0], columns[1], None


def _lines(path: Path, fields: int, shape: str) -> list[list[str]]:
    rows = []
    with path.open(encoding="latin-1") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            row = line.rstrip("\r\n").split("::")
            if len(row) != fields or not row[0].isdigit():
                raise DataError(
                    f"{path}: line {number}: expected {shape!r}, found {line.strip()[:60]!r}; mend the line"
                )
            rows.append(row)
    if not rows:
        raise DataError(f"{path}: empty; expected lines like {shape!r}")
    return rows


def _ratings(path: Path) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    shape = "user::item::rating::time"
    rows = _lines(path, 4, shape)
    try:
        table = np.array([[int(u), int(i), int(t)] for u, i, _, t in rows], dtype=np.int64)
    except (ValueError, OverflowError):
        for number, (_, item, _, time) in enumerate(rows, 1):
            if not (item.isdigit() and time.isdigit()):
                raise DataError(f"{path}: rating {number}: item and time must be integers as in {shape!r}") from None
        raise
    return table[:, 0], table[:, 1], table[:, 2]


def _users(path: Path) -> dict[int, list[str]]:
    """Gender, age, occupation and the first digit of the zip code, which is a region of the United States."""
    if not path.is_file():
        return {}
    return {
        int(user): [f"gender={gender}", f"age={age}", f"occupation={job}", f"region={code[:1]}"]
        for user, gender, age, job, code in _lines(path, 5, "user::gender::age::occupation::zip")
    }


def _movies(path: Path) -> dict[int, list[str]]:
    """Genres, and the decade of release."""
    if not path.is_file():
        return {}
    out = {}
    for movie, title, genres in _lines(path, 3, "movie::title (year)::genre|genre"):
        year = _YEAR.search(title)
        decade = [f"decade={year[1][:3]}0"] if year else []
        out[int(movie)] = [f"genre={genre}" for genre in dict.fromkeys(genres.split("|"))] + decade
    return out
