"""Arrays that take long to make, kept on disk and reused while what they were made from stays the same."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from greenflow_ray.support.files import whole


def kept(path: Path, key: str, make: Callable[[], dict[str, Any]]) -> dict[str, npt.NDArray[Any]]:
    """Arrays from ``path`` if they were kept under ``key``, else from ``make``, which are kept."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            if str(stored["key"]) == key:
                return {name: stored[name] for name in stored.files if name != "key"}
    except (OSError, ValueError, KeyError, EOFError, BadZipFile, zlib.error):
        pass  # absent, damaged or of other inputs: make it
    arrays = make()
    with whole(path) as part, part.open("wb") as file:  # numpy would add its ending to a name
        np.savez(file, key=np.array(key), **arrays)
    return arrays


def digest(*parts: str) -> str:
    """SHA-256 of texts, for a key."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
