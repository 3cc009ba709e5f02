"""From scored decisions to tables, on an arena made by hand in which every saving is known."""

import numpy as np
import pytest

from greenflow_ray.chains import ChainSpace, ModelCost, Stage
from greenflow_ray.evaluation.contest.arena import FIXED, GLOBAL, GREENFLOW, Arena, Corner
from greenflow_ray.evaluation.contest.pairing import Bootstrap
from greenflow_ray.evaluation.findings import answers
from tests.worlds import make_world

# A chain costs what its ranker scores: 20, 40, 60 or 120 FLOPs. There are two kinds of users, half of them each.
SPACE = ChainSpace(
    (
        Stage("recall", (ModelCost("m", 0),), (2000,)),
        Stage("pre-ranking", (ModelCost("p", 0),), (1000,)),
        Stage("ranking", (ModelCost("r", 1),), (20, 40, 60, 120)),
    )
)
A, B = [2, 3, 3, 3], [0, 1, 5, 3]
N = 40
CLICKS = np.array([A, B] * (N // 2))
C20, C40, C60, C120 = range(4)


def share(flops: float) -> float:
    return flops / 120


def arena(clicks: np.ndarray = CLICKS) -> Arena:
    everybody = {f: np.full(N, j, dtype=np.int32) for f, j in ((20, C20), (40, C40), (60, C60), (120, C120))}
    mixed = np.array([C40, C40, C60, C60] * (N // 4), dtype=np.int32)  # both kinds get both chains
    decided = {
        **{(FIXED, share(f)): chosen for f, chosen in everybody.items()},
        (GLOBAL, share(40)): everybody[40],
        (GLOBAL, share(50)): mixed,
        (GLOBAL, share(60)): everybody[60],
        (GREENFLOW, share(30)): np.array([C20, C40] * (N // 2), dtype=np.int32),  # 1.5 clicks
        (GREENFLOW, share(40)): np.array([C20, C60] * (N // 2), dtype=np.int32),  # 3.5 clicks
        (GREENFLOW, share(60)): everybody[60],
    }
    corner = Corner(
        space=SPACE,
        columns=np.arange(4),
        clicks=np.zeros((1, 4), dtype=np.int16),
        fitting=np.zeros((1, 4), dtype=np.float32),
        predicted={},
        user_ids=np.arange(N),
        decided=decided,
    )
    found = Arena(20, [corner])
    found.reveal([clicks], np.arange(N))
    return found


BOOT = Bootstrap(N, 0)


def test_the_waterfall_of_known_savings() -> None:
    """The middle chain earns 3 clicks for 120 FLOPs. A fixed chain needs 60 for that (40 earns but 2), a mix of 40
    and 60 needs 50; GreenFlow stands between 1.5 clicks for 30 and 3.5 for 40, so 37.5."""
    found = answers.waterfall(arena(), BOOT, C120, "by hand")
    assert found is not None
    assert (found.reference.name, found.reference.flops) == ("m:2000>p:1000>r:120", 120)
    assert found.reference.clicks.value == 3
    assert [s.step for s in found.steps] == ["re-tuning", "price mixing", "personalisation"]
    assert [s.policy for s in found.steps] == [FIXED, GLOBAL, GREENFLOW]
    assert [s.flops.value for s in found.steps] == pytest.approx([60, 50, 37.5])
    assert [s.saved.value for s in found.steps] == pytest.approx([0.5, 7 / 12, 0.6875])
    assert [s.added.value for s in found.steps] == pytest.approx([0.5, 1 / 12, 0.6875 - 7 / 12])
    for step in found.steps:
        for part in (step.flops, step.saved, step.added):
            assert part.low <= part.value <= part.high
    assert sum(s.added.value for s in found.steps) == pytest.approx(found.steps[-1].saved.value)


def test_what_is_never_reached_has_no_waterfall() -> None:
    clicks = CLICKS.copy()
    clicks[:, C120] = 9
    found = arena(clicks)
    del found.corners[0].decided[FIXED, 1.0]
    assert answers.waterfall(found, BOOT, C120, "") is None
    assert answers.waterfalls(found, BOOT) == ()
    assert answers.saved_against_middle(found, BOOT, GREENFLOW) is None


def test_waterfalls_ask_for_the_middle_chain_and_for_most_of_the_fullest() -> None:
    middle, plateau = answers.waterfalls(arena(), BOOT)
    assert "middle" in middle.why
    assert "99%" in plateau.why
    # 99 % of 3 clicks: on the line from 40 FLOPs (2 clicks) to 60 (4 clicks), by way of 50 (3 clicks).
    assert plateau.steps[1].flops.value == pytest.approx(40 + 10 * 0.97)
    assert plateau.steps[0].flops.value == 60


def test_the_middle_chain_is_the_nearest_to_the_papers() -> None:
    assert answers.middle_chain(arena()) == C120
    pools = (ModelCost("a", 1), ModelCost("b", 1))
    space = ChainSpace(
        (
            Stage("recall", (ModelCost("m", 1),), (3000,)),
            Stage("pre-ranking", pools[:1], (50, 900, 1150, 2000)),
            Stage("ranking", (ModelCost("din", 9), ModelCost("dien", 9)), (20, 100, 130, 400)),
        )
    )
    found = arena()
    found.space = space
    assert space.names[answers.middle_chain(found)] == "m:3000>a:900>din:130"
    found.space = make_world().space  # all scales are far below: the widest
    assert found.space.names[answers.middle_chain(found)] == "dssm:60>ydnn:40>din:20"


def test_policy_points_compare_at_the_same_budget() -> None:
    found = arena()
    shares = tuple(sorted({s for _, s in found.decisions()}))
    points = list(answers.policy_points(found, BOOT, (share(40), share(60)), [FIXED, GLOBAL, GREENFLOW]))
    assert [(p.policy, round(p.budget_flops)) for p in points] == [
        (name, f) for name in (FIXED, GLOBAL, GREENFLOW) for f in (40, 60)
    ]
    assert len(shares) > 2  # other budgets were there, and left out
    mine = next(p for p in points if p.policy == GREENFLOW and round(p.budget_flops) == 40)
    assert mine.clicks.value == 3.5
    assert mine.used == pytest.approx(1)
    assert mine.ratio_to_global.value == mine.ratio_to_fixed.value == pytest.approx(3.5 / 2)
    # The fixed chain's 2 clicks for 40 FLOPs cost GreenFlow 30 + 10 · (2 − 1.5) / 2.
    assert mine.saved_against_fixed is not None
    assert mine.saved_against_fixed.value == pytest.approx(1 - 32.5 / 40)
    fixed = next(p for p in points if p.policy == FIXED)
    assert fixed.saved_against_fixed is None
    assert (fixed.ratio_to_fixed.low, fixed.ratio_to_fixed.high) == (1, 1)


def test_figures_over_budgets_are_means_of_those_both_can_keep() -> None:
    found = arena()
    budgets = (share(30), share(40), share(60))  # GLOBAL has nothing at the first
    got = answers.over_budgets(found, BOOT, GREENFLOW, shares=budgets)
    assert got.value == pytest.approx((3.5 / 2 + 4 / 4) / 2)
    assert answers.over_budgets(found, BOOT, GREENFLOW, GREENFLOW, shares=budgets).value == 1


def test_where_no_judged_budget_can_be_kept_the_others_are_compared() -> None:
    found = arena()
    got = answers.over_budgets(found, BOOT, GREENFLOW, shares=(0.01, 0.02))
    assert got.value == pytest.approx((3.5 / 2 + 4 / 4) / 2)


def test_saved_against_the_middle_chain() -> None:
    got = answers.saved_against_middle(arena(), BOOT, GREENFLOW)
    assert got is not None
    assert got.value == pytest.approx(1 - 37.5 / 120)


def test_ranker_rows_are_one_a_pool_and_budget() -> None:
    rows = answers.ranker_rows(arena(), BOOT, {GREENFLOW: ("din", "dien"), GLOBAL: ("din",)})
    assert [(r.rankers, round(120 * r.budget_share)) for r in rows] == [
        (("din", "dien"), 30),
        (("din", "dien"), 40),
        (("din", "dien"), 60),
        (("din",), 40),
        (("din",), 50),
        (("din",), 60),
    ]
    assert rows[1].clicks.value == 3.5
