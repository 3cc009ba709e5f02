"""What may be spent, and the samples from which it is priced."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from greenflow_ray.config.section import Section

Policy = Literal["greenflow", "fixed"]
Mix = dict[str, Annotated[float, Field(gt=0, le=1e6)]]


class Limits(BaseModel):
    """What may be spent, in any of five units; where several are given the tightest binds, none given: no limit."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    flops_per_second: float | None = Field(default=None, gt=0, description="FLOP/s of all chains; null: no limit")
    cores: float | None = Field(
        default=None, gt=0, description="CPU-seconds a second of the chains' models, as timed; needs `costs: timed`"
    )
    watts: float | None = Field(
        default=None, gt=0, description="power of serving: its share of the nodes' by CPU-seconds, PUE included"
    )
    kwh_per_day: float | None = Field(
        default=None, gt=0, description="energy of serving from midnight to midnight, UTC"
    )
    grams_per_hour: float | None = Field(default=None, gt=0, description="gCO2e of serving, at the grid's intensity")


class ScheduledLimits(Section, Limits):
    """Limits that hold from an hour of the day (UTC) until the next entry's; none given: no limit."""

    model_config = ConfigDict(strict=True)

    from_hour: float = Field(ge=0, lt=24, description="UTC; 6.5 is half past six")


class BudgetFields(Limits):
    """Limits at all hours, and a schedule of further ones."""

    schedule: tuple[ScheduledLimits, ...] = Field(
        default=(), max_length=48, description="further limits by hour; before the first entry the last one holds"
    )


class Worth(Section):
    """What a unit of computation must buy at least."""

    clicks_per_gflop: float = Field(gt=0)


class BudgetConfig(Section, BudgetFields):
    """What may be spent, and how a missing price is answered."""

    policy: Policy = "greenflow"
    fixed_chain: str = Field(
        default="fullest", description="chain of the 'fixed' policy: fullest, cheapest or a chain's name"
    )
    mix: Mix = Field(default={}, description="of the 'fixed' policy, instead of one chain: several, by weight")
    safe_chain: str = Field(default="cheapest", description="served when no price is known")
    price_ttl_s: float = Field(default=60.0, gt=0, description="a price older than this is not used")
    exchange_s: float = Field(
        default=0.3, gt=0, description="allocators and the ledger exchange spend and price this often"
    )
    settle_s: float = Field(default=1.0, gt=0, description="gateways tell the ledger what they answered this often")
    burst_s: float = Field(
        default=0.5,
        gt=0,
        description="hard cap: seconds of budget that may be spent at once; longer, noise in the traffic costs fewer "
        "clicks, and the budget is held over a longer time",
    )
    headroom: float = Field(
        default=0.015, ge=0, lt=0.5, description="share left unspent, so that noise is not over-use"
    )
    keep: float | None = Field(
        default=0.999,
        gt=0,
        le=1,
        description="share of the most clicks that the frontier promises which is enough: no more is spent, whatever "
        "the budget; 1: all that is free of cost is left out, null: the whole budget is spent",
    )
    worth: Worth | None = Field(default=None, description="lowest price: what buys less is not bought")
    exploration: float = Field(
        default=0.0, ge=0, lt=1, description="share of requests given a chain at random, to learn from; see `value`"
    )


class SamplingConfig(Section):
    """The sample log that repricing reads."""

    rate: float = Field(default=1.0, gt=0, le=1)
    flush_s: float = Field(default=3.0, gt=0)
    buffer_rows: int = Field(
        default=20_000, ge=1, description="rows kept while the disk is slow; more are dropped and counted"
    )
    window_s: float = Field(default=300.0, gt=0, description="repricing reads samples of this many last seconds")
    retention_s: float = Field(
        default=6 * 3600.0,
        gt=0,
        description="samples and feedback are deleted so long after; joins wait an hour for clicks",
    )
    when_fixed: bool = Field(
        default=False, description="estimate rewards and sample under the fixed policy too; off, it costs nothing"
    )
