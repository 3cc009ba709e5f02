from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import pytest

from greenflow_ray.config import CarbonConfig, EnergyConfig
from greenflow_ray.energy.carbon.intensity import CarbonIntensity, ConstantSource, Kind
from greenflow_ray.energy.carbon.last_known import PAUSE_S, LastKnown, source_for
from greenflow_ray.energy.carbon.services import UkGridSource, live_source
from greenflow_ray.errors import ConfigError
from tests.energy.carbon_service import HOUR, TOKEN, CarbonService, german, maps

FALLBACK = ConstantSource(369.0, "yearly average")


class Clock:
    def __init__(self, now: float = HOUR) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


BAD: list[tuple[Any, int, str]] = [
    (german(zone=TOKEN), 200, "another zone"),
    (german(emissionFactorType="direct"), 200, "life-cycle"),
    (german(carbonIntensity=None), 200, "carbonIntensity"),
    (german(carbonIntensity=float("nan")), 200, "no number"),
    (german(carbonIntensity=float("inf")), 200, "no number"),
    (german(carbonIntensity=-1), 200, "no number"),
    (german(carbonIntensity=TOKEN), 200, "no number"),
    (german(carbonIntensity=True), 200, "no number"),
    (german(carbonIntensity=302_000), 200, "no number"),
    (german(carbonIntensity=10**400), 200, "no number"),
    (german(datetime=TOKEN), 200, "ISO 8601"),
    (german(datetime=None), 200, "datetime"),
    ([german()], 200, "object"),
    (b"<html>captive portal</html>", 200, "JSON"),
    (b"[" * 60_000, 200, "JSON"),
    (b"\xff\xfe", 200, "JSON"),
    (b"x" * 70_000, 200, "bytes"),
    (b"", 200, "JSON"),
    (b'{"error":"Unauthorized"}', 401, "token_env"),
    (b"Forbidden", 403, "token_env"),
    (b'{"message":"No data"}', 404, "energy.carbon.zone"),
    (b"", 429, "refresh_s"),
    (b"", 500, "HTTP 500"),
    (b"", 302, "redirects"),
]


@pytest.mark.parametrize(("body", "status", "words"), BAD)
def test_bad_answers_leave_the_last_value_and_one_line_without_the_token(
    service: CarbonService, body: Any, status: int, words: str
) -> None:
    clock = Clock()
    kept = LastKnown(maps(service), 7200.0, clock, fallback=FALLBACK)
    service.answers(german())
    assert kept.refresh()
    good = kept.at(HOUR)
    service.answers(body, status, Location="http://127.0.0.1:9/elsewhere")
    assert not kept.refresh()
    assert kept.at(HOUR) == good
    assert kept.problem is not None
    assert words in kept.problem
    assert TOKEN not in kept.problem
    assert "\n" not in kept.problem
    clock.now += PAUSE_S
    service.answers(german(carbonIntensity=250))
    assert kept.refresh()
    assert (kept.at(HOUR).grams_per_kwh, kept.problem) == (250.0, None)


def test_before_any_value_the_fallback_answers_as_stale(service: CarbonService) -> None:
    kept = LastKnown(maps(service), 7200.0, Clock(), fallback=FALLBACK)
    found = kept.at(HOUR)
    assert (found.grams_per_kwh, found.stale, found.time, found.kind) == (369.0, True, HOUR, "average")
    assert found.source == "yearly average, until the live source answers for the first time"
    assert service.requests == []  # only refresh asks
    service.answers(german())
    assert kept.refresh()
    assert not kept.at(HOUR).stale


def test_an_old_value_is_given_but_flagged(service: CarbonService) -> None:
    clock = Clock()
    kept = LastKnown(maps(service), 7200.0, clock, fallback=FALLBACK)
    service.answers(german())
    kept.refresh()
    assert [kept.at(HOUR + s).stale for s in (0.0, 7200.0, 7201.0)] == [False, False, True]
    assert kept.at(HOUR + 7201.0).grams_per_kwh == 302.0
    assert kept.at(HOUR + 7201.0).time == HOUR


def test_a_value_of_the_future_or_older_than_the_known_one_is_not_taken(service: CarbonService) -> None:
    kept = LastKnown(maps(service), 7200.0, Clock(), fallback=FALLBACK)
    service.answers(german(datetime="2031-03-01T12:00:00Z"))
    assert not kept.refresh()
    assert "future" in str(kept.problem)
    later = LastKnown(maps(service), 7200.0, Clock(), fallback=FALLBACK)
    service.answers(german())
    later.refresh()
    service.answers(german(datetime="2026-03-01T11:00:00Z", carbonIntensity=1))
    assert later.refresh()
    assert later.at(HOUR).grams_per_kwh == 302.0


