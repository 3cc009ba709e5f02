"""Puts the answers of all exposures together as one document, with the claims that they meet or miss."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from greenflow_ray.datasets.schema import Dataset, Split
from greenflow_ray.evaluation.contest import learners
from greenflow_ray.evaluation.contest.arena import CRAS, DCAF, FIXED, GLOBAL, GREENFLOW, ORACLE, Arena
from greenflow_ray.evaluation.contest.pairing import Bootstrap
from greenflow_ray.evaluation.contest.tracking import track
from greenflow_ray.evaluation.findings import answers, shape
from greenflow_ray.evaluation.findings.shape import Evaluation, ExposureResult, Interval
from greenflow_ray.evaluation.plan import JUDGED, SHARES, Plan
from greenflow_ray.evaluation.work import Grid
from greenflow_ray.models.training.train import train
from greenflow_ray.support.progress import Progress

TRACKED = 0.5  # budget of the day in Figure 5, as a share of the fullest chain's FLOPs at mean traffic


def compose(
    plan: Plan,
    dataset: Dataset,
    arenas: dict[int, Arena],
    finals: dict[int, Grid],
    command: str,
    began: float,
    progress: Progress,
) -> Evaluation:
    """The whole document from revealed ``arenas``, one an exposure."""
    boot = Bootstrap(len(np.unique(finals[plan.seeds[0]].users)), plan.config.seed)
    results = []
    for i, (exposure, arena) in enumerate(arenas.items()):
        progress(f"scoring, e = {exposure}", i / len(arenas))
        results.append(_result(plan, dataset, arena, boot, finals, first=i == 0))
    if plan.full and len(results) > 1:
        results[0] = results[0].model_copy(update={"scales": (*results[0].scales, _exposures(arenas, boot))})
    progress("scored", 1.0)
    users = {split.name.lower(): len(dataset.users.of(split)) for split in Split}
    return Evaluation(
        dataset=dataset.name,
        synthetic=dataset.synthetic,
        cascade=plan.config.name,
        command=command,
        seeds=plan.seeds,
        cuts=plan.cuts,
        users=users,
        items=len(dataset.catalog),
        models=_models(plan),
        results=tuple(results),
        checks=tuple(answers.checks(results[0], arenas[plan.exposures[0]], boot)),
        notes=tuple(_notes(plan, dataset, users)),
        seconds=time.monotonic() - began,
    )


def _models(plan: Plan) -> tuple[shape.ModelLine, ...]:
    by_seed = [train(plan.of(seed, 0)) for seed in plan.seeds]  # all trained by now: reused, or judged if not ours
    return tuple(
        shape.ModelLine(
            **{name: getattr(rows[0], name) for name in ("stage", "name", "flops_per_item", "flops_per_request")},
            auc=tuple(row.auc for row in rows if row.auc is not None),
        )
        for rows in zip(*by_seed, strict=True)
    )


def _result(
    plan: Plan, dataset: Dataset, arena: Arena, boot: Bootstrap, finals: dict[int, Grid], *, first: bool
) -> ExposureResult:
    decided = list(dict.fromkeys(name for name, _ in arena.decisions()))
    equal = next(name for name in decided if name.startswith("EQUAL"))
    names = [equal, FIXED, GLOBAL, DCAF, CRAS, GREENFLOW, learners.BOOSTED.name, ORACLE]
    only = "GreenFlow, only "
    pools: dict[str, tuple[str, ...]] = {n: (n.removeprefix(only),) for n in decided if n.startswith(only)}
    if pools:
        pools[GREENFLOW] = tuple(m.name for m in arena.space.stages[-1].pool)
    corner, complete = arena.corners[0], plan.full and first
    day = corner.fitting, corner.predicted[GREENFLOW], arena.space.costs, TRACKED, plan.config.seed
    return ExposureResult(
        exposure=arena.exposure,
        chains=len(arena.space),
        fullest=answers.chain_line(arena, boot, arena.space.fullest),
        cheapest=answers.chain_line(arena, boot, arena.space.cheapest),
        policies=tuple(answers.policy_points(arena, boot, SHARES, names)),
        multi_stage=(GREENFLOW, CRAS, DCAF),
        rankers=tuple(r for r in answers.ranker_rows(arena, boot, pools) if r.budget_share in SHARES),
        reward_models=tuple(_reward_models(arena, boot)),
        ablation=tuple(_ablation(arena, boot, monotone=plan.config.reward.monotone)) if complete else (),
        waterfalls=answers.waterfalls(arena, boot),
        scales=tuple(_scales(arena, boot, decided)) if complete else (),
        tracking=track(*day) if complete else None,
        ceilings=tuple(_ceilings(plan, arena, finals)) if dataset.synthetic else (),
    )


def _quality(arena: Arena, boot: Bootstrap, name: str) -> tuple[float, dict[str, Any]]:
    """A reward model's bias, and what all lines say of it: Field-RCE and correlation (means of seeds), and clicks."""
    rce, bias, correlation = np.mean([c.quality[name][0] for c in arena.corners], axis=0).tolist()
    revenue = answers.over_budgets(arena, boot, name)
    return bias, {"field_rce": rce, "spread_correlation": correlation, "revenue": revenue}


def _reward_models(arena: Arena, boot: Bootstrap) -> Iterable[shape.RewardModelLine]:
    for learner in (learners.GREENFLOW, learners.BOOSTED, learners.DIRECT, learners.LOGGED):
        if learner.name not in arena.corners[0].predicted:
            continue
        bias, quality = _quality(arena, boot, learner.name)
        flops, serves = arena.corners[0].quality[learner.name][1], learner is learners.GREENFLOW
        yield shape.RewardModelLine(
            name="network, taught by boosted trees" if serves else learner.name,
            serves=serves,
            flops_per_request=flops if flops >= 0 else None,
            bias=bias,
            ratio_to_boosted=answers.over_budgets(arena, boot, learner.name, learners.BOOSTED.name),
            **quality,
        )


