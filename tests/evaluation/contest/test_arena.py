"""The contest: who decides what within which budget, how decisions are scored, and that hindsight is an upper bound."""

import numpy as np
import numpy.typing as npt
import pytest

from greenflow_ray.evaluation.contest.arena import CRAS, DCAF, FIXED, GLOBAL, GREENFLOW, ORACLE, Arena, Corner
from greenflow_ray.evaluation.contest.pairing import Outcome
from greenflow_ray.evaluation.contest.policies import global_mix, greenflow
from greenflow_ray.pricing.kernels.choice import request_hashes
from tests.worlds import make_world

SPACE = make_world().space
COSTS = SPACE.costs
SHARES, CURVE = (0.1, 0.3, 0.5, 1.0), (0.25, 0.4)
USERS, CUTS = 6, 2
IDS = np.tile(np.arange(100, 100 + USERS), CUTS)


def rewards(seed: int, n: int) -> npt.NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    rise = np.log1p(SPACE.items[:, -1]) + 0.3 * np.log1p(SPACE.items[:, -2])
    return (rng.random((n, 1)) * rise + 0.3 * rng.random((n, len(SPACE)))).astype(np.float32)


def corner(seed: int) -> Corner:
    fitting = rewards(seed, 20)
    return Corner(
        space=SPACE,
        columns=np.arange(len(SPACE)),
        clicks=np.random.default_rng(seed).poisson(2 * fitting).astype(np.int16),
        fitting=fitting,
        predicted={GREENFLOW: rewards(seed + 50, len(IDS)), "other": rewards(seed + 90, len(IDS))},
        user_ids=IDS,
    )


def arena(seeds: tuple[int, ...] = (0, 1)) -> tuple[Arena, list[npt.NDArray[np.generic]]]:
    corners = [corner(s) for s in seeds]
    for each in corners:
        each.compete(1000, SHARES, CURVE)
    found = Arena(5, corners)
    realised: list[npt.NDArray[np.generic]] = [
        np.random.default_rng(s).poisson(2 * c.predicted[GREENFLOW]).astype(np.int16)
        for s, c in zip(seeds, corners, strict=True)
    ]
    found.reveal(realised, IDS - 100)
    return found, realised


def test_all_policies_decide_where_they_can_and_keep_their_budget() -> None:
    found, _ = arena()
    equal = "EQUAL, 40 items pre-ranked"
    names = {name for name, _ in found.decisions()}
    assert names == {equal, FIXED, GLOBAL, GREENFLOW, CRAS, DCAF, "other"}
    for name in names:
        dense = name in (FIXED, GLOBAL, GREENFLOW)
        feasible = [s for s in sorted({*SHARES, *(CURVE if dense else ())}) if s * COSTS.max() >= COSTS.min()]
        if name == equal:
            feasible = [s for s in feasible if s * COSTS.max() >= COSTS[SPACE.index("dssm:60>ydnn:40>din:5")]]
        assert found.shares_of(name) == feasible, name
        assert 0.1 not in feasible  # below the cheapest chain there is no row
        for share in feasible:
            assert 0 < found.used(name, share) <= 1 + 1e-12
            for each in found.corners:
                chosen = each.decided[name, share]
                assert (chosen.dtype, chosen.shape) == (np.int32, (len(IDS),))
                assert COSTS[chosen].mean() <= share * COSTS.max() * (1 + 1e-12)


def test_each_decision_is_its_policys() -> None:
    each = corner(0)
    each.compete(1000, SHARES, ())
    budget = 0.5 * float(COSTS.max())
    assert each.decided[GREENFLOW, 0.5].tolist() == greenflow(each.predicted[GREENFLOW], COSTS, budget).tolist()
    assert each.decided["other", 0.5].tolist() == greenflow(each.predicted["other"], COSTS, budget).tolist()
    order = np.argsort(request_hashes(IDS * 8 + np.arange(len(IDS)) % 8), kind="stable")
    wanted = global_mix(each.clicks.mean(axis=0, dtype=np.float64), COSTS, budget, order)
    assert each.decided[GLOBAL, 0.5].tolist() == wanted.tolist()
    assert len(np.unique(each.decided[FIXED, 0.5])) == 1


