"""From joules to grams: the nodes' meters and the grid."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from greenflow_ray.config.section import Section


class CarbonConfig(Section):
    """Where the carbon intensity of the grid comes from."""

    source: Literal["country", "constant", "replay", "electricity-maps", "uk-grid"] = Field(
        default="country", description="country: yearly average of energy.country_iso_code, from codecarbon's table"
    )
    grams_per_kwh: float | None = Field(default=None, ge=0, description="constant: gCO2e/kWh")
    path: Path | None = Field(default=None, description="replay: CSV of grams_per_kwh and time, or hour of the UTC day")
    zone: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9-]+$",
        description="electricity-maps: e.g. DE; uk-grid: region 1 to 17 or outward postcode, null: all of it",
    )
    token_env: str = Field(
        default="ELECTRICITY_MAPS_TOKEN", min_length=1, description="name of the environment variable with the token"
    )
    url: str | None = Field(default=None, pattern=r"^https?://[^/@\s]+(/\S*)?$", description="null: the service's own")
    kind: Literal["average", "marginal"] = Field(default="average", description="what a constant or a replay holds")
    refresh_s: float = Field(default=300.0, gt=0, description="live: the service is asked this often")
    limit_s: float = Field(default=7200.0, gt=0, description="a value is stale so long after the time it stands for")
    timeout_s: float = Field(default=5.0, gt=0, description="live: for one whole answer")

    @model_validator(mode="after")
    def _check(self) -> CarbonConfig:
        needs = {"constant": "grams_per_kwh", "replay": "path", "electricity-maps": "zone"}.get(self.source)
        if needs is not None and getattr(self, needs) is None:
            raise ValueError(f"source {self.source} needs {needs}")
        users = {"grams_per_kwh": ("constant",), "path": ("replay",), "zone": ("electricity-maps", "uk-grid")}
        for name, sources in users.items():
            if getattr(self, name) is not None and self.source not in sources:
                raise ValueError(f"{name} is for source {' or '.join(sources)}; remove it or set source")
        if self.kind == "marginal" and self.source not in ("constant", "replay"):
            raise ValueError(f"kind: source {self.source} gives average intensities; set kind: average")
        region = self.zone if self.source == "uk-grid" else None
        if region is not None and region.isdecimal() and not 1 <= int(region) <= 17:
            raise ValueError(f"zone: {region} is no region of the grid; use 1 to 17, or a postcode such as RG10")
        return self


IDLE_WATTS, FULL_WATTS = 0.74, 3.5
"""Of a cloud's vCPU, the mean over AWS's machines: Cloud Carbon Footprint, methodology, appendix I."""


@dataclass(frozen=True)
class Watts:
    """What a machine draws, idle and with all its vCPUs busy, and who says so."""

    vcpus: int
    idle_watts: float
    full_watts: float
    source: str


class MachineConfig(Section):
    """Watts of a node for which no hardware counter speaks, a virtual machine's above all."""

    use: Literal["auto", "never"] = Field(
        default="auto", description="auto: where there is neither RAPL nor NVML; never: codecarbon's estimate instead"
    )
    vcpus: int | None = Field(default=None, ge=1, description="null: as many as this node has")
    idle_watts: float | None = Field(default=None, ge=0, description="null: 0.74 a vCPU (Cloud Carbon Footprint)")
    full_watts: float | None = Field(default=None, gt=0, description="null: 3.5 a vCPU (Cloud Carbon Footprint)")

    @model_validator(mode="after")
    def _check(self) -> MachineConfig:
        if self.idle_watts is not None and self.full_watts is not None and self.idle_watts >= self.full_watts:
            raise ValueError("full_watts must exceed idle_watts")
        return self

    def here(self) -> Watts:
        """With what is not declared filled in for this node."""
        vcpus = self.vcpus or os.cpu_count() or 1
        idle = IDLE_WATTS * vcpus if self.idle_watts is None else self.idle_watts
        full = FULL_WATTS * vcpus if self.full_watts is None else self.full_watts
        known = self.idle_watts is not None and self.full_watts is not None
        return Watts(vcpus, idle, max(full, idle), "energy.machine" if known else "Cloud Carbon Footprint")


class EnergyConfig(Section):
    """How joules become grams."""

    country_iso_code: str = Field(default="USA", min_length=3, max_length=3)
    pue: float = Field(default=1.67, ge=1, description="power usage effectiveness (paper: 1.67)")
    live: bool = Field(default=True, description="a meter on every node while serving; a budget in watts needs it")
    window_s: float = Field(default=5.0, gt=0, description="the meters are read this often")
    joules_per_flop: float | None = Field(
        default=None, gt=0, description="of serving, PUE included, until observed; null: wait for traffic"
    )
    embodied_kg: float | None = Field(
        default=None, ge=0, description="kgCO2e of making one node; null: left out of the SCI"
    )
    lifetime_years: float = Field(default=4.0, gt=0, description="over which a node's embodied carbon is spread")
    carbon: CarbonConfig = CarbonConfig()
    machine: MachineConfig = MachineConfig()
