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
MISSING = f"no X.txt beside an X{_SUFFIX}; give a folder of sequences, or the .txt file itself"


def source_files(path: Path) -> list[Path]:
    """``X.txt`` beside ``X_item2attributes.json`` in a folder, or ``X.txt`` itself, then the attributes if any."""
    texts = [p.with_name(p.name.removesuffix(_SUFFIX) + ".txt") for p in sorted(path.glob(f"*{_SUFFIX}"))]
    found = next((text for text in [path, *texts] if text.suffix == ".txt" and text.is_file()), None)
    return [] if found is None else [found] + [p for p in [found.with_name(found.stem + _SUFFIX)] if p.is_file()]


def read(path: Path, progress: Progress = silent) -> Interactions:
    """Read ordered sequences; attributes are optional. Raises DataError naming file, line and cure."""
    text, *rest = source_files(path)
    meter = Meter([text], progress, f"data: reading {text.name}")
    users: list[int] = []
    items: list[int] = []
    for number, line in lines(text, _SHAPE, meter):
        fields = line.split()
        if len(fields) < 2 or not all(f.isascii() and f.isdigit() for f in fields):
            found = line.strip()[:60]
            raise DataError(f"{text}: line {number}: expected {_SHAPE!r} in integers, found {found!r}; mend the line")
        user, *clicked = map(int, fields)
        users += [user] * len(clicked)
        items += clicked
    return Interactions(
        name=path.name if path.is_dir() else text.stem,
        users=np.array(users, dtype=np.int64),
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
