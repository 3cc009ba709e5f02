"""Ali-CCP's raw files, Alibaba's click and conversion logs, streamed in blocks.

``sample_skeleton_{train,test}.csv`` has a row an impression, ``common_features_{train,test}.csv`` the user's side,
one row shared by many impressions. Only impressions with a click become events; rows that claim a conversion without
click are dropped. There are no times. A user is an id of field 101; where it has several rows of common features, the
first one that a click refers to counts. Item features are taken from the item's first click; position and the crosses
of user and item (301, 508, 509, 702, 853) describe an impression, not the item, and are left out.

Several ids may share one field, so each field is a list; the fields of the user's history come with their weights,
unaltered. Ids share one space over item and history: category 206 and 109_14, shop 207 and 110_14, brand 216 and
127_14, intention 210 and 150_14.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa

from greenflow_ray.datasets.aliccp import parse
from greenflow_ray.datasets.assembly import Interactions
from greenflow_ray.datasets.reading import Meter
from greenflow_ray.datasets.schema import I64
from greenflow_ray.datasets.tokens import Column, TokenColumns
from greenflow_ray.errors import DataError
from greenflow_ray.support.progress import Progress, silent

USER, ITEM = 10100, 20500
ITEM_FIELDS = {"category": 20600, "shop": 20700, "brand": 21600, "intention": 21000}
HISTORY_FIELDS = {"category_history": 10914, "shop_history": 11014, "brand_history": 12714, "intention_history": 15014}
USER_FIELDS = {
    "gender": 12400, "age": 12500, "consumption": 12600, "consumption_2": 12700, "works": 12800, "geography": 12900,
    "group": 12200, "profile": 12100, **HISTORY_FIELDS,
}  # fmt: skip
FIELDS = {"user": USER_FIELDS, "item": ITEM_FIELDS}

SKELETON = "sample_id,click,conversion,common_feature_index,feature_num,feature_list"
COMMON = "common_feature_index,feature_num,feature_list"
INLINE = "sample_id,click,conversion,field:feature_id,…"

IMPOSSIBLE = "conversion without click"
_LOST = "click without common features"
_NAMELESS = "click without user or item"

_NONE = np.empty(0, dtype=np.int64)


class Gathered:
    """Clicks and tokens gathered so far; every user's and item's features are kept once."""

    def __init__(self) -> None:
        self.columns = {kind: TokenColumns(fields) for kind, fields in FIELDS.items()}
        self.users: list[I64] = []
        self.items: list[I64] = []
        self.dropped = dict.fromkeys((IMPOSSIBLE, _LOST, _NAMELESS), 0)
        self._known: dict[str, set[int]] = {"user": set(), "item": set()}

    def new(self, kind: str, ids: I64) -> I64:
        """Positions of the first appearance of every id that was not met before; −1 is no id."""
        distinct, first = np.unique(ids, return_index=True)
        known = self._known[kind]
        fresh = [p for i, p in zip(distinct.tolist(), first.tolist(), strict=True) if i not in known and i >= 0]
        known.update(ids[fresh].tolist())
        return np.sort(np.array(fresh, dtype=np.int64))

    def events(self, users: I64, items: I64) -> None:
        """Add clicks; those without user or item are dropped and counted."""
        good = (users >= 0) & (items >= 0)
        self.dropped[_NAMELESS] += int(np.count_nonzero(~good))
        self.users.append(users[good])
        self.items.append(items[good])

    def interactions(self, name: str) -> Interactions:
        """All of it."""
        return Interactions(
            name=name,
            users=np.concatenate([_NONE, *self.users]),
            items=np.concatenate([_NONE, *self.items]),
            times=None,
            user_tokens=self.columns["user"].finish(),
            item_tokens=self.columns["item"].finish(),
            dropped={reason: count for reason, count in self.dropped.items() if count},
            remarks=("impressions without click are no events and are not counted",),
        )


def pairs(path: Path) -> list[tuple[Path, Path]]:
    """Raw impressions of a folder, or the file named, with their common features, train before test; empty: none.

    Raises DataError if the common features are missing.
    """
    found = [path] if path.is_file() else sorted(path.glob("*.csv"), key=lambda p: ("train" not in p.name, p.name))
    out = []
    for skeleton in (file for file in found if file.name.startswith("sample_skeleton")):
        common = skeleton.with_name(skeleton.name.replace("sample_skeleton", "common_features", 1))
        if not common.is_file():
            raise DataError(f"{common}: missing; {skeleton.name} refers to it for the users' side: put it beside")
        out.append((skeleton, common))
    return out


def read_raw(path: Path, progress: Progress = silent) -> Interactions:
    """Stream the raw files. Memory grows with clicks, and with the users and items that have one, not with rows."""
    files = pairs(path)
    meter = Meter([file for pair in files for file in pair], progress, "data: reading Ali-CCP's raw files")
    gathered = Gathered()
    for skeleton, common in files:
        items, owners = _impressions(skeleton, gathered, meter)
        places = {key: place for place, key in enumerate(dict.fromkeys(owners))}
        users = _common(common, places, gathered, meter)[[places[key] for key in owners]]
        lost = users == -2
        if lost.all() and len(lost):
            raise DataError(
                f"{common}: holds no common_feature_index that the clicks of {skeleton.name} refer to; the two files "
                "do not belong together: download both again"
            )
        gathered.dropped[_LOST] += int(np.count_nonzero(lost))
        gathered.events(users[~lost], items[~lost])
    return gathered.interactions(path.name if path.is_dir() else path.parent.name)


def read_inline(path: Path, progress: Progress = silent) -> Interactions:
    """Read lines that hold user and item side together, ``sample_id,click,conversion,field:feature_id,…``."""
    meter = Meter([path], progress, f"data: reading {path.name}")
    gathered = Gathered()
    for lines in parse.read_lines(path, meter, 4, INLINE):
        chosen = clicked(path, lines, gathered)
        found = parse.features(path, lines, chosen, parse.INLINE)
        users, items = only(found, USER, len(chosen)), only(found, ITEM, len(chosen))
        keep(gathered, "user", users, found)
        keep(gathered, "item", items, found)
        gathered.events(users, items)
    return gathered.interactions(path.stem)


def clicked(path: Path, lines: parse.Lines, gathered: Gathered) -> I64:
    """Rows of a block that are clicks; counts those that are impossible."""
    click, conversion = parse.flags(path, lines, 1, "click"), parse.flags(path, lines, 2, "conversion")
    gathered.dropped[IMPOSSIBLE] += int(np.count_nonzero(conversion & ~click))
    return np.flatnonzero(click)


def only(found: parse.Features, field: int, count: int) -> I64:
    """Id of a field that has one a row (the first, if more), int64 ``[count]``; −1 where it is missing."""
    out = np.full(count, -1, dtype=np.int64)
    mine = np.flatnonzero(found.fields == field)[::-1]  # written last to first: the first stays
    out[found.rows[mine]] = found.ids[mine]
    return out


def keep(gathered: Gathered, kind: str, ids: I64, found: parse.Features) -> None:
    """Keep the features of users or items that were not met before; ``ids`` has one of every row of ``found``."""
    fresh = gathered.new(kind, ids)
    if not len(fresh):
        return
    place = np.full(len(ids), -1, dtype=np.int64)
    place[fresh] = np.arange(len(fresh))
    rows = place[found.rows]
    columns = {}
    for name, field in FIELDS[kind].items():
        mine = np.flatnonzero((found.fields == field) & (rows >= 0))
        weights = found.values[mine] if name in HISTORY_FIELDS else None
        columns[name] = Column(pa.array(found.ids[mine]), np.bincount(rows[mine], minlength=len(fresh)), weights)
    gathered.columns[kind].add(ids[fresh], columns)


def _impressions(path: Path, gathered: Gathered, meter: Meter) -> tuple[I64, list[bytes]]:
    """Item of every click, and the key of its common features."""
    items, owners = [_NONE], []
    for lines in parse.read_lines(path, meter, 6, SKELETON):
        chosen = clicked(path, lines, gathered)
        if not len(chosen):
            continue
        found = parse.features(path, lines, chosen, parse.RAW, 4)
        ids = only(found, ITEM, len(chosen))
        keep(gathered, "item", ids, found)
        items.append(ids)
        owners += lines.column(3, chosen)
    return np.concatenate(items), owners


def _common(path: Path, places: Mapping[bytes, int], gathered: Gathered, meter: Meter) -> I64:
    """User of every key at its place, −1 where the row names none, −2 where there is no row; keeps features."""
    users = np.full(len(places), -2, dtype=np.int64)
    for lines in parse.read_lines(path, meter, 3, COMMON):
        keys = lines.column(0, np.arange(len(lines.numbers)))
        mine = np.array([places.get(key, -1) for key in keys], dtype=np.int64)
        chosen = np.flatnonzero(mine >= 0)
        found = parse.features(path, lines, chosen, parse.RAW, 1)
        bad = np.flatnonzero((found.values < 0) & np.isin(found.fields, tuple(HISTORY_FIELDS.values())))
        if len(bad):
            line, weight = lines.numbers[chosen[found.rows[bad[0]]]], found.values[bad[0]]
            raise DataError(f"{path}: line {line}: weight {weight:g} is negative; mend the line")
        ids = only(found, USER, len(chosen))
        keep(gathered, "user", ids, found)
        users[mine[chosen]] = ids
    return users
