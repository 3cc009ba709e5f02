"""The shape of ``evaluation.json``: names, types and meanings; what is not declared here is refused."""

from __future__ import annotations

from pydantic import Field

from greenflow_ray.support.documents import Part


class Interval(Part):
    """A figure with its 95 % interval: percentiles of a paired bootstrap that draws whole users."""

    value: float
    low: float
    high: float


class ModelLine(Part):
    """One model instance, as the paper's Table 1 has it; AUC on validation users, one a seed."""

    stage: str
    name: str
    flops_per_item: int
    flops_per_request: int
    auc: tuple[float, ...]


class ChainLine(Part):
    """One chain: its name, FLOPs a request, and the final users' mean clicks under it."""

    name: str
    flops: float
    clicks: Interval


class PolicyPoint(Part):
    """One policy at one budget (the paper's Figure 4)."""

    policy: str
    budget_share: float = Field(description="budget ÷ the fullest chain's FLOPs")
    budget_flops: float = Field(description="FLOPs a request")
    clicks: Interval = Field(description="mean clicks a request of the final users")
    used: float = Field(description="spent FLOPs ÷ budget, the largest of all seeds and cuts")
    ratio_to_global: Interval
    ratio_to_fixed: Interval = Field(description="to the best fixed chain of the same budget")
    saved_against_fixed: Interval | None = Field(
        description="FLOPs saved at the best fixed chain's clicks, 1 − spent ÷ its FLOPs; null out of the curve's range"
    )


class Ablation(Part):
    """One variant of the network (the paper's Table 4); ``revenue`` is clicks ÷ GLOBAL's, mean over budgets."""

    teacher: bool = Field(description="learned from boosted trees; if not, from clicks, as in the paper")
    recursive: bool
    multi_basis: bool
    monotone: bool
    field_rce: float = Field(description="on validation users, mean of seeds")
    spread_correlation: float
    revenue: Interval
    ratio_to_full: Interval = Field(description="clicks ÷ those of the full network with the same teacher")


class RewardModelLine(Part):
    """One reward model: what it earns, how well it is calibrated, what it costs."""

    name: str
    serves: bool = Field(description="whether it is the one that serves")
    flops_per_request: int | None = Field(description="null: trees, which have no FLOPs count")
    field_rce: float
    bias: float = Field(description="predicted ÷ realised clicks")
    spread_correlation: float
    revenue: Interval = Field(description="clicks ÷ GLOBAL's, mean over budgets")
    ratio_to_boosted: Interval


class WaterfallStep(Part):
    """One step from the reference chain to GreenFlow at equal clicks."""

    step: str = Field(description="re-tuning, price mixing or personalisation")
    policy: str
    flops: Interval = Field(description="FLOPs a request at which this policy reaches the reference's clicks")
    saved: Interval = Field(description="1 − flops ÷ the reference's FLOPs, all steps so far")
    added: Interval = Field(description="this step's own part of ``saved``")


class Waterfall(Part):
    """FLOPs saved at equal clicks, part by part, against one chain."""

    reference: ChainLine
    why: str = Field(description="how the reference was chosen")
    steps: tuple[WaterfallStep, ...]


class RankerRow(Part):
    """One choice of rankers at one budget (the paper's Table 3)."""

    rankers: tuple[str, ...]
    budget_share: float
    clicks: Interval


class ScalePoint(Part):
    """One point of a question of scale; ``x`` is its number, ``label`` how to print it."""

    x: float
    label: str
    ratio_to_global: Interval = Field(description="clicks of GreenFlow ÷ GLOBAL's, mean over budgets")
    saved: Interval | None = Field(description="FLOPs saved at equal clicks against the waterfall's reference chain")


class Scale(Part):
    """How the result depends on one thing."""

    name: str
    question: str
    points: tuple[ScalePoint, ...]


class Tracking(Part):
    """Spend against a budget, FLOP/s by window, over a simulated day (the paper's Figure 5); demand: requests/s."""

    window_s: float
    demand: tuple[float, ...]
    budget: tuple[float, ...]
    spend: dict[str, tuple[float, ...]]
    utilisation: dict[str, float] = Field(description="mean of min(spend, budget) ÷ budget")
    overuse: dict[str, float] = Field(description="mean of max(spend − budget, 0) ÷ budget")


class Ceiling(Part):
    """Synthetic set only: what a policy that knew every expected reward would earn, in expected clicks a request."""

    budget_share: float
    global_: float = Field(alias="global")
    greenflow: float
    optimum: float = Field(description="expected rewards of every user and chain known: no policy can earn more")
    foreseeable: float | None = Field(
        description="boosted trees fitted to reward users' expected rewards, noise-free: what features can tell at all"
    )
    share: float = Field(description="(greenflow − global) ÷ (optimum − global)")

    @property
    def foreseeable_share(self) -> float | None:
        """(foreseeable − global) ÷ (optimum − global); None if either is unknown."""
        if self.foreseeable is None or self.optimum <= self.global_:
            return None
        return (self.foreseeable - self.global_) / (self.optimum - self.global_)


class ExposureResult(Part):
    """All answers at one exposure e."""

    exposure: int
    chains: int
    fullest: ChainLine
    cheapest: ChainLine
    policies: tuple[PolicyPoint, ...]
    multi_stage: tuple[str, ...] = Field(description="policies that Table 2 sets side by side")
    rankers: tuple[RankerRow, ...]
    reward_models: tuple[RewardModelLine, ...]
    ablation: tuple[Ablation, ...]
    waterfalls: tuple[Waterfall, ...]
    scales: tuple[Scale, ...]
    tracking: Tracking | None
    ceilings: tuple[Ceiling, ...]


class Check(Part):
    """One claim with the figure that decides it."""

    claim: str
    value: str
    met: bool


class Evaluation(Part):
    """The whole document."""

    schema_version: int = Field(default=1, alias="schema")
    dataset: str
    synthetic: bool
    cascade: str
    command: str = Field(description="the command that made this file")
    seeds: tuple[int, ...]
    cuts: int = Field(description="random cuts of each user's events into history and clicks that were pooled")
    users: dict[str, int] = Field(description="number of users by split")
    items: int
    models: tuple[ModelLine, ...]
    results: tuple[ExposureResult, ...]
    checks: tuple[Check, ...]
    notes: tuple[str, ...]
    seconds: float = Field(description="wall time of the run that wrote this, reused parts not counted")

    def to_json(self) -> str:
        """JSON text."""
        return self.model_dump_json(by_alias=True, indent=1) + "\n"
