"""How long-running work tells its caller where it stands."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, float], None]
"""Called with a short message and the share done, from 0 to 1."""


def silent(message: str, share: float) -> None:
    """Report nothing."""
