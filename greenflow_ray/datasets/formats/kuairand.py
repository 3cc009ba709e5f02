"""KuaiRand (Pure, 1K, 27K): logs of a short-video application; an impression with ``is_click`` = 1 is an event.

``log_standard_*.csv`` hold what the application's own policies showed; ``log_random_*.csv`` hold videos that took their
place at random, which no cascade chose: they are left out, unless a random log is named as the path itself. A user's
exact counts of followers and days are left out beside their ranges, and ``video_features_statistic_*.csv`` entirely:
its averages over the whole month would tell of the clicks that are to be predicted. An author becomes a token where
at least two of the clicked videos are theirs; the others would say no more than the video's id.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from greenflow_ray.datasets.assembly import Interactions
from greenflow_ray.datasets.reading import INT, TEXT, Meter, header, rows
from greenflow_ray.datasets.schema import I64
from greenflow_ray.datasets.tokens import Column, TokenColumns, TokensById, strings
from greenflow_ray.support.progress import Progress, silent

LOG = {"user_id": INT, "video_id": INT, "time_ms": INT, "is_click": INT}
USER_FIELDS = (
    "user_active_degree", "is_lowactive_period", "is_live_streamer", "is_video_author", "follow_user_num_range",
    "fans_user_num_range", "friend_user_num_range", "register_days_range", *(f"onehot_feat{i}" for i in range(18)),
)  # fmt: skip
VIDEO_FIELDS = ("video_type", "upload_type", "music_type", "tag", "author_id")

MISSING = "no log_standard_*.csv; give KuaiRand's folder, or its data/ below"
_SHAPE = "user_id,video_id,…,time_ms,is_click,… in integers"


def _logs(path: Path) -> list[Path]:
    """The logs to read, oldest first by name: standard ones of a folder (or of its ``data``), or the file named."""
    if path.is_file():
        return [path] if path.name.startswith("log_") and path.suffix == ".csv" else []
    return sorted(path.glob("log_standard_*.csv")) or sorted(path.glob("data/log_standard_*.csv"))


def source_files(path: Path) -> list[Path]:
    """The logs, then the files about users and videos beside them; empty: no KuaiRand."""
    files = _logs(path)
    patterns = ("user_features_*.csv", "video_features_basic_*.csv") if files else ()
    return files + [file for pattern in patterns for file in sorted(files[0].parent.glob(pattern))]


def read(path: Path, progress: Progress = silent) -> Interactions:
    """Read logs and features; the latter are optional. Raises DataError naming file, line and cure."""
    files = source_files(path)
    meter = Meter(files, progress, f"data: reading {path.name}")
    shown: list[int] = []
    events = pa.Table.from_batches(_clicked(_logs(path), meter, shown))
    users, items, times = (events[name].to_numpy() for name in ("user_id", "video_id", "time_ms"))
    named = {of: [file for file in files if file.name.startswith(f"{of}_features")] for of in ("user", "video")}
    random = [] if path.is_file() else sorted(files[0].parent.glob("log_random_*.csv"))
    left_out = f"{len(random)} random log(s) left out: chance chose their videos; name one as the path to read it alone"
    return Interactions(
        name=path.name if path.is_dir() else path.stem,
        users=users,
        items=items,
        times=times,
        user_tokens=_features(named["user"], "user_id", USER_FIELDS, users, meter),
        item_tokens=_features(named["video"], "video_id", VIDEO_FIELDS, items, meter),
        dropped={"impression without click": sum(shown) - len(users)},
        remarks=(left_out,) if random else (),
        clock=1e-3,
    )


def _clicked(files: Sequence[Path], meter: Meter, shown: list[int]) -> Iterator[Any]:
    """Events in record batches; ``shown`` gets how many impressions each batch came from."""
    for file in files:
        for batch in rows(file, LOG, meter, shape=_SHAPE):
            shown.append(batch.num_rows)
            yield batch.filter(pc.equal(batch.column("is_click"), 1))


def _features(files: Sequence[Path], key: str, fields: Sequence[str], ids: I64, meter: Meter) -> TokensById:
    """Tokens of the users or videos that were met; a field that a file does not have is left out."""
    if not files or not len(ids):
        return TokenColumns(()).finish()
    known = set(header(files[0]))
    held = tuple(name for name in fields if name in known)
    met, gathered = np.unique(ids), TokenColumns(held)
    authors = _frequent_authors(files, met) if "author_id" in held else None
    given = np.zeros(len(met), dtype=np.bool_)
    for file in files:
        wanted = {key: INT, **dict.fromkeys(held, TEXT)}
        for batch in rows(file, wanted, meter, shape=f"{key},{','.join(held)[:60]}…", quoted=True):
            found = batch.column(key).to_numpy()
            places = np.searchsorted(met, found).clip(max=len(met) - 1)
            fresh = np.flatnonzero((met[places] == found) & ~given[places])
            fresh = fresh[np.unique(found[fresh], return_index=True)[1]]
            given[places[fresh]] = True
            batch = batch.take(pa.array(fresh))
            gathered.add(found[fresh], {name: _column(name, batch.column(name), authors) for name in held})
    return gathered.finish()


def _column(name: str, column: pa.Array, authors: pa.Array | None) -> Column:
    if name == "tag":  # "12,65"
        lists = pc.split_pattern(column, ",")
        one = strings(lists.flatten())
        assert one.lengths is not None
        owners = np.repeat(np.arange(len(column)), lists.value_lengths().to_numpy())
        return Column(one.values, np.bincount(owners[one.lengths], minlength=len(column)))
    # Missing values make some exports write whole numbers as "4.0".
    column = pc.replace_substring_regex(column, r"\.0$", "")
    if name == "author_id" and authors is not None:
        column = pc.if_else(pc.is_in(column, authors), column, "")
    return strings(column)


def _frequent_authors(files: Sequence[Path], met: I64) -> pa.Array:
    """Authors of at least two of the ``met`` videos, as text; reads the files once more."""
    authors = []
    quiet = Meter(files)
    for file in files:
        for batch in rows(file, {"video_id": INT, "author_id": TEXT}, quiet, shape="video_id,author_id,…", quoted=True):
            inside = np.isin(batch.column(0).to_numpy(), met)
            authors.append(pc.replace_substring_regex(batch.column(1).filter(pa.array(inside)), r"\.0$", ""))
    held = pc.value_counts(pa.chunked_array(authors, TEXT))
    return held.field("values").filter(pc.greater(held.field("counts"), 1))
