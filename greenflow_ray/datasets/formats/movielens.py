"""MovieLens in its formats: 100k, 1M and 10M, newer CSV files, pairs in Parquet; and what it knows of users and movies.

A rating counts as a click; the small files beside the ratings are read line by line and become tokens.
"""

from __future__ import annotations

import csv
import re
from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from greenflow_ray.datasets.assembly import Interactions
from greenflow_ray.datasets.reading import INT, Meter, empty, integers, lines, malformed, rows
from greenflow_ray.datasets.schema import I64
from greenflow_ray.errors import DataError
from greenflow_ray.support.progress import Progress, silent

GENRES = (
    "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama", "Fantasy",
    "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western",
)  # fmt: skip
"""The 19 flags of 100k's u.item, in order."""

AGES = (1, 18, 25, 35, 45, 50, 56)
"""First year of 1M's age groups; 100k's ages are put into them, so that both have the same tokens."""

_CSV = "movieId,title,genres"
_PATTERNS = ("ratings.dat", "u.data", "ratings.csv", "ratings*.parquet", "*ratings*.dat")
MISSING = f"no {', '.join(_PATTERNS[:-1])} or {_PATTERNS[-1]}; give a MovieLens folder"


class _Layout(NamedTuple):
    """How one format writes ratings: a line's shape, its columns and delimiter, those wanted; and what lies beside."""

    shape: str
    delimiter: str
    names: tuple[str, ...] | None
    wanted: tuple[str, str, str]
    users: str
    movies: str


_OURS = ("user", "item", "time")
_COLONS = ("user", "", "item", " ", "rating", "  ", "time")  # "::" is two delimiters with nothing between them
_LAYOUTS = {
    ".dat": _Layout("user::item::rating::time", ":", _COLONS, _OURS, "users.dat", "movies.dat"),
    ".data": _Layout(
        "user<tab>item<tab>rating<tab>time", "\t", ("user", "item", "rating", "time"), _OURS, "u.user", "u.item"
    ),
    ".csv": _Layout("userId,movieId,rating,timestamp", ",", None, ("userId", "movieId", "timestamp"), "", "movies.csv"),
    ".parquet": _Layout("", "", None, ("", "", ""), "users.dat", "movies.dat"),
}


def source_files(path: Path) -> list[Path]:
    """The ratings of a folder, or those ``path`` itself is, then what lies beside them; empty: no MovieLens."""
    if path.is_file():
        named = "ratings" in path.name and path.suffix in (".dat", ".parquet", ".csv")
        found = [path] if named or path.name == "u.data" else []
    else:
        found = [p for pattern in _PATTERNS for p in sorted(path.glob(pattern)) if p.is_file()]
    if not found:
        return []
    layout = _LAYOUTS[found[0].suffix]
    return found[:1] + [p for name in (layout.users, layout.movies) if (p := found[0].parent / name).is_file()]


def read(path: Path, progress: Progress = silent) -> Interactions:
    """Read ratings, users and movies; the latter are optional. Raises DataError naming file, line and cure."""
    ratings, *beside = source_files(path)
    layout = _LAYOUTS[ratings.suffix]
    meter = Meter([ratings], progress, f"data: reading {ratings.name}")
    if ratings.suffix == ".parquet":
        users, items, times = _pairs(ratings)
    else:
        wanted = dict.fromkeys(layout.wanted, INT)
        batches = rows(ratings, wanted, meter, shape=layout.shape, delimiter=layout.delimiter, names=layout.names)
        table = pa.Table.from_batches(batches)
        users, items, times = (table[name].to_numpy() for name in layout.wanted)
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


def _pairs(path: Path) -> tuple[I64, I64, None]:
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
    grouped = path.suffix == ".dat"
    shape = "user::gender::age::occupation::zip" if grouped else "user|age|gender|occupation|zip"
    delimiter = "::" if grouped else "|"
    for number, row in _lines(path, 5, delimiter, shape):
        told = dict(zip(shape.split(delimiter), row, strict=True))
        told["region"] = told["zip"][:1]
        if not grouped:
            if not _is_id(told["age"]):
                raise DataError(f"{path}: line {number}: age {told['age'][:20]!r} is no number; mend the line")
            told["age"] = str(AGES[max(0, bisect_right(AGES, int(told["age"])) - 1)])
        out[int(told["user"])] = [f"{name}={told[name]}" for name in ("gender", "age", "occupation", "region")]
    return out


def _movies(path: Path) -> dict[int, list[str]]:
    """Genres, and the decade of release."""
    out = {}
    for movie, title, genres in _titles(path):
        year = re.search(r"\((\d{4})\)\s*$", title)
        known = [genre for genre in dict.fromkeys(genres) if genre and genre != "(no genres listed)"]
        out[int(movie)] = [f"genre={genre}" for genre in known] + ([f"decade={year[1][:3]}0"] if year else [])
    return out


def _titles(path: Path) -> Iterator[tuple[str, str, list[str]]]:
    """Movie, title and genres of every line."""
    if path.name == "u.item":
        shape = "movie|title (year)|date|video date|url|19 flags"
        for number, (movie, title, _, _, _, *flags) in _lines(path, 5 + len(GENRES), "|", shape):
            if not set(flags) <= {"0", "1"}:
                raise DataError(f"{path}: line {number}: genre flags must be 0 or 1; mend the line")
            yield movie, title, [genre for genre, flag in zip(GENRES, flags, strict=True) if flag == "1"]
    elif path.suffix == ".dat":
        for _, (movie, title, genres) in _lines(path, 3, "::", "movie::title (year)::genre|genre"):
            yield movie, title, genres.split("|")
    else:
        yield from _titles_csv(path)


def _titles_csv(path: Path) -> Iterator[tuple[str, str, list[str]]]:
    """Those of ``movieId,title,genres`` with a header; titles with commas are quoted."""
    some = False
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        reader = csv.reader(file)
        header = next(reader, [])
        if header[:3] != _CSV.split(","):
            raise DataError(f"{path}: line 1: expected header {_CSV!r}, found {','.join(header)[:60]!r}")
        for row in filter(None, reader):
            if len(row) != 3 or not _is_id(row[0]):
                raise malformed(path, reader.line_num, _CSV, ",".join(row))
            some = True
            yield row[0], row[1], row[2].split("|")
    if not some:
        raise empty(path, _CSV)


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _lines(path: Path, fields: int, delimiter: str, shape: str) -> Iterator[tuple[int, list[str]]]:
    """Number and fields of every line that is not blank."""
    for number, line in lines(path, shape, encoding="latin-1"):
        row = line.rstrip("\r\n").split(delimiter)
        if len(row) != fields or not _is_id(row[0]):
            raise malformed(path, number, shape, line)
        yield number, row
