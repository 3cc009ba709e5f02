"""The shape of ``report.json``: names, types and meanings; what is not declared here is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from greenflow_ray.errors import DataError
from greenflow_ray.files import whole


class Part(BaseModel):
    """Base of all parts: frozen, no unknown keys, no NaN or infinity (what is unknown is null)."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, populate_by_name=True)


class Latency(Part):
    """Seconds from the instant a request was due to its answer's last byte; null if nothing was answered."""

    p50: float | None
    p95: float | None
    p99: float | None


class Arm(Part):
    """What one arm did with the trace."""

    requests: int
    errors: int = Field(description="requests without a usable answer; they have no clicks and no FLOPs")
    degraded: int = Field(description="answers that say they were cheaper than chosen")
    clicks: int = Field(description="held-out clicks among the answered items")
    flops: int = Field(description="recounted: chains named by the receipts × the costs the server lists")
    cpu_seconds: float | None = Field(description="of all Serve processes; null if not watched")
    energy_joules: float | None = Field(description="of the whole node over the arm's window, PUE included")
    energy_source: Literal["measured", "estimated"] | None
    carbon_grams: float | None = Field(description="gCO2e of energy_joules")
    latency_seconds: Latency
    chains: dict[str, int] = Field(description="answers by chain")

    duration_seconds: float
    flops_by_receipts: int = Field(description="sum of the receipts' own numbers")
    flops_mismatches: int = Field(description="answers whose receipt disagrees with the list of chains")
    errors_by_kind: dict[str, int] = Field(default_factory=dict)
    degraded_by_reason: dict[str, int] = Field(default_factory=dict)
    cpu_seconds_by_deployment: dict[str, float] = Field(default_factory=dict)
    energy_by_deployment_joules: dict[str, float] = Field(
        default_factory=dict, description="energy_joules shared by CPU-seconds"
    )
    energy_unattributed_joules: float | None = Field(
        default=None, description="the rest: energy_joules = deployments + this"
    )
    energy_method: str | None = None
    carbon_grams_per_1000_requests: float | None = Field(
        default=None, description="operational part of SCI (ISO/IEC 21031) with R = 1,000 requests"
    )
    client_cpu_seconds: float = Field(description="what the load generator itself used")
    client_send_delay_p99_seconds: float = Field(description="by how much the load generator was late to send")


class Arms(Part):
    """Both arms: the same users, in the same order, at the same instants, with the same models."""

    equal: Arm
    greenflow: Arm


class Saving(Part):
    """1 − GreenFlow ÷ EQUAL, as fractions; negative means GreenFlow used more, or, for clicks, gained."""

    flops: float | None
    clicks: float | None = Field(description="clicks lost: 1 − GreenFlow ÷ EQUAL; negative if GreenFlow gained clicks")
    cpu_seconds: float | None
    energy: float | None
    carbon: float | None = None
    intervals: dict[str, tuple[float, float]] = Field(
        default_factory=dict, description="95 % intervals of flops and clicks: paired bootstrap over users"
    )


class Budget(Part):
    """How well the GreenFlow arm kept its budget, over windows of a few seconds (see ``report/windows.py``)."""

    flops_per_second: float | None
    utilisation: float | None = Field(description="mean of min(spend, C) ÷ min(C, demand); demand: the fullest chains")
    overuse: float | None = Field(description="mean of max(spend − C, 0) ÷ C")
    window_seconds: float = 5.0
    windows: int = 0
    worst_window: float | None = Field(default=None, description="largest spend ÷ C of any window")


class Overhead(Part):
    """What GreenFlow itself costs, in the GreenFlow arm."""

    flops_share: float | None = Field(description="reward model's FLOPs ÷ (its FLOPs + the cascade's)")
    cpu_share: float | None = Field(description="allocator's and ledger's CPU-seconds ÷ all of Serve's")
    p99_seconds: float | None = Field(description="latency that the allocator adds, if it was measured")


class Phase(Part):
    """A part of the trace on its own: the steady traffic, or the spike."""

    name: str
    requests: int
    flops: float | None = Field(description="saving within the phase: 1 − GreenFlow ÷ EQUAL")
    clicks: float | None = Field(description="clicks lost within the phase, likewise")
    degraded: int = Field(description="degraded answers of the GreenFlow arm")


class Price(Part):
    """One point of the dual price's course."""

    t: float = Field(description="seconds from the GreenFlow arm's start")
    version: int
    price: float = Field(description="clicks per FLOP")


class Model(Part):
    """One trained model instance (the paper's Table 1)."""

    stage: str
    name: str
    flops_per_item: int
    auc: float | None
    parameters: int | None = None
    flops_per_request: int | None = None


class Carbon(Part):
    """The carbon intensity with which joules became grams."""

    grams_per_kwh: float
    source: str
    kind: Literal["average", "marginal"]
    stale: bool = False


class Report(Part):
    """The whole report; every number comes from the run it describes."""

    schema_: Literal[1] = Field(default=1, alias="schema")
    dataset: str
    synthetic: bool
    seed: int
    requests: int
    arms: Arms
    saving: Saving
    budget: Budget
    overhead: Overhead
    prices: tuple[Price, ...]
    models: tuple[Model, ...]
    reward: dict[str, float]
    versions: dict[str, str]

    phases: tuple[Phase, ...] = Field(default=(), description="steady traffic and spike apart, if there was a spike")
    created_at: str = Field(default="", description="ISO 8601, UTC")
    carbon: Carbon | None = None
    notes: tuple[str, ...] = Field(default=(), description="what a reader must know before believing the numbers")

    def to_json(self) -> str:
        """Text of ``report.json``."""
        return json.dumps(self.model_dump(mode="json", by_alias=True), indent=1, ensure_ascii=False) + "\n"

    def save(self, path: Path | str) -> None:
        """Write ``report.json`` atomically."""
        with whole(path) as part:
            part.write_text(self.to_json(), encoding="utf-8")


def load(path: Path | str) -> Report:
    """Read a ``report.json``. Raises DataError."""
    try:
        return Report.model_validate_json(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({type(error).__name__}); run `greenflow report` first") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(p) for p in first["loc"])
        raise DataError(f"{path}: {place}: {first['msg']}; make the report again") from error
