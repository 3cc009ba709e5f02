"""A small evaluation made by hand: plausible curves, seeded noise, every optional part there or left out."""

from __future__ import annotations

import numpy as np

from greenflow_ray.evaluation.findings.shape import (
    Ablation,
    Ceiling,
    ChainLine,
    Check,
    Evaluation,
    ExposureResult,
    Interval,
    ModelLine,
    PolicyPoint,
    RankerRow,
    RewardModelLine,
    Scale,
    ScalePoint,
    Tracking,
    Waterfall,
    WaterfallStep,
)

BUDGETS = (0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)
FULLEST = 466.2e6
LEVELS = {
    "EQUAL": 0.93,
    "best fixed chain": 0.972,
    "GLOBAL": 1.0,
    "DCAF": 1.006,
    "CRAS": 1.004,
    "GreenFlow": 1.035,
    "GreenFlow (boosted trees)": 1.037,
    "hindsight oracle": 1.22,
}


class Maker:
    """Draws numbers from one seeded generator."""

    def __init__(self, seed: int = 4) -> None:
        self.rng = np.random.default_rng(seed)

    def about(self, value: float, half: float) -> Interval:
        """An interval of about this half-width, not quite symmetric."""
        low, high = half * (1 + 0.3 * (self.rng.random(2) - 0.5))
        return Interval(value=value, low=value - low, high=value + high)

    def points(self, exposure: int) -> tuple[PolicyPoint, ...]:
        out = []
        for policy, level in LEVELS.items():
            for share in BUDGETS:
                base = 6.1 * exposure / 20 * (1 + 0.33 * (1 - np.exp(-4.2 * share)))
                # Where the fullest chain is affordable, policies are alike; the oracle stays ahead.
                own = level if "oracle" in policy else 1 + (level - 1) * (1.25 - share) / 0.95
                ratio = own + self.rng.normal(0, 0.0015)
                fixed = 1 + (0.972 - 1) * (1.25 - share) / 0.95
                out.append(
                    PolicyPoint(
                        policy=policy,
                        budget_share=share,
                        budget_flops=share * FULLEST,
                        clicks=self.about(base * ratio, 0.022 * base),
                        used=float(self.rng.uniform(0.9962, 0.99999)),
                        ratio_to_global=Interval(value=1, low=1, high=1)
                        if policy == "GLOBAL"
                        else self.about(ratio, 0.008),
                        ratio_to_fixed=self.about(ratio / fixed, 0.009),
                        saved_against_fixed=self.about(0.19 * (1.1 - share), 0.05) if share < 0.6 else None,
                    )
                )
        return tuple(out)

    def waterfall(self, exposure: int) -> Waterfall:
        flops, steps, saved = 209.4e6, [], 0.0
        parts = (("re-tuning", "best fixed chain", 0.24), ("price mixing", "GLOBAL", 0.08))
        for step, policy, part in (*parts, ("personalisation", "GreenFlow", 0.071)):
            saved += part
            so_far = self.about(saved, 0.03)
            at = Interval(value=flops * (1 - saved), low=flops * (1 - so_far.high), high=flops * (1 - so_far.low))
            steps.append(WaterfallStep(step=step, policy=policy, flops=at, saved=so_far, added=self.about(part, 0.025)))
        line = ChainLine(name="dssm:3706>ydnn:1000>dien:120", flops=flops, clicks=self.about(7.4 * exposure / 20, 0.16))
        return Waterfall(reference=line, why="an arbitrary chain from the middle of the space", steps=tuple(steps))

    def reward_models(self) -> tuple[RewardModelLine, ...]:
        rows = (
            ("network", True, 9_840, 1.034),
            ("boosted trees", False, None, 1.037),
            ("population mean", False, 0, 1),
        )
        return tuple(
            RewardModelLine(
                name=name,
                serves=serves,
                flops_per_request=flops,
                field_rce=0.05 + 0.03 * self.rng.random(),
                bias=float(self.rng.normal(1, 0.01)),
                spread_correlation=0.31 if revenue > 1 else 0.0,
                revenue=self.about(revenue, 0.006),
                ratio_to_boosted=self.about(revenue / 1.037, 0.002),
            )
            for name, serves, flops, revenue in rows
        )

    def ablation(self) -> tuple[Ablation, ...]:
        rows = ((True, True, True, 1.034), (True, True, False, 1.032), (True, False, True, 1.024),
                (False, True, True, 1.027), (False, False, True, 1.013))  # fmt: skip
        return tuple(
            Ablation(
                teacher=False,
                recursive=recursive,
                multi_basis=basis,
                monotone=monotone,
                field_rce=0.06 + 0.02 * self.rng.random(),
                spread_correlation=0.2 + 0.1 * self.rng.random(),
                revenue=self.about(revenue, 0.006),
                ratio_to_full=self.about(revenue / 1.034, 0.003),
            )
            for recursive, basis, monotone, revenue in rows
        )

    def scales(self) -> tuple[Scale, ...]:
        entries = (
            ("samples", "How many users does the reward model need?", (100, 300, 1000, 1359), "{:,}"),
            ("chains", "Does a finer choice of chains help?", (8, 32, 128, 512), "{}"),
            ("exposure", "Does the number of items shown matter?", (5, 10, 20, 50), "e = {}"),
            ("drift", "What if a month lies between fitting and serving?", (0, 30), "{} days"),
        )
        return tuple(
            Scale(
                name=name,
                question=question,
                points=tuple(
                    ScalePoint(
                        x=x,
                        label=label.format(x),
                        ratio_to_global=self.about(1 + 0.009 * (i + 1), 0.007),
                        saved=self.about(0.3 + 0.03 * i, 0.03) if i else None,
                    )
                    for i, x in enumerate(xs)
                ),
            )
            for name, question, xs, label in entries
        )

    def tracking(self) -> Tracking:
        hours = np.arange(96) / 4
        demand = 60 + 35 * np.sin((hours - 9) / 24 * 2 * np.pi) + 120 * ((hours > 19) & (hours < 20.5))
        budget = np.full(96, 1.1e10)
        spend = {
            "GreenFlow": np.minimum(budget * self.rng.normal(0.985, 0.012, 96), demand * 4e8),
            "fixed price": demand * 1.7e8 * self.rng.normal(1, 0.04, 96),
        }
        return Tracking(
            window_s=900,
            demand=tuple(demand.tolist()),
            budget=tuple(budget.tolist()),
            spend={name: tuple(values.tolist()) for name, values in spend.items()},
            utilisation={n: float(np.mean(np.minimum(v, budget) / budget)) for n, v in spend.items()},
            overuse={n: float(np.mean(np.maximum(v - budget, 0) / budget)) for n, v in spend.items()},
        )

    def ceilings(self) -> tuple[Ceiling, ...]:
        return tuple(
            Ceiling.model_validate(
                {
                    "budget_share": share,
                    "global": 5.0 + share,
                    "greenflow": 5.0 + share + 0.21,
                    "optimum": 5.3 + share,
                    "foreseeable": 5.26 + share if share < 0.5 else None,
                    "share": 0.7,
                }
            )
            for share in BUDGETS[:6]
        )

    def result(self, exposure: int, *, synthetic: bool) -> ExposureResult:
        size = exposure / 20
        rankers = (("din",), ("dien",), ("din", "dien"))
        return ExposureResult(
            exposure=exposure,
            chains=512,
            fullest=ChainLine(name="dssm:3706>ydnn:2000>dien:400", flops=FULLEST, clicks=self.about(8.14 * size, 0.17)),
            cheapest=ChainLine(name="dssm:3706>ydnn:50>din:20", flops=20.1e6, clicks=self.about(5.9 * size, 0.15)),
            policies=self.points(exposure),
            multi_stage=("GreenFlow", "CRAS", "DCAF"),
            rankers=tuple(
                RankerRow(rankers=names, budget_share=share, clicks=self.about((6.9 + share + 0.05 * i) * size, 0.15))
                for share in BUDGETS[1:6]
                for i, names in enumerate(rankers)
            ),
            reward_models=self.reward_models(),
            ablation=self.ablation(),
            waterfalls=(self.waterfall(exposure),),
            scales=self.scales(),
            tracking=self.tracking(),
            ceilings=self.ceilings() if synthetic else (),
        )


