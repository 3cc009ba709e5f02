from __future__ import annotations

from typing import Any

import pytest

from greenflow_ray.energy.carbon.intensity import NotAnswered
from greenflow_ray.energy.carbon.services import UkGridSource, _ask
from tests.energy.carbon_service import HOUR, TOKEN, CarbonService, carbon_service, german, maps


def british(forecast: Any = 266, actual: Any = 263) -> dict[str, Any]:
    return {"from": "2026-03-01T12:00Z", "to": "2026-03-01T12:30Z", "intensity": intensity(forecast, actual)}


def intensity(forecast: Any, actual: Any) -> dict[str, Any]:
    return {"forecast": forecast, "actual": actual, "index": "moderate"}


def regional(**names: Any) -> dict[str, Any]:
    row = {"from": "2026-03-01T12:00Z", "to": "2026-03-01T12:30Z", "intensity": {"forecast": 141, "index": "low"}}
    return {"data": [{"dnoregion": "x", "shortname": "x", **names, "data": [row]}]}


def test_electricity_maps_is_asked_and_read_as_documented(service: CarbonService) -> None:
    service.answers(german())
    found = maps(service).at(0.0)
    assert (found.grams_per_kwh, found.kind, found.time, found.stale) == (302.0, "average", HOUR, False)
    assert found.source == "Electricity Maps, zone DE, life cycle, estimated"
    [(path, headers)] = service.requests
    assert path.startswith("/v3/carbon-intensity/latest?zone=DE&")
    assert "shouldUseFallbackCallerLookup=false" in path
    assert headers["auth-token"] == TOKEN
    assert TOKEN not in path + repr(maps(service))


@pytest.mark.parametrize(
    ("region", "path", "body", "grams", "words"),
    [
        (None, "/intensity", {"data": [british()]}, 263.0, "national, observed"),
        (None, "/intensity", {"data": [british(actual=None)]}, 266.0, "national, forecast"),
        ("13", "/regional/regionid/13", regional(regionid=13), 141.0, "region 13, forecast"),
        ("rg10", "/regional/postcode/rg10", regional(regionid=12, postcode="RG10"), 141.0, "region rg10, forecast"),
    ],
)
def test_the_british_grid_is_asked_and_read_as_documented(
    service: CarbonService, region: str | None, path: str, body: Any, grams: float, words: str
) -> None:
    service.answers(body)
    found = UkGridSource(region, service.url).at(0.0)
    assert (found.grams_per_kwh, found.kind, found.time) == (grams, "average", HOUR)
    assert found.source.endswith(words)
    assert service.requests[0][0] == path


@pytest.mark.parametrize(
    ("region", "body"),
    [
        (None, {"data": []}),
        (None, {"data": {"from": "2026-03-01T12:00Z"}}),
        (None, {"data": [{"from": "2026-03-01T12:00Z", "intensity": 263}]}),
        (None, {"data": [british(forecast=None, actual=None)]}),
        (None, {"error": {"code": "400 Bad Request", "message": "Please enter a valid date"}}),
        ("13", regional(regionid=12)),
        ("RG10", regional(regionid=12, postcode="RG41")),
        ("13", {"data": [{"regionid": 13, "data": []}]}),
    ],
)
def test_the_british_grids_bad_answers_are_refused(service: CarbonService, region: str | None, body: Any) -> None:
    service.answers(body)
    with pytest.raises(NotAnswered) as caught:
        UkGridSource(region, service.url).at(0.0)
    assert "\n" not in str(caught.value)


def test_redirects_are_not_followed(service: CarbonService) -> None:
    with carbon_service() as elsewhere:
        elsewhere.answers(german())
        service.answers(b"", 301, Location=elsewhere.url)
        with pytest.raises(NotAnswered, match="redirects"):
            maps(service).at(0.0)
        assert elsewhere.requests == []


def test_a_silent_or_absent_service_is_given_up(service: CarbonService) -> None:
    service.silent = True
    with pytest.raises(NotAnswered, match="no answer within"):
        maps(service, timeout_s=0.2).at(0.0)
    with carbon_service() as gone:
        pass
    with pytest.raises(NotAnswered, match="not reached"):
        maps(gone).at(0.0)


def test_a_body_that_never_ends_is_given_up(service: CarbonService) -> None:
    service.answers(german())
    times = iter([0.0, 6.0])
    with pytest.raises(NotAnswered, match="no whole answer within 5 s"):
        _ask(service.url, "/", {}, {}, 5.0, clock=lambda: next(times))
