"""Ordered sequences, one line a user: ``user item item …``, oldest first, with item attributes in JSON beside it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from greenflow_ray.datasets.assembly import Interactions
from greenflow_ray.datasets.reading import Meter, lines
from greenflow_ray.errors import DataError
from greenflow_ray.support.progress import Progress, silent

_SUFFIX = "_item2attributes.json"
_SHAPE = "user item item …"


def sequence_file(path: Path) -> Path | None:
    """The sequences of a folder: ``X.txt`` beside ``X_item2attributes.json``; a ``.txt`` file may be named directly."""
    if path.is_file():
        return path if path.suffix == ".txt" else None
    for attributes in sorted(path.glob(f"*{_SUFFIX}")):
        text = attributes.with_name(attributes.name.removesuffix(_SUFFIX) + ".txt")
        if text.is_file():
            return text
    return None


def source_files(path: Path) -> list[Path]:
    """Files that decide what :func:`read` returns."""
    text = sequence_file(path)
    if text is None:
        raise DataError(f"{path}: no X.txt beside an X{_SUFFIX}; give a folder of sequences, or the .txt file itself")
    attributes = text.with_name(text.stem + _SUFFIX)
    return [text] + ([attributes] if attributes.is_file() else [])


def read(path: Path, progress: Progress = silent) -> Interactions:
    """Read ordered sequences; attributes are optional. Raises DataError naming file, line and cure."""
    text, *rest = source_files(path)
    meter = Meter([text], progress, f"data: reading {text.name}")
    users: list[int] = []
    lengths: list[int] = []
    items: list[int] = []
    for number, line in lines(text, _SHAPE, meter):
        fields = line.split()
        if len(fields) < 2 or not all(f.isascii() and f.isdigit() for f in fields):
            raise DataError(
                f"{text}: line {number}: expected {_SHAPE!r} in integers, found {line.strip()[:60]!r}; mend the line"
            )
        user, *clicked = map(int, fields)
        users.append(user)
        lengths.append(len(clicked))
        items += clicked
    return Interactions(
        name=path.name if path.is_dir() else text.stem,
        users=np.repeat(np.array(users, dtype=np.int64), lengths),
        items=np.array(items, dtype=np.int64),
        times=np.arange(len(items), dtype=np.int64),
        item_tokens=_attributes(rest[0]) if rest else {},
        remarks=("a line gives the order of clicks, not their times",),
    )


def _attributes(path: Path) -> dict[int, list[str]]:
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        return {int(item): [f"attribute={int(a)}" for a in dict.fromkeys(held)] for item, held in raw.items()}
    except (ValueError, AttributeError, TypeError) as error:
        raise DataError(f'{path}: expected JSON like {{"item": [attribute, …]}} ({type(error).__name__})') from error