def evaluation(*, synthetic: bool = False, exposures: tuple[int, ...] = (20, 50), seed: int = 4) -> Evaluation:
    """A whole document; the ceilings are there if ``synthetic``."""
    maker = Maker(seed)
    models = (("recall", "dssm", 1_312, 0.552), ("pre-ranking", "ydnn", 12_416, 0.634),
              ("ranking", "din", 702_464, 0.851), ("ranking", "dien", 709_888, 0.853))  # fmt: skip
    return Evaluation(
        dataset="synthetic" if synthetic else "MovieLens-1M",
        synthetic=synthetic,
        cascade="C",
        command="greenflow evaluate --data data/ml-1m --cascade C",
        seeds=(0, 1, 2),
        cuts=4,
        users={"cascade": 3020, "validation": 1510, "reward": 1359, "final": 151},
        items=3706,
        models=tuple(
            ModelLine(
                stage=stage,
                name=name,
                flops_per_item=flops,
                flops_per_request=flops // 3,
                auc=tuple(float(x) for x in maker.rng.normal(auc, 0.003, 3)),
            )
            for stage, name, flops, auc in models
        ),
        results=tuple(maker.result(exposure, synthetic=synthetic) for exposure in exposures),
        checks=(
            Check(claim="GreenFlow ÷ GLOBAL, interval above 1 at 10 to 50 %", value="1.013 to 1.043", met=True),
            Check(claim="≥ 55 % of FLOPs saved against a middle chain", value="39.1 % (36.0 to 42.3 %)", met=False),
        ),
        notes=(
            "Final users are few: one of them moves the mean by 0.05 clicks.",
            "The reference chain was picked from the middle of the space: nobody tuned it.",
        ),
        seconds=1412.0,
    )


def bare(*, synthetic: bool = False) -> Evaluation:
    """A document in which everything that may be left out is."""
    full = evaluation(synthetic=synthetic, exposures=(20,))
    nothing: dict[str, object] = {
        "rankers": (), "reward_models": (), "ablation": (), "waterfalls": (), "scales": (), "tracking": None,
        "ceilings": (), "multi_stage": (),
    }  # fmt: skip
    result = full.results[0].model_copy(update=nothing)
    return full.model_copy(update={"results": (result,), "checks": (), "notes": (), "models": ()})
