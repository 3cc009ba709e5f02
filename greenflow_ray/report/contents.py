"""The shape of ``report.json``: names, types and meanings; what is not declared here is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, computed_field, model_validator

from greenflow_ray.errors import DataError
from greenflow_ray.support.documents import Part
from greenflow_ray.support.files import whole

Intervals = dict[str, tuple[float, float]]


class Latency(Part):
    """Seconds from the instant a request was due to its answer's last byte; null if nothing was answered."""

    p50: float | None
    p95: float | None
    p99: float | None


class Sci(Part):
    """Software Carbon Intensity (ISO/IEC 21031) with R = 1,000 answered requests: (E × I + M) ÷ R, in gCO2e."""

    grams: float = Field(description="operational + embodied, what is known of them")
    operational: float = Field(description="E × I: the node's energy times the grid's intensity")
    embodied: float | None = Field(default=None, description="M: hardware's share; null: left out")
    note: str = Field(default="", description="what is in it and what is left out")


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
    errors_by_kind: dict[str, int] = Field(default={})
    degraded_by_reason: dict[str, int] = Field(default={})
    cpu_seconds_by_deployment: dict[str, float] = Field(default={})
    energy_by_deployment_joules: dict[str, float] = Field(default={}, description="energy_joules shared by CPU-seconds")
    energy_unattributed_joules: float | None = Field(
        default=None, description="the rest: energy_joules = deployments + this"
    )
    energy_method: str | None = None
    carbon_grams_per_1000_requests: float | None = Field(default=None, description="sci.operational; answered requests")
    sci: Sci | None = None
    joules: float | None = Field(default=None, description="energy_joules")
    marginal_joules: float | None = Field(default=None, description="what load added to idling; null: not known")
    p99_ms: float | None = Field(default=None, description="latency_seconds.p99, in milliseconds")
    client_cpu_seconds: float = Field(description="what the load generator itself used")
    client_send_delay_p99_seconds: float = Field(description="by how much the load generator was late to send")


class Arms(Part):
    """The arms: the same users, in the same order, at the same instants, with the same models."""

    equal: Arm = Field(description="the fullest chain for everybody")
    tuned: Arm | None = Field(default=None, description="the best fixed chain, or one price for all; null: not played")
    greenflow: Arm

    @property
    def played(self) -> dict[str, Arm]:
        """Those that were played, by name."""
        return {"EQUAL": self.equal, **({"TUNED": self.tuned} if self.tuned else {}), "GreenFlow": self.greenflow}


class Against(Part):
    """GreenFlow ÷ a rival."""

    clicks: float | None
    flops: float | None
    cpu_seconds: float | None
    joules: float | None = Field(description="of the whole node, idling included")
    marginal_joules: float | None = Field(default=None, description="what load added to idling")
    intervals: Intervals = Field(default={}, description="95 % of clicks and flops: paired bootstrap over users")


class Rivals(Part):
    """GreenFlow ÷ each of its rivals."""

    equal: Against
    tuned: Against | None = None
    tuned_chains: dict[str, float] = Field(
        default={}, description="TUNED's chains and shares, chosen on reward samples"
    )


class Saving(Part):
    """1 − GreenFlow ÷ EQUAL, as fractions; negative means GreenFlow used more, or, for clicks, gained."""

    flops: float | None
    clicks: float | None = Field(description="clicks lost: 1 − GreenFlow ÷ EQUAL; negative if GreenFlow gained clicks")
    cpu_seconds: float | None
    energy: float | None
    carbon: float | None = None
    intervals: Intervals = Field(default={}, description="95 % of flops and clicks: paired bootstrap over users")
    latency_seconds: dict[str, float] = Field(
        default={}, description="GreenFlow's less EQUAL's; positive: it is slower"
    )
    latency_intervals: Intervals = Field(default={}, description="95 % intervals of these: paired bootstrap over users")


class BudgetChange(Part):
    """One change of the budget while the GreenFlow arm ran."""

    t: float = Field(description="seconds from the arm's start")
    before: float | None = Field(description="FLOP/s; null: no limit")
    after: float | None = Field(description="FLOP/s; null: no limit")
    settling_seconds: float | None = Field(
        description="until mean spend over the next 2 s was at most 1.05 × the new budget; null: not seen"
    )


class SpikeKept(Part):
    """How the budget was kept while traffic was multiplied."""

    begin: float = Field(description="seconds from the arm's start")
    end: float
    first_second: float | None = Field(description="spend ÷ budget of the spike's first second")
    windows: int = Field(description="windows after that second, until the spike's end")
    over: int = Field(description="those of them that spent more than their budget")
    worst: float = Field(description="largest spend ÷ budget among them")