def test_pauses_double_and_end_with_the_first_success(service: CarbonService) -> None:
    clock = Clock()
    kept = LastKnown(maps(service), 7200.0, clock, fallback=FALLBACK)
    service.answers(b"", 500)
    asked = []
    for second in range(0, 250, 10):
        clock.now = HOUR + second
        before = len(service.requests)
        kept.refresh()
        if len(service.requests) > before:
            asked.append(second)
    assert asked == [0, 30, 90, 210]  # pauses of 30, 60, 120
    clock.now = HOUR + 450
    service.answers(german())
    assert kept.refresh()
    clock.now += 1
    assert kept.refresh()  # no pause is left


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_is_honoured(service: CarbonService, form: str) -> None:
    clock = Clock(datetime.now(UTC).timestamp())
    kept = LastKnown(maps(service), 7200.0, clock, fallback=FALLBACK)
    date = format_datetime(datetime.fromtimestamp(clock.now + 600, UTC), usegmt=True)
    service.answers(b"", 429, Retry_After="600" if form == "seconds" else date)
    kept.refresh()
    service.answers(german())
    clock.now += 590
    assert not kept.refresh()
    assert len(service.requests) == 1
    clock.now += 11
    assert kept.refresh()


@pytest.mark.parametrize("header", ["soon", "", "-5", "9" * 400])
def test_a_nonsensical_retry_after_still_lets_it_try_again(service: CarbonService, header: str) -> None:
    clock = Clock()
    kept = LastKnown(maps(service), 7200.0, clock, fallback=FALLBACK)
    service.answers(b"", 429, Retry_After=header)
    assert not kept.refresh()
    service.answers(german())
    clock.now += 86_400 + 1
    assert kept.refresh()


class Broken:
    """A source of somebody's own."""

    kind: Kind = "average"

    def __init__(self, outcome: Exception | CarbonIntensity) -> None:
        self.outcome = outcome

    def at(self, time: float) -> CarbonIntensity:
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


def test_whatever_a_source_raises_or_gives_is_held_off() -> None:
    good = CarbonIntensity(100.0, "mine", "average", HOUR)
    for outcome in (
        ValueError(f"auth-token: {TOKEN}"),
        replace(good, kind="marginal"),
        replace(good, grams_per_kwh=float("nan")),
        replace(good, grams_per_kwh=-1.0),
        replace(good, time=float("nan")),
    ):
        kept = LastKnown(Broken(outcome), 7200.0, Clock(), fallback=FALLBACK)
        assert not kept.refresh()
        assert kept.at(HOUR).grams_per_kwh == 369.0
        assert TOKEN not in str(kept.problem)


def test_a_fallback_of_another_kind_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"energy\.carbon\.kind.*never mixed"):
        LastKnown(UkGridSource(), 7200.0, fallback=ConstantSource(400.0, "given", "marginal"))


def test_configured_sources_come_wrapped(service: CarbonService, monkeypatch: pytest.MonkeyPatch) -> None:
    carbon = CarbonConfig(source="electricity-maps", zone="DE", url=service.url, token_env="MY_TOKEN")
    monkeypatch.delenv("MY_TOKEN", raising=False)
    with pytest.raises(ConfigError, match=r"energy\.carbon\.token_env.*MY_TOKEN"):
        source_for(EnergyConfig(carbon=carbon))
    monkeypatch.setenv("MY_TOKEN", f"{TOKEN}\n")
    service.answers(german())
    found = source_for(EnergyConfig(country_iso_code="DEU", carbon=carbon), Clock())
    assert isinstance(found, LastKnown)
    assert "Germany" in found.at(HOUR).source
    assert found.refresh()
    assert found.at(HOUR).grams_per_kwh == 302.0
    assert service.requests[0][1]["auth-token"] == TOKEN
    british = source_for(EnergyConfig(country_iso_code="GBR", carbon=CarbonConfig(source="uk-grid")))
    assert isinstance(british, LastKnown)
    with pytest.raises(ConfigError, match="not a token"):
        live_source(carbon, {"MY_TOKEN": "tokén"})
