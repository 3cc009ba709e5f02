"""How many examples a property test draws: few in `make test`, all in `make test-all`."""

from __future__ import annotations

from hypothesis import settings


def many(number: int) -> int:
    """``number`` under Hypothesis's profile ``thorough``, otherwise a tenth of it but at least ten."""
    return number if settings.get_current_profile_name() == "thorough" else max(10, number // 10)
