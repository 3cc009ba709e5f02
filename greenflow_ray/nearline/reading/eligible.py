"""Which sample files a repricing reads: those of the window, vetted by their footers alone; bad ones are set aside."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from greenflow_ray.errors import DataError
from greenflow_ray.nearline.reading.vetting import FAULTS, BadFile, SampleFooter, sample_footer

MAX_BAD_SHARE = 0.05
"""Above this share of refused files nothing is made of the rest: something is wrong that a result must not hide."""
SLACK_S = 2.0
"""Clocks of two machines that share a folder may differ by this much."""


@dataclass(frozen=True)
class Window:
    """Sample files to aggregate.

    Attributes:
        files: vetted files of one chain space, oldest first.
        rows: rows in them by their footers, before any was found to be unreadable.
        costs: FLOPs of every chain, float64 ``[J]``.
        names: names of the chains; empty if the files do not carry them.
        chains: digest of the chain space the rows belong to.
        oldest: modification time of the oldest of ``files``, Unix seconds.
        bad: files of the window that were refused.
        other: files of the window that belong to another chain space (an earlier configuration's); neither used
            nor bad.
    """

    files: tuple[Path, ...]
    rows: int
    costs: npt.NDArray[np.float64]
    names: tuple[str, ...]
    chains: str
    oldest: float
    bad: tuple[BadFile, ...]
    other: int

    @property
    def seen(self) -> int:
        """All files of the window."""
        return len(self.files) + len(self.bad) + self.other

    def without(self, bad: Sequence[BadFile]) -> Window:
        """The same window once ``bad`` of its files have turned out to be unreadable."""
        gone = {file.path for file in bad}
        return replace(self, files=tuple(f for f in self.files if f not in gone), bad=(*self.bad, *bad))


def refuse_many(bad: Sequence[BadFile], seen: int, folder: Path, kind: str = "sample") -> None:
    """Raise DataError if more than ``MAX_BAD_SHARE`` of the ``seen`` files of ``folder`` are ``bad``."""
    if len(bad) > MAX_BAD_SHARE * seen:
        raise DataError(
            f"{folder}: {len(bad)} of {seen} {kind} files are bad (first: {bad[0].path.name}: {bad[0].reason}); "
            "nothing published, nothing moved; remove them or find who writes them"
        )


def listed(folder: Path, pattern: str = "*.parquet") -> list[tuple[Path, os.stat_result]]:
    """Files of ``folder``, oldest first; one that vanishes meanwhile is left out."""
    found = []
    for path in folder.glob(pattern):
        try:
            found.append((path, path.stat()))
        except FileNotFoundError:
            continue
    return sorted(found, key=lambda f: (f[1].st_mtime_ns, f[0].name))


def restamp(folder: Path, now: float) -> float:
    """Move the files that are newer than ``now`` back together, so that the newest of them is of now.

    After the clock was set back, the files written before lie in the future: unmoved they would stay in every window
    until the clock has caught up, beside those written since. Returns by how many seconds they were moved.
    """
    ahead = [(path, stat.st_mtime) for path, stat in listed(folder) if stat.st_mtime > now + SLACK_S]
    if not ahead:
        return 0.0
    shift = ahead[-1][1] - now
    for path, modified in ahead:
        try:
            os.utime(path, (modified - shift, modified - shift))
        except OSError:
            continue  # gone, or the folder is read-only: it stays in the window for longer
    return shift


def look(folder: Path, since: float, columns: Sequence[str] = ("reward",)) -> Window:
    """Vet the files in ``folder`` modified after ``since`` (Unix seconds); they must have ``columns``.

    Only footers are read; no pickled metadata is ever interpreted. Rows of the newest file's chain space are used; a
    replica that was upgraded a moment ago makes older rows incomparable, not wrong.
    """
    good: list[tuple[Path, float, SampleFooter]] = []
    bad: list[BadFile] = []
    for path, stat in listed(folder):
        if stat.st_mtime <= since:
            continue
        try:
            good.append((path, stat.st_mtime, sample_footer(path, columns)))
        except FileNotFoundError:
            continue
        except FAULTS as error:
            bad.append(BadFile.of(path, error))
    if not good:
        return Window((), 0, np.empty(0), (), "", 0.0, tuple(bad), 0)
    newest = good[-1][2]
    mine = []
    for path, modified, footer in good:
        if footer.chains != newest.chains:
            continue
        if footer.costs == newest.costs:
            mine.append((path, modified, footer.rows))
        else:
            bad.append(BadFile(path, "costs of the chains are not those of the newest file of the same chain space"))
    return Window(
        tuple(path for path, _, _ in mine),
        sum(rows for _, _, rows in mine),
        np.asarray(newest.costs, dtype=np.float64),
        newest.names,
        newest.chains,
        mine[0][1],
        tuple(bad),
        sum(footer.chains != newest.chains for _, _, footer in good),
    )


def set_aside(bad: Sequence[BadFile], folder: Path) -> Counter[str]:
    """Move refused files into ``folder/refused`` so that they are seen once; returns a count for each reason."""
    reasons: Counter[str] = Counter()
    refused = folder / "refused"
    for file in bad:
        reasons[file.reason] += 1
        try:
            refused.mkdir(exist_ok=True)
            file.path.replace(refused / file.path.name)
        except OSError:
            pass  # gone already, or the folder is read-only: the count is what matters
    return reasons
