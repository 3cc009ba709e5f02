"""Repricing on a period: one publication after another, and a period that fails is told and survived."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from greenflow_ray.nearline.repricing.job import reprice_job
from greenflow_ray.pricing.store.sqlite_store import SqlitePriceStore
from greenflow_ray.support.terminal import Terminal
from tests.nearline.repricing.test_once import damage_page, make_config, rows, write


@pytest.fixture(autouse=True)
def own_signals() -> object:
    """The job takes over SIGTERM, as it may in a process of its own."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


class Operator(Terminal):
    """Reads what the job reports, and mends the sample file."""

    def __init__(self, mend: Callable[[], object]) -> None:
        super().__init__(quiet=True)
        self.errors: list[str] = []
        self._mend = mend

    def error(self, text: str) -> None:
        self.errors.append(text)
        self._mend()


@pytest.mark.serve
def test_each_period_publishes_and_a_failed_one_keeps_the_price(tmp_path: Path) -> None:
    config = make_config(tmp_path)
    file = write(config, "only", rows(0))
    good = file.read_bytes()
    operator = Operator(lambda: file.write_bytes(good))
    periods = reprice_job(config, every=0.01, address=None, terminal=operator)
    try:
        assert (next(periods)["version"], next(periods)["version"]) == (1, 2)
        damage_page(file)
        assert next(periods)["version"] == 3
    finally:
        periods.close()
    (error,) = operator.errors
    assert "1 of 1 sample files are bad" in error
    with SqlitePriceStore(config.paths.prices) as store:
        latest = store.latest()
    assert latest is not None
    assert (latest.version, latest.requests) == (3, 200)
