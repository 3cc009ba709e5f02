"""Policies against plain Python and brute force, on spaces small enough for both; none ever exceeds its budget."""

import itertools

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from greenflow_ray.chains import ChainSpace, ModelCost, Stage
from greenflow_ray.errors import InfeasibleBudget
from greenflow_ray.evaluation.contest.policies import (
    SPLITS,
    Cras,
    TunedCras,
    fixed,
    global_mix,
    greenflow,
    paper_like,
    single_stage,
)
from tests.worlds import make_world

F32 = npt.NDArray[np.float32]
SPACE = make_world().space


def space(early: tuple[int, ...] = (10, 20), late: tuple[int, ...] = (5, 10, 20), rankers: int = 2) -> ChainSpace:
    pool = tuple(ModelCost(f"r{i}", 50 + 13 * i, 7 * i) for i in range(rankers))
    return ChainSpace(
        (
            Stage("recall", (ModelCost("m", 1, 3),), (40,)),
            Stage("pre-ranking", (ModelCost("p", 9, 2),), early),
            Stage("ranking", pool, late),
        )
    )


@st.composite
def spaces(draw: st.DrawFn) -> ChainSpace:
    scales = st.lists(st.integers(1, 30), min_size=1, max_size=4, unique=True).map(tuple)
    early, late = draw(scales), draw(scales)
    assume(max(early) >= min(late))
    return space(early, late, draw(st.integers(1, 3)))


def rewards_of(seed: int, n: int, chains: ChainSpace) -> F32:
    """Noise around something that rises with items, as rewards do."""
    rng = np.random.default_rng(seed)
    rise = np.log1p(chains.items[:, -1]) + 0.3 * np.log1p(chains.items[:, -2])
    return (rng.random((n, 1)) * rise + 0.3 * rng.random((n, len(chains)))).astype(np.float32)


def mean_cost(chains: ChainSpace, chosen: npt.NDArray[np.int32]) -> float:
    return float(chains.costs[chosen].mean())


