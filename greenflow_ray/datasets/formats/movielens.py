"""MovieLens in its formats: 100k, 1M and 10M, newer CSV files, pairs in Parquet; and what it knows of users and movies.

A rating counts as a click; the small files beside the ratings are read line by line and become tokens.
"""

from __future__ import annotations

import csv
import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from greenflow_ray.datasets.assembly import Interactions
from greenflow_ray.datasets.reading import INT, Meter, columns, empty, integers, lines, malformed, rows
from greenflow_ray.errors import DataError
from greenflow_ray.support.progress import Progress, silent

Array = npt.NDArray[np.int64]

GENRES = (
    "unknown",
    "Action",
    "Adventure",
    "Animation",
    "Children's",
    "Comedy",
    "Crime",
    "Documentary",
    "Drama",
    "Fantasy",
    "Film-Noir",
    "Horror",
    "Musical",
    "Mystery",
    "Romance",
    "Sci-Fi",
    "Thriller",
    "War",
    "Western",
)
"""The 19 flags of 100k's u.item, in order."""

AGES = (1, 18, 25, 35, 45, 50, 56)
"""First year of 1M's age groups; 100k's ages are put into them, so that both have the same tokens."""

_CSV = "movieId,title,genres"
_YEAR = re.compile(r"\((\d{4})\)\s*$")
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
        user_tokens=_users(held[layout.users]) if layout.users in held else {},
        item_tokens=_movies(held[layout.movies]) if layout.movies in held else {},
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


def _users(path: Path) -> dict[int, list[str]]:
    """Gender, age, occupation and the first digit of the zip code, which is a region of the United States."""
    out = {}
    if path.name == "u.user":
        for number, (user, age, gender, job, code) in _lines(path, 5, "|", "user|age|gender|occupation|zip"):
            if not _is_id(age):
                raise DataError(f"{path}: line {number}: age {age[:20]!r} is no number; mend the line")
            group = AGES[max(0, bisect_right(AGES, int(age)) - 1)]
            out[int(user)] = _person(gender, str(group), job, code)
    else:
        for _, (user, gender, age, job, code) in _lines(path, 5, "::", "user::gender::age::occupation::zip"):
            out[int(user)] = _person(gender, age, job, code)
    return out


def _movies(path: Path) -> dict[int, list[str]]:
    """Genres, and the decade of release."""
    if path.suffix == ".csv":
        return _movies_csv(path)
    out = {}
    if path.name == "u.item":
        shape = "movie|title (year)|date|video date|url|19 flags"
        for number, (movie, title, *rest) in _lines(path, 5 + len(GENRES), "|", shape):
            flags = rest[3:]
            if not set(flags) <= {"0", "1"}:
                raise DataError(f"{path}: line {number}: genre flags must be 0 or 1; mend the line")
            out[int(movie)] = _movie(title, [g for g, flag in zip(GENRES, flags, strict=True) if flag == "1"])
    else:
        for _, (movie, title, genres) in _lines(path, 3, "::", "movie::title (year)::genre|genre"):
            out[int(movie)] = _movie(title, genres.split("|"))
    return out


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _person(gender: str, age: str, job: str, code: str) -> list[str]:
    return [f"gender={gender}", f"age={age}", f"occupation={job}", f"region={code[:1]}"]


def _movie(title: str, genres: list[str]) -> list[str]:
    year = _YEAR.search(title)
    known = [genre for genre in dict.fromkeys(genres) if genre and genre != "(no genres listed)"]
    return [f"genre={genre}" for genre in known] + ([f"decade={year[1][:3]}0"] if year else [])


def _movies_csv(path: Path) -> dict[int, list[str]]:
    """``movieId,title,genres`` with a header; titles with commas are quoted."""
    out = {}
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        reader = csv.reader(file)
        header = next(reader, [])
        if header[:3] != _CSV.split(","):
            raise DataError(f"{path}: line 1: expected header {_CSV!r}, found {','.join(header)[:60]!r}")
        for row in reader:
            if not row:
                continue
            if len(row) != 3 or not _is_id(row[0]):
                raise malformed(path, reader.line_num, _CSV, ",".join(row))
            out[int(row[0])] = _movie(row[1], row[2].split("|"))
    if not out:
        raise empty(path, _CSV)
    return out


def _lines(path: Path, fields: int, delimiter: str, shape: str) -> Iterator[tuple[int, list[str]]]:
    """Number and fields of every line that is not blank."""
    for number, line in lines(path, shape, encoding="latin-1"):
        row = line.rstrip("\r\n").split(delimiter)
        if len(row) != fields or not _is_id(row[0]):
            raise malformed(path, number, shape, line)
        yield number, row
