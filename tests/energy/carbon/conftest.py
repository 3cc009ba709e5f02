from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.energy.carbon_service import CarbonService, carbon_service


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[CarbonService]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with carbon_service() as found:
        yield found