@given(chains=spaces(), seed=st.integers(0, 999), n=st.integers(1, 12), share=st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_every_policy_keeps_its_budget(chains: ChainSpace, seed: int, n: int, share: float) -> None:
    costs = chains.costs
    budget = float(costs.min() + share * (costs.max() - costs.min()))
    fitting, final = rewards_of(seed, 8, chains), rewards_of(seed + 1, n, chains)
    clicks = np.random.default_rng(seed).poisson(fitting).astype(np.int16)
    mean = clicks.mean(axis=0, dtype=np.float64)
    order = np.random.default_rng(seed).permutation(n)
    decisions = {
        "fixed": np.full(n, fixed(mean, costs, budget), dtype=np.int32),
        "GLOBAL": global_mix(mean, costs, budget, order),
        "GreenFlow": greenflow(final, costs, budget),
        "CRAS": TunedCras(chains, fitting, clicks).decide(final, budget),
        "DCAF": greenflow(final, costs, budget, single_stage(chains, fitting, clicks, budget)),
    }
    for name, chosen in decisions.items():
        assert chosen.shape == (n,), name
        assert ((chosen >= 0) & (chosen < len(chains))).all(), name
        assert mean_cost(chains, chosen) <= budget * (1 + 1e-12), name


@given(seed=st.integers(0, 9999), share=st.floats(0, 1.2))
@settings(max_examples=40, deadline=None)
def test_fixed_is_the_best_that_fits(seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    clicks, budget = rng.random(len(SPACE)), share * SPACE.costs.max()
    allowed = [j for j in range(len(SPACE)) if SPACE.costs[j] <= budget]
    if not allowed:
        with pytest.raises(InfeasibleBudget):
            fixed(clicks, SPACE.costs, budget)
        return
    assert fixed(clicks, SPACE.costs, budget) == max(allowed, key=lambda j: clicks[j])
    columns = np.array(allowed[::2])
    assert fixed(clicks, SPACE.costs, budget, columns) == max(columns, key=lambda j: clicks[j])


def test_fixed_says_what_its_own_columns_cost() -> None:
    dear = np.array([SPACE.fullest])
    with pytest.raises(InfeasibleBudget) as told:
        fixed(np.ones(len(SPACE)), SPACE.costs, SPACE.costs.min(), dear)
    assert told.value.minimum == SPACE.costs[SPACE.fullest]


@pytest.mark.parametrize("seed", range(6))
def test_greenflow_with_exact_rewards_is_brute_force_up_to_one_hull_edge(seed: int) -> None:
    chains = space((10, 20), (5, 10), 1)
    rewards = rewards_of(seed, 5, chains)
    rows = np.arange(5)
    every = np.array(list(itertools.product(range(len(chains)), repeat=5)))
    spent = chains.costs[every].sum(axis=1)
    earned = rewards[rows, every].sum(axis=1)
    hull_edge = max(float(np.ptp(rewards[i])) for i in rows)
    for share in (0.4, 0.55, 0.7, 0.9, 1.0):
        budget = float(chains.costs.max() * share)
        if budget < chains.costs.min():
            continue
        chosen = greenflow(rewards, chains.costs, budget)
        best = earned[spent <= 5 * budget].max()
        got = rewards[rows, chosen].sum()
        assert best - hull_edge <= got <= best + 1e-5
    assert greenflow(rewards, chains.costs, float(chains.costs.max())).tolist() == rewards.argmax(axis=1).tolist()


def test_greenflow_within_columns_chooses_nothing_else() -> None:
    rewards = rewards_of(0, 9, SPACE)
    columns = np.flatnonzero(SPACE.models[:, -1] == 1)
    chosen = greenflow(rewards, SPACE.costs, float(SPACE.costs.max()) / 2, columns)
    assert np.isin(chosen, columns).all()
    alone = greenflow(np.ascontiguousarray(rewards[:, columns]), SPACE.costs[columns], float(SPACE.costs.max()) / 2)
    assert chosen.tolist() == columns[alone].tolist()


def hull_of(clicks: npt.NDArray[np.float64], costs: npt.NDArray[np.float64]) -> list[int]:
    """Vertices of the upper concave hull, by rising cost, from the cheapest: plain Python."""
    at = min(range(len(costs)), key=lambda j: (costs[j], -clicks[j]))
    found = [at]
    while True:
        ahead = [j for j in range(len(costs)) if costs[j] > costs[at] and clicks[j] > clicks[at]]
        if not ahead:
            return found
        at = max(ahead, key=lambda j: ((clicks[j] - clicks[at]) / (costs[j] - costs[at]), costs[j]))
        found.append(at)


@pytest.mark.parametrize("seed", range(5))
def test_global_mixes_the_two_neighbours_on_the_hull(seed: int) -> None:
    rng = np.random.default_rng(seed)
    clicks = np.log1p(SPACE.items[:, -1]) + 0.5 * rng.random(len(SPACE))
    hull = hull_of(clicks.astype(np.float32).astype(np.float64), SPACE.costs)
    order = rng.permutation(101)
    for share in (0.3, 0.5, 0.7, 0.85):
        budget = float(SPACE.costs.max() * share)
        if budget < SPACE.costs.min():
            continue
        chosen = global_mix(clicks, SPACE.costs, budget, order)
        below = [j for j in hull if SPACE.costs[j] <= budget][-1]
        above = ([j for j in hull if SPACE.costs[j] > budget] or [below])[0]
        assert set(chosen.tolist()) <= {below, above}
        # As many of the dearer one as fit, and it is the first in ``order`` that have it.
        dearer = chosen[order] == above
        if above != below:
            gap = SPACE.costs[above] - SPACE.costs[below]
            assert dearer.sum() == int(101 * (budget - SPACE.costs[below]) / gap)
            assert (np.diff(dearer.astype(int)) <= 0).all()


def test_paper_like_chains_have_one_early_scale_and_the_first_ranker() -> None:
    for early, nearest in ((1000, 40), (1, 10), (19, 20)):
        columns = paper_like(SPACE, early)
        wanted = [j for j in range(len(SPACE)) if SPACE.items[j, 1] == nearest and SPACE.models[j, 2] == 0]
        assert columns.tolist() == wanted
        assert len(columns) > 0


# CRAS, once more and as plainly as can be.


def plain_cras(chains: ChainSpace, rewards: F32, budget: float, share: float, ranker: int) -> list[int]:
    mine = [j for j in range(len(chains)) if chains.models[j, -1] == ranker]
    early = sorted({int(chains.items[j, 1]) for j in mine})
    late = sorted({int(chains.items[j, 2]) for j in mine})
    chain = {(int(chains.items[j, 1]), int(chains.items[j, 2])): j for j in mine}
    floor = min(chains.costs[j] for j in mine)

    def allocate(options: list[int], pairs: dict[int, list[int]], costs: list[float], money: float) -> list[int]:
        revenue = np.array(
            [[rewards[i, pairs[o]].mean() for o in options] for i in range(len(rewards))], dtype=np.float32
        )
        return [options[j] for j in greenflow(revenue, np.array(costs), money)]

    rows = {n: [chain[n, m] for m in late if (n, m) in chain] for n in early}
    columns = {m: [chain[n, m] for n in early if (n, m) in chain] for m in late}
    early_costs = [float(chains.costs[chain[n, late[0]]] - chains.costs[chain[early[0], late[0]]]) for n in early]
    late_costs = [float(chains.costs[chain[early[-1], m]] - chains.costs[chain[early[-1], late[0]]]) for m in late]
    spare = budget - floor
    wide = allocate(early, rows, early_costs, share * spare)
    deep = allocate(late, columns, late_costs, (1 - share) * spare)
    return [chain[n, max(k for k in late if k <= m and (n, k) in chain)] for n, m in zip(wide, deep, strict=True)]


@pytest.mark.parametrize("ranker", [0, 1])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
def test_cras_is_its_plain_version(ranker: int, share: float) -> None:
    # A pre-ranking scale below the deepest ranker's: what the stages decide apart need not fit together.
    chains = space((10, 20, 30), (5, 10, 20, 25))
    rewards = rewards_of(4, 15, chains)
    cras = Cras(chains, ranker)
    lowered = 0
    for part in (0.0, 0.2, 0.6, 1.0):
        budget = cras.floor + part * float(chains.costs.max() - cras.floor)
        chosen = cras.decide(cras.revenues(rewards), budget, share)
        assert chosen.tolist() == plain_cras(chains, rewards, budget, share, ranker)
        assert (chains.models[chosen, -1] == ranker).all()
        assert mean_cost(chains, chosen) <= budget * (1 + 1e-12)
        lowered += int((chains.items[chosen, 1] == chains.items[chosen, 2]).sum())
    assert share > 0.1 or lowered > 0  # the case in question came up


@given(chains=spaces(), seed=st.integers(0, 999), part=st.floats(0, 1.3), share=st.sampled_from(SPLITS))
@settings(max_examples=60, deadline=None)
def test_cras_asks_for_chains_that_there_are(chains: ChainSpace, seed: int, part: float, share: float) -> None:
    cras = Cras(chains, 0)
    budget = cras.floor + part * float(chains.costs.max() - cras.floor)
    chosen = cras.decide(cras.revenues(rewards_of(seed, 6, chains)), budget, share)
    assert (chosen >= 0).all()
    assert mean_cost(chains, chosen) <= budget * (1 + 1e-12)


def test_tuned_cras_takes_the_ranker_and_share_that_earned_most() -> None:
    chains = space((10, 20, 30), (5, 10, 20))
    fitting, final = rewards_of(1, 20, chains), rewards_of(2, 10, chains)
    clicks = np.random.default_rng(3).poisson(2 * fitting).astype(np.int16)
    for budget in np.linspace(chains.costs.min() * 1.05, chains.costs.max(), 4):
        best, wanted = -1.0, np.empty(0)
        for ranker in (0, 1):
            cras = Cras(chains, ranker)
            for share in SPLITS if budget >= cras.floor else ():
                chosen = cras.decide(cras.revenues(fitting), float(budget), share)
                earned = float(clicks[np.arange(20), chosen].mean())
                if earned > best:
                    best, wanted = earned, cras.decide(cras.revenues(final), float(budget), share)
        got = TunedCras(chains, fitting, clicks).decide(final, float(budget))
        assert got.tolist() == wanted.tolist()


def test_the_single_stage_is_the_beginning_that_earned_most() -> None:
    fitting = rewards_of(1, 30, SPACE)
    clicks = np.random.default_rng(3).poisson(2 * fitting).astype(np.int16)
    for share in (0.35, 0.6, 1.0):
        budget = float(share * SPACE.costs.max())
        groups: dict[tuple[int, int], list[int]] = {}
        for j in range(len(SPACE)):
            groups.setdefault((int(SPACE.models[j, 2]), int(SPACE.items[j, 1])), []).append(j)
        earned = {
            key: clicks[np.arange(30), greenflow(fitting, SPACE.costs, budget, np.array(columns))].mean()
            for key, columns in groups.items()
            if SPACE.costs[columns].min() <= budget
        }
        best = max(earned.values())
        found = single_stage(SPACE, fitting, clicks, budget)
        assert any(found.tolist() == groups[key] for key, value in earned.items() if value == best)
        assert len(np.unique(SPACE.items[found, 1])) == len(np.unique(SPACE.models[found, 2])) == 1


def test_below_the_cheapest_chain_nobody_decides() -> None:
    rewards = rewards_of(0, 4, SPACE)
    clicks = np.ones((4, len(SPACE)), dtype=np.int16)
    mean, budget = clicks.mean(axis=0), float(SPACE.costs.min()) * 0.99
    for policy in (
        lambda: fixed(mean, SPACE.costs, budget),
        lambda: global_mix(mean, SPACE.costs, budget, np.arange(4)),
        lambda: greenflow(rewards, SPACE.costs, budget),
        lambda: TunedCras(SPACE, rewards, clicks).decide(rewards, budget),
        lambda: single_stage(SPACE, rewards, clicks, budget),
    ):
        with pytest.raises(InfeasibleBudget, match="raise the budget or add a cheaper chain"):
            policy()
