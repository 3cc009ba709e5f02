"""The grid's carbon intensity live, from Electricity Maps or Great Britain's Carbon Intensity API."""

from __future__ import annotations

import json
import os
import ssl
import time as clocks
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from functools import cache
from typing import Any

import httpx

from greenflow_ray.config import CarbonConfig
from greenflow_ray.energy.carbon.intensity import CarbonIntensity, Kind, NotAnswered, unix_seconds
from greenflow_ray.errors import ConfigError

ELECTRICITY_MAPS = "https://api.electricitymaps.com"
UK_GRID = "https://api.carbonintensity.org.uk"

_BODY_LIMIT = 1 << 16
_GRAMS_LIMIT = 5000.0  # far above any power station; more is another unit or nonsense


@dataclass(frozen=True)
class ElectricityMapsSource:
    """Hourly average intensity of a zone's consumption, life-cycle emission factors (``/v3/carbon-intensity/latest``).

    ``at`` asks the network; wrap it in :class:`~.last_known.LastKnown`.
    """

    zone: str
    token: str = field(repr=False)
    url: str = ELECTRICITY_MAPS
    timeout_s: float = 5.0
    kind: Kind = "average"

    @property
    def source(self) -> str:
        """Whose values these are, in words."""
        return f"Electricity Maps, zone {self.zone}"

    def at(self, time: float) -> CarbonIntensity:  # noqa: ARG002 - the service tells the moment of its value
        """The newest value, whatever ``time``. Raises NotAnswered."""
        # Without the second parameter an unknown zone is answered with the caller's own, found by IP address.
        query = {"zone": self.zone, "shouldUseFallbackCallerLookup": "false", "emissionFactorType": "lifecycle"}
        answer = _ask(self.url, "/v3/carbon-intensity/latest", query, {"auth-token": self.token}, self.timeout_s)
        if _part(answer, "zone") != self.zone:
            raise NotAnswered(f"{self.source}: answered for another zone; correct energy.carbon.zone")
        if answer.get("emissionFactorType", "lifecycle") != "lifecycle":
            raise NotAnswered(f"{self.source}: answered with other than life-cycle factors; check energy.carbon.url")
        words = f"{self.source}, life cycle{', estimated' if answer.get('isEstimated') else ''}"
        grams = _grams(_part(answer, "carbonIntensity"), self.source)
        return CarbonIntensity(grams, words, self.kind, _time(answer, "datetime"))


@dataclass(frozen=True)
class UkGridSource:
    """Half-hourly average intensity of Great Britain's grid, or of one of its regions.

    ``region`` is a region's number from 1 to 17 or the outward part of a postcode such as RG10; None is the whole
    grid, whose value is the observed one if there is one yet, and the forecast otherwise; regions have forecasts only.
    Emissions of generation, not of the life cycle. ``at`` asks the network, as above.
    """

    region: str | None = None
    url: str = UK_GRID
    timeout_s: float = 5.0
    kind: Kind = "average"

    @property
    def source(self) -> str:
        """Whose values these are, in words."""
        return f"GB Carbon Intensity API, {'national' if self.region is None else f'region {self.region}'}"

    def at(self, time: float) -> CarbonIntensity:  # noqa: ARG002 - the service tells the moment of its value
        """The value of the current half-hour, whatever ``time``. Raises NotAnswered."""
        region = self.region or ""
        key = "regionid" if region.isdecimal() else "postcode"
        path = f"/regional/{key}/{region}" if region else "/intensity"
        row = _first(_ask(self.url, path, {}, {"Accept": "application/json"}, self.timeout_s))
        if region:
            if str(row.get(key)).casefold() != region.lstrip("0").casefold():
                raise NotAnswered(f"{self.source}: answered for another {key}; correct energy.carbon.zone")
            row = _first(row)
        values = _part(row, "intensity")
        if not isinstance(values, dict):
            raise NotAnswered(f"{self.source}: its answer has no readable 'intensity'")
        observed = values.get("actual")
        grams = _grams(_part(values, "forecast") if observed is None else observed, self.source)
        words = f"{self.source}, {'forecast' if observed is None else 'observed'}"
        return CarbonIntensity(grams, words, self.kind, _time(row, "from"))


