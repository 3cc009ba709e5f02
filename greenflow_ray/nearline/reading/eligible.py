"""Which files of the logs are read, vetted by their footers alone, which are set aside, and how long they are kept."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self, TypeVar

import numpy as np
import numpy.typing as npt

from greenflow_ray.config import CascadeConfig
from greenflow_ray.errors import DataError
from greenflow_ray.nearline.reading.vetting import FAULTS, BadFile, sample_footer

T = TypeVar("T")

MAX_BAD_SHARE = 0.05
"""Above this share of refused files nothing is made of the rest: something is wrong that a result must not hide."""
SLACK_S = 2.0
"""Clocks of two machines that share a folder may differ by this much."""
MAX_BYTES = 10 * 2**30
"""Each folder of the logs is held below this size, whatever the retention."""


@dataclass(frozen=True)
class Vetted:
    """Files that may be read, oldest first, and those that were refused."""

    files: tuple[Path, ...]
    bad: tuple[BadFile, ...]

    @property
    def seen(self) -> int:
        """All files that were looked at."""
        return len(self.files) + len(self.bad)

    def without(self, bad: Sequence[BadFile]) -> Self:
        """The same once ``bad`` of its files have turned out to be unreadable."""
        gone = {file.path for file in bad}
        return replace(self, files=tuple(f for f in self.files if f not in gone), bad=(*self.bad, *bad))

    def refuse_many(self, folder: Path, kind: str = "sample") -> None:
        """Raise DataError if more than ``MAX_BAD_SHARE`` of the files of ``folder`` are bad."""
        if len(self.bad) > MAX_BAD_SHARE * self.seen:
            first = self.bad[0]
            raise DataError(
                f"{folder}: {len(self.bad)} of {self.seen} {kind} files are bad (first: {first.path.name}: "
                f"{first.reason}); nothing published, nothing moved; remove them or find who writes them"
            )


@dataclass(frozen=True)
class Window(Vetted):
    """Sample files of one chain space.

    Attributes:
        costs: FLOPs of every chain, float64 ``[J]``.
        names: names of the chains; empty if the files do not carry them.
        chains: digest of the chain space the rows belong to.
        oldest: modification time of the oldest of ``files``, Unix seconds.
        other: files that belong to another chain space (an earlier configuration's); neither used nor bad.
    """

    costs: npt.NDArray[np.float64]
    names: tuple[str, ...]
    chains: str
    oldest: float
    other: int

    @property
    def seen(self) -> int:
        """All files of the window."""
        return super().seen + self.other


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
        with suppress(OSError):  # gone, or the folder is read-only: it stays in the window for longer
            os.utime(path, (modified - shift, modified - shift))
    return shift


def vetted(
    folder: Path, judge: Callable[[Path], T], since: float = float("-inf")
) -> tuple[list[tuple[Path, float, T]], list[BadFile]]:
    """Files modified after ``since``, oldest first: path, time and what ``judge`` says of it; and those it refuses."""
    good: list[tuple[Path, float, T]] = []
    bad: list[BadFile] = []
    for path, stat in listed(folder):
        if stat.st_mtime <= since:
            continue
        try:
            good.append((path, stat.st_mtime, judge(path)))
        except FileNotFoundError:
            continue
        except FAULTS as error:
            bad.append(BadFile.of(path, error))
    return good, bad


def look(folder: Path, since: float, columns: Sequence[str] = ("reward",)) -> Window:
    """Vet the files in ``folder`` modified after ``since`` (Unix seconds); they must have ``columns``.

    Only footers are read; no pickled metadata is ever interpreted. Rows of the newest file's chain space are used; a
    replica that was upgraded a moment ago makes older rows incomparable, not wrong.
    """
    good, bad = vetted(folder, lambda path: sample_footer(path, columns), since)
    if not good:
        return Window((), tuple(bad), np.empty(0), (), "", 0.0, 0)
    newest = good[-1][2]
    alike = [found for found in good if found[2].chains == newest.chains]
    mine = [(path, modified) for path, modified, footer in alike if footer.costs == newest.costs]
    reason = "costs of the chains are not those of the newest file of the same chain space"
    bad += [BadFile(path, reason) for path, _, footer in alike if footer.costs != newest.costs]
    files, other = tuple(path for path, _ in mine), len(good) - len(alike)
    return Window(files, tuple(bad), np.asarray(newest.costs), newest.names, newest.chains, mine[0][1], other)


def set_aside(bad: Sequence[BadFile], folder: Path) -> None:
    """Move refused files into ``folder/refused`` so that they are seen once."""
    refused = folder / "refused"
    for file in bad:
        with suppress(OSError):  # gone already, or the folder is read-only
            refused.mkdir(exist_ok=True)
            file.path.replace(refused / file.path.name)


def sweep(config: CascadeConfig, now: float) -> int:
    """Delete what is older than ``sampling.retention_s`` (never what the window still needs); returns files deleted."""
    before = now - max(config.sampling.retention_s, config.sampling.window_s)
    samples, feedback = config.paths.samples, config.paths.feedback
    folders = (samples, samples / "refused", feedback, feedback / "refused")
    return sum(retire(folder, before) for folder in folders)


def retire(folder: Path, before: float, max_bytes: int = MAX_BYTES) -> int:
    """Delete files not modified since ``before`` (Unix seconds), then the oldest until ``max_bytes`` are left.

    Halves of files that a writer left when it died go by age too. Returns how many went.
    """
    files = listed(folder)
    old = [path for path, stat in (*files, *listed(folder, ".*.partial")) if stat.st_mtime < before]
    left = [(path, stat.st_size) for path, stat in files if stat.st_mtime >= before]
    excess = sum(size for _, size in left) - max_bytes
    for path, size in left:
        if excess <= 0:
            break
        old.append(path)
        excess -= size
    for path in old:
        with suppress(OSError):  # gone already, or the folder is read-only
            path.unlink()
    return len(old)
