"""What MovieLens knows of users and movies, as tokens: small files, read line by line."""

from __future__ import annotations

import csv
import re
from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path

from greenflow_ray.errors import DataError

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

_YEAR = re.compile(r"\((\d{4})\)\s*$")


def users(path: Path) -> dict[int, list[str]]:
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


def movies(path: Path) -> dict[int, list[str]]:
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
        if header[:3] != ["movieId", "title", "genres"]:
            raise DataError(f"{path}: line 1: expected header 'movieId,title,genres', found {','.join(header)[:60]!r}")
        for row in reader:
            if not row:
                continue
            if len(row) != 3 or not _is_id(row[0]):
                raise DataError(
                    f"{path}: line {reader.line_num}: expected 'movieId,title,genres', found {','.join(row)[:60]!r}; "
                    "mend the line"
                )
            out[int(row[0])] = _movie(row[1], row[2].split("|"))
    if not out:
        raise DataError(f"{path}: empty; expected lines like 'movieId,title,genres'")
    return out


def _lines(path: Path, fields: int, delimiter: str, shape: str) -> Iterator[tuple[int, list[str]]]:
    """Number and fields of every line that is not blank."""
    some = False
    with path.open(encoding="latin-1") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            row = line.rstrip("\r\n").split(delimiter)
            if len(row) != fields or not _is_id(row[0]):
                raise DataError(
                    f"{path}: line {number}: expected {shape!r}, found {line.strip()[:60]!r}; mend the line"
                )
            some = True
            yield number, row
    if not some:
        raise DataError(f"{path}: empty; expected lines like {shape!r}")
