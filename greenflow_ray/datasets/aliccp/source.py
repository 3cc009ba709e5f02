"""Ali-CCP in its shapes: the raw files, lines with user and item side together, and tables as others cut them.

Such a table is a CSV with a header, a column a field, one (label-encoded) id a field and row: torch-rechub's cut
(``ali_ccp_{train,val,test}*.csv``, history fields as one id with its weight in ``D109_14`` …) and AITM's (no history).
What the raw files' lists held beyond one id a field is lost in them; AITM's id 0 stands for all that was rare.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from greenflow_ray.datasets.aliccp import raw
from greenflow_ray.datasets.aliccp.raw import Gathered
from greenflow_ray.datasets.assembly import Interactions
from greenflow_ray.datasets.reading import INT, REAL, Meter, header, rows
from greenflow_ray.datasets.schema import I64
from greenflow_ray.datasets.tokens import Column
from greenflow_ray.errors import DataError
from greenflow_ray.support.progress import Progress, silent

MISSING = (
    "no sample_skeleton_*.csv and no *ali_ccp*.csv with columns click, purchase, 101 and 205; give Ali-CCP's folder, "
    "or one of its files"
)
_INLINE = re.compile(rb"\d+,[01],[01],\d+(_\d+)?:\d+[,\r\n]")
_NEEDED = ("click", "purchase", "101", "205")
_SHAPE = "click,purchase,101,…,205,… in numbers"


def source_files(path: Path) -> list[Path]:
    """Files that decide what :func:`read` returns, raw files first; empty: no Ali-CCP in a shape we know."""
    raws = [file for pair in raw.pairs(path) for file in pair]
    return raws or ([path] if _is_inline(path) else _tables(path))


def read(path: Path, progress: Progress = silent) -> Interactions:
    """Read whichever shape ``path`` holds. Raises DataError naming file, line and cure."""
    if raw.pairs(path):
        return raw.read_raw(path, progress)
    return raw.read_inline(path, progress) if _is_inline(path) else _read_tables(path, progress)


def _is_inline(path: Path) -> bool:
    if not path.is_file() or path.suffix not in (".txt", ".csv"):
        return False
    with path.open("rb") as file:
        return _INLINE.match(file.read(200)) is not None


def _tables(path: Path) -> list[Path]:
    """CSV files of this shape in a folder, train before validation before test; a file may be named directly."""
    found = [path] if path.is_file() else sorted(path.glob("*ali_ccp*.csv"), key=_turn)
    return [file for file in found if file.suffix == ".csv" and set(_NEEDED) <= set(header(file))]


def _read_tables(path: Path, progress: Progress) -> Interactions:
    """Read such files as one set; labels must be encoded alike. Raises DataError naming file, line and cure."""
    files = _tables(path)
    meter = Meter(files, progress, f"data: reading {path.name}")
    gathered = Gathered()
    for file in files:
        held = header(file)
        names = map(_name, [*raw.USER_FIELDS.values(), *raw.ITEM_FIELDS.values()])
        wanted = dict.fromkeys([*_NEEDED, *(name for name in names if name in held)], INT)
        wanted |= {f"D{name}": REAL for name in map(_name, raw.HISTORY_FIELDS.values()) if f"D{name}" in held}
        start = 2
        for batch in rows(file, wanted, meter, shape=_SHAPE):
            _add(file, batch, start, gathered)
            start += batch.num_rows
    return gathered.interactions(path.stem)


def _add(path: Path, batch: Any, start: int, gathered: Gathered) -> None:
    click, purchase = (batch.column(name).to_numpy() for name in ("click", "purchase"))
    bad = np.flatnonzero((click & ~1) | (purchase & ~1))
    if len(bad):
        raise DataError(f"{path}: line {start + bad[0]}: click and purchase must be 0 or 1; mend the line")
    gathered.dropped[raw.IMPOSSIBLE] += int(np.count_nonzero((purchase == 1) & (click == 0)))
    batch = batch.filter(pa.array(click == 1))
    users, items = batch.column("101").to_numpy(), batch.column("205").to_numpy()
    for kind, ids in (("user", users), ("item", items)):
        fresh = gathered.new(kind, ids)
        columns = {name: _column(path, batch, _name(code), fresh) for name, code in raw.FIELDS[kind].items()}
        gathered.columns[kind].add(ids[fresh], columns)
    gathered.events(users, items)


def _column(path: Path, batch: Any, name: str, fresh: I64) -> Column:
    if name not in batch.schema.names:
        return Column(pa.array([], pa.int64()), np.zeros(len(fresh), dtype=np.int32))
    weights = None
    if f"D{name}" in batch.schema.names:
        weights = batch.column(f"D{name}").to_numpy()[fresh].astype(np.float32)
        if (weights < 0).any():
            raise DataError(f"{path}: column 'D{name}' holds a negative weight {weights.min():g}; mend it")
    return Column(batch.column(name).take(pa.array(fresh)), None, weights)


def _name(code: int) -> str:
    """``10914`` as the data's own name, ``109_14``."""
    return f"{code // 100}_{code % 100}" if code % 100 else str(code // 100)


def _turn(path: Path) -> tuple[int, str]:
    order = [word in path.name for word in ("train", "val", "test")]
    return (order.index(True) if any(order) else len(order)), path.name