class Budget(Part):
    """How well the GreenFlow arm kept its budget, over windows of a few seconds (see ``loadtest/windows.py``)."""

    flops_per_second: float | None = Field(description="the mean over the arm, if it changed; null: no limit")
    utilisation: float | None = Field(description="mean of min(spend, C) ÷ min(C, demand); demand: the fullest chains")
    overuse: float | None = Field(description="mean of max(spend − C, 0) ÷ C")
    window_seconds: float = 5.0
    windows: int = 0
    worst_window: float | None = Field(default=None, description="largest spend ÷ C of any window")
    lowest_flops_per_second: float | None = None
    highest_flops_per_second: float | None = None
    intervals: Intervals = Field(
        default={}, description="95 % of utilisation and overuse: block bootstrap over windows"
    )
    course: tuple[tuple[float, float | None], ...] = Field(
        default=(), description="if it changed: from which second on, and FLOP/s (null: no limit)"
    )
    changes: tuple[BudgetChange, ...] = Field(default=(), description="changes by more than 5 %")
    spike: SpikeKept | None = None


class Overhead(Part):
    """What GreenFlow itself costs, in the GreenFlow arm."""

    flops_share: float | None = Field(description="reward model's FLOPs ÷ (its FLOPs + the cascade's)")
    cpu_share: float | None = Field(description="CPU-seconds of cpu_seconds ÷ all of Serve's and repricing's")
    p99_seconds: float | None = Field(description="latency that the allocator adds, if it was measured")
    cpu_seconds: dict[str, float] = Field(default={}, description="allocator, ledger, meters, repricing: what is known")


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


class Moment(Price):
    """One second of the GreenFlow arm as the ledger kept it; what it did not say is null."""

    budget: float | None = Field(default=None, description="FLOP/s in force; null: no limit")
    bound_by: str | None = Field(default=None, description="which limit binds: flops, watts, kwh, grams; null: none")
    spend: int | None = Field(default=None, description="FLOPs of this second")
    requests: int | None = None
    grams_per_kwh: float | None = Field(default=None, description="the grid's carbon intensity, gCO2e/kWh")
    carbon_stale: bool = Field(default=False, description="the intensity was out of date")
    watts: float | None = None
    replicas: dict[str, int] = Field(default={}, description="replicas by deployment")


class FrontierPoint(Part):
    """Mean computation of a request, and the clicks that the reward model predicts for it."""

    flops: float
    clicks: float


class ArmPoint(Part):
    """Where an arm was: realised means per request of the trace, failed requests included."""

    flops: float
    clicks: float
    clicks_interval: tuple[float, float] | None = Field(default=None, description="95 %, bootstrap over users")
    predicted: float | None = Field(default=None, description="clicks on the frontier at these FLOPs; null: off it")


class Frontier(Part):
    """The revenue frontier of the published price: a prediction, with both arms' realised points beside it."""

    points: tuple[FrontierPoint, ...] = Field(description="from the cheapest chain's cost to the unpriced mix's")
    requests: float = Field(description="sampled requests behind it (a weight)")
    equal: ArmPoint
    tuned: ArmPoint | None = None
    today: ArmPoint = Field(description="the GreenFlow arm")


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

    grams_per_kwh: float = Field(description="the mean over the GreenFlow arm, if it changed")
    source: str
    kind: Literal["average", "marginal"]
    stale: bool = False
    lowest: float | None = Field(default=None, description="gCO2e/kWh, if it changed")
    highest: float | None = Field(default=None, description="gCO2e/kWh, if it changed")


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
    models: tuple[Model, ...]
    reward: dict[str, float]
    versions: dict[str, str]
    against: Rivals | None = None
    phases: tuple[Phase, ...] = Field(default=(), description="steady traffic and spike apart, if there was a spike")
    created_at: str = Field(default="", description="ISO 8601, UTC")
    carbon: Carbon | None = None
    notes: tuple[str, ...] = Field(default=(), description="what a reader must know before believing the numbers")
    course: tuple[Moment, ...] = Field(default=(), description="the GreenFlow arm, about a point a second")
    frontier: Frontier | None = None

    @model_validator(mode="before")
    @classmethod
    def _older(cls, data: Any) -> Any:
        """``prices`` repeats the course; files of before there was one have only ``prices``."""
        if not isinstance(data, dict) or "prices" not in data:
            return data
        rest = {name: value for name, value in data.items() if name != "prices"}
        return rest if "course" in rest else rest | {"course": data["prices"]}

    @computed_field(description="the dual price's course")  # type: ignore[prop-decorator]
    @property
    def prices(self) -> tuple[Price, ...]:
        """Time, version and price of every moment."""
        return tuple(Price(t=m.t, version=m.version, price=m.price) for m in self.course)

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