def live_source(config: CarbonConfig, environ: Mapping[str, str] = os.environ) -> ElectricityMapsSource | UkGridSource:
    """The live source that a configuration declares. Raises ConfigError if its token is missing."""
    if config.source == "uk-grid":
        return UkGridSource(config.zone, config.url or UK_GRID, config.timeout_s)
    token = environ.get(config.token_env, "").strip()
    if not token:
        raise ConfigError(
            f"energy.carbon.token_env: the environment variable {config.token_env} is empty; put the Electricity Maps "
            "token there, or choose another energy.carbon.source"
        )
    if not (token.isascii() and token.isprintable()):
        raise ConfigError(f"energy.carbon.token_env: what {config.token_env} holds is not a token; put the token there")
    return ElectricityMapsSource(config.zone or "", token, config.url or ELECTRICITY_MAPS, config.timeout_s)


def _ask(
    url: str,
    path: str,
    query: Mapping[str, str],
    headers: Mapping[str, str],
    timeout_s: float,
    clock: Callable[[], float] = clocks.monotonic,
) -> dict[str, Any]:
    """GET a JSON object; redirects are not followed. Raises NotAnswered.

    No wait on the network is longer than ``timeout_s``, and the whole of the body is there by then.
    The text of an httpx error is not told: it may quote a header.
    """
    host = httpx.URL(url).host
    end = clock() + timeout_s
    try:
        with httpx.stream(
            "GET", url.rstrip("/") + path, params=query, headers=headers, timeout=timeout_s, verify=_tls()
        ) as response:
            if response.status_code != 200:
                raise NotAnswered(_refusal(host, response.status_code), _retry_after(response.headers))
            body = b""
            for part in response.iter_bytes():
                body += part
                if len(body) > _BODY_LIMIT:
                    raise NotAnswered(f"{host}: answered with more than {_BODY_LIMIT} bytes; check energy.carbon.url")
                if clock() > end:
                    raise NotAnswered(f"{host}: no whole answer within {timeout_s:g} s")
    except httpx.TimeoutException:
        raise NotAnswered(f"{host}: no answer within {timeout_s:g} s") from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise NotAnswered(f"{host}: not reached ({type(error).__name__})") from None
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        raise NotAnswered(f"{host}: its answer is not JSON; check energy.carbon.url") from None
    if not isinstance(answer, dict):
        raise NotAnswered(f"{host}: its answer is not a JSON object; check energy.carbon.url")
    return answer


@cache
def _tls() -> ssl.SSLContext:
    """Reading the certificates takes longer than the whole exchange: once a process."""
    return httpx.create_ssl_context()


def _refusal(host: str, status: int) -> str:
    if status in (401, 403):
        return f"{host}: refused the token (HTTP {status}); check energy.carbon.token_env and the plan's zones"
    if status in (400, 404):
        return (
            f"{host}: does not know what was asked for (HTTP {status}); check energy.carbon.zone and energy.carbon.url"
        )
    if status == 429:
        return f"{host}: too many requests (HTTP 429); raise energy.carbon.refresh_s"
    if 300 <= status < 400:
        return f"{host}: redirects (HTTP {status}), which is not followed; correct energy.carbon.url"
    return f"{host}: HTTP {status}"


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds of a Retry-After header, which holds seconds or a date (RFC 9110, section 10.2.3)."""
    text = headers.get("retry-after", "").strip()
    try:
        seconds = float(text) if text.isdecimal() else parsedate_to_datetime(text).timestamp() - clocks.time()
    except (ValueError, TypeError, OverflowError):
        return None
    return max(seconds, 0.0)


def _part(row: Mapping[str, Any], key: str) -> Any:
    if row.get(key) is None:
        raise NotAnswered(f"the answer has no {key!r}; check energy.carbon.url and energy.carbon.zone")
    return row[key]


def _first(row: Mapping[str, Any]) -> dict[str, Any]:
    """The first entry of an answer's list ``data``."""
    rows = _part(row, "data")
    if not isinstance(rows, list) or not rows or not isinstance(rows[0], dict):
        raise NotAnswered("the answer's 'data' is not a list of objects; check energy.carbon.url")
    return rows[0]


def _grams(value: Any, source: str) -> float:
    """A possible intensity. Raises NotAnswered on anything else: text, NaN, negative, impossibly large."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _GRAMS_LIMIT:
        raise NotAnswered(f"{source}: its value is no number from 0 to {_GRAMS_LIMIT:g} gCO2e/kWh")
    return float(value)


def _time(row: Mapping[str, Any], key: str) -> float:
    """Unix seconds of an answer's ISO 8601 time."""
    try:
        return unix_seconds(str(_part(row, key)))
    except (ValueError, OverflowError):
        raise NotAnswered(f"the answer's {key!r} is no ISO 8601 time; check energy.carbon.url") from None