def test_used_is_that_of_the_seed_that_spends_most() -> None:
    found, _ = arena()
    spent = [COSTS[c.decided[GREENFLOW, 0.5]].mean() / (0.5 * COSTS.max()) for c in found.corners]
    assert found.used(GREENFLOW, 0.5) == pytest.approx(max(spent))


def test_only_what_every_seed_decided_is_told() -> None:
    found, _ = arena()
    del found.corners[1].decided[GLOBAL, 0.5]
    assert (GLOBAL, 0.5) not in found.decisions()
    assert 0.5 not in found.shares_of(GLOBAL)
    assert 0.5 in found.shares_of(GREENFLOW)


def test_outcomes_are_sums_over_seeds_and_cuts_by_user() -> None:
    found, realised = arena()
    got = found.outcome(GREENFLOW, 0.5)
    clicks, flops = np.zeros(USERS), np.zeros(USERS)
    for each, earned in zip(found.corners, realised, strict=True):
        for i, j in enumerate(each.decided[GREENFLOW, 0.5]):
            clicks[i % USERS] += int(earned[i, j])
            flops[i % USERS] += COSTS[j]
    assert isinstance(got, Outcome)
    np.testing.assert_array_equal(got.clicks, clicks)
    np.testing.assert_allclose(got.flops, flops)
    assert (got.requests == CUTS * len(found.corners)).all()
    assert found.cuts == CUTS
    assert [o.mean_clicks for o in found.curve(FIXED)] == [
        found.outcome(FIXED, s).mean_clicks for s in found.shares_of(FIXED)
    ]


def test_one_chain_for_everybody() -> None:
    found, realised = arena()
    got = found.chain(4)
    assert got.flops.sum() / got.requests.sum() == pytest.approx(COSTS[4])
    assert got.mean_clicks == pytest.approx(np.mean([r[:, 4] for r in realised]))


def test_restricted_policies_stay_within_their_chains_and_the_whole_budget() -> None:
    each = corner(0)
    part = np.flatnonzero(SPACE.models[:, -1] == 0)
    each.restrict("GreenFlow, part", SHARES, part)
    mean, order = each.clicks.mean(axis=0, dtype=np.float64), np.arange(len(each.user_ids))
    each.decide("GLOBAL, part", SHARES, lambda b: global_mix(mean, COSTS, b, order, part))
    for name in ("GreenFlow, part", "GLOBAL, part"):
        for share in (0.3, 0.5, 1.0):
            chosen = each.decided[name, share]
            assert np.isin(chosen, part).all()
            assert COSTS[chosen].mean() <= share * COSTS.max() * (1 + 1e-12)
    # The fullest chain is not among them: the budget is the whole space's all the same.
    assert COSTS[part].max() < COSTS.max()
    best = part[each.predicted[GREENFLOW][:, part].argmax(axis=1)]
    assert each.decided["GreenFlow, part", 1.0].tolist() == best.tolist()


def test_nobody_beats_hindsight() -> None:
    found, _ = arena()
    found.add_oracle(SHARES)
    for name, share in found.decisions():
        if share in SHARES and name != ORACLE:
            edge = max(float(np.ptp(r.astype(float), axis=1).max()) for r in found._realised) * len(found.corners)
            best = found.outcome(ORACLE, share).clicks.sum()
            assert found.outcome(name, share).clicks.sum() <= best + edge, (name, share)
    at_most = sum(float(r.max(axis=1).sum()) for r in found._realised)
    assert found.outcome(ORACLE, 1.0).clicks.sum() == at_most


def test_new_clicks_replace_the_old_ones() -> None:
    found, realised = arena()
    before = found.outcome(GREENFLOW, 0.5).mean_clicks
    found.reveal([np.asarray(r) + 1 for r in realised], IDS - 100)
    assert found.outcome(GREENFLOW, 0.5).mean_clicks == pytest.approx(before + 1)
