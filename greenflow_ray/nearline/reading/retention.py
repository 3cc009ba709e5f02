"""How long the logs are kept: samples, refused files and feedback go by age, and the oldest by total size."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from greenflow_ray.config import CascadeConfig
from greenflow_ray.nearline.reading.eligible import listed

MAX_BYTES = 10 * 2**30
"""Each folder of the logs is held below this size, whatever the retention."""


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
