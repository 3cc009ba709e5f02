"""Ali-CCP in its shapes: the raw files, lines with user and item side together, and label-encoded tables."""

from __future__ import annotations

import re
from pathlib import Path

from greenflow_ray.datasets.aliccp import raw, table
from greenflow_ray.datasets.assembly import Interactions
from greenflow_ray.support.progress import Progress, silent

MISSING = (
    "no sample_skeleton_*.csv and no *ali_ccp*.csv with columns click, purchase, 101 and 205; give Ali-CCP's folder, "
    "or one of its files"
)
_INLINE = re.compile(rb"\d+,[01],[01],\d+(_\d+)?:\d+[,\r\n]")


def source_files(path: Path) -> list[Path]:
    """Files that decide what :func:`read` returns, raw files first; empty: no Ali-CCP in a shape we know."""
    raws = [file for skeleton in raw.skeletons(path) for file in (skeleton, raw.common_file(skeleton))]
    return raws or ([path] if _is_inline(path) else table.tables(path))


def read(path: Path, progress: Progress = silent) -> Interactions:
    """Read whichever shape ``path`` holds. Raises DataError naming file, line and cure."""
    if raw.skeletons(path):
        return raw.read_raw(path, progress)
    return raw.read_inline(path, progress) if _is_inline(path) else table.read(path, progress)


def _is_inline(path: Path) -> bool:
    if not path.is_file() or path.suffix not in (".txt", ".csv"):
        return False
    with path.open("rb") as file:
        return _INLINE.match(file.read(200)) is not None