def _ablation(arena: Arena, boot: Bootstrap, *, monotone: bool) -> Iterable[shape.Ablation]:
    """The untaught variants first, and of each kind those as monotone as configured, the fullest before all."""

    def place(switches: learners.Switches) -> tuple[bool, bool, int]:
        teacher, recursive, basis, bound = switches
        return teacher != "none", bound != monotone, -(recursive + basis)

    variants = learners.ablations(monotone)
    for teacher, recursive, basis, bound in sorted(variants, key=place):
        name = variants[teacher, recursive, basis, bound].name
        _, quality = _quality(arena, boot, name)
        yield shape.Ablation(
            teacher=teacher != "none",
            recursive=recursive,
            multi_basis=basis,
            monotone=bound,
            ratio_to_full=answers.over_budgets(arena, boot, name, learners.FULL[teacher].name),
            **quality,
        )


def _scale(name: str, question: str, points: Iterable[tuple[float, str, Interval, Interval | None]]) -> shape.Scale:
    """From ``points`` (x, label, clicks ÷ GLOBAL's, FLOPs saved)."""
    line = [shape.ScalePoint(x=x, label=label, ratio_to_global=of, saved=saved) for x, label, of, saved in points]
    return shape.Scale(name=name, question=question, points=tuple(line))


def _scales(arena: Arena, boot: Bootstrap, decided: Sequence[str]) -> Iterable[shape.Scale]:
    def point(x: float, label: str, policy: str) -> tuple[float, str, Interval, None]:
        return x, label, answers.over_budgets(arena, boot, policy), None

    def sized(ending: str) -> list[tuple[int, str]]:
        """Policies whose names end so, such as "GreenFlow, 8 chains", by their number."""
        return sorted((int(n.split(", ")[1].split()[0]), n) for n in decided if n.endswith(ending))

    if sizes := sized(" users"):
        everybody = point(arena.corners[0].clicks.shape[0] / max(arena.cuts, 1), "all", learners.BOOSTED.name)
        points = [*(point(n, f"{n:,}", name) for n, name in sizes), everybody]
        yield _scale("samples", "How many reward users are needed? (boosted trees)", points)
    if parts := sized(" chains"):
        question = "How many chains are needed? (the same cheapest and fullest chain; against GLOBAL with all)"
        parts.append((len(arena.space), GREENFLOW))
        yield _scale("chains", question, [point(n, str(n), name) for n, name in parts])
    if halves := [n for n in decided if n.endswith(" half")]:
        question = "Does it matter when the reward users came? (boosted trees fitted to the older or newer half)"
        yield _scale("drift", question, [point(i, name.split(", ")[1], name) for i, name in enumerate(halves)])


def _exposures(arenas: dict[int, Arena], boot: Bootstrap) -> shape.Scale:
    points = (
        (e, f"e = {e}", answers.over_budgets(a, boot, GREENFLOW), answers.saved_against_middle(a, boot, GREENFLOW))
        for e, a in arenas.items()
    )
    return _scale("exposure", "How does it depend on the number of exposed items?", points)


def _ceilings(plan: Plan, arena: Arena, finals: dict[int, Grid]) -> Iterable[shape.Ceiling]:
    """The same decisions in expected clicks, beside the optimum over expected rewards."""
    e = plan.exposures.index(arena.exposure)
    known = Arena(arena.exposure, arena.corners)
    expected = [finals[s].expected[e][:, c.columns] for s, c in zip(plan.seeds, arena.corners, strict=True)]
    known.reveal(expected, arena.user)
    known.add_oracle(JUDGED)
    foreseeing = learners.FORESEEN.name in arena.corners[0].predicted
    for share in (share for share in JUDGED if share in arena.shares_of(GLOBAL)):
        base, mine, best = (known.outcome(name, share).mean_clicks for name in (GLOBAL, GREENFLOW, ORACLE))
        yield shape.Ceiling(
            budget_share=share,
            **{"global": base},  # no name for a keyword in Python
            greenflow=mine,
            optimum=best,
            foreseeable=known.outcome(learners.FORESEEN.name, share).mean_clicks if foreseeing else None,
            share=(mine - base) / max(best - base, 1e-12),
        )


def _notes(plan: Plan, dataset: Dataset, users: dict[str, int]) -> Iterable[str]:
    yield (
        f"Users are split once: {users['train']:,} train the models, {users['reward']:,} are run through all chains to "
        f"fit reward models and tune policies, {users['validation']:,} stop and calibrate, {users['final']:,} are "
        "final: no decision depends on their clicks, which score the policies after the last one has decided."
    )
    if plan.cuts > 1:
        yield (
            f"The data has no order in time, so each user's events are cut at random into history and clicks, "
            f"{plan.cuts} times; all cuts are pooled, and intervals draw whole users with all their cuts and seeds."
        )
    yield (
        "Every policy knows the requests' predicted rewards beforehand and spends one budget over all of them: this is "
        "the paper's offline question. How well a budget is held while requests arrive is Figure 5's."
    )
    yield "Clicks are counted in held-out events: what a user would have clicked and never met counts as none."
    yield "The hindsight oracle knows every click. Most of its lead is luck that no request foretells."
    if dataset.synthetic:
        yield "The data is synthetic: its figures show that the method works, not what it would earn."
