from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenflow_ray.config import EnergyConfig
from greenflow_ray.energy.account import FORGET_AFTER, EnergyAccount
from greenflow_ray.energy.carbon.intensity import CarbonIntensity
from greenflow_ray.energy.metering.meter import EnergyWindow, Label
from greenflow_ray.errors import DataError

GRID = CarbonIntensity(360.0, "test", "average", 0.0)  # a joule is 0.1 mg


def window(joules: float, busy: float, *, seconds: float = 5.0, source: Label = "estimated") -> EnergyWindow:
    return EnergyWindow(seconds, joules, joules, 0.0, 0.0, source, source, f"by test, {source}", busy)


def account() -> EnergyAccount:
    return EnergyAccount(EnergyConfig())


def test_one_interval_by_hand() -> None:
    book = account()
    used = {"a": {"ranking-din": 2.0, "gateway": 1.0}, "b": {"ranking-din": 1.0}}
    flops = {"cheap": 100, "dear": 300}
    attributed = book.observe({"a": window(100, 4.0), "b": window(50, 2.0)}, used, flops, GRID)
    assert attributed == 100.0
    told = book.told()
    assert told["joules_by_deployment"] == {"gateway": 25.0, "ranking-din": 75.0}
    assert told["joules_by_chain"] == {"cheap": 25.0, "dear": 75.0}
    assert (told["joules"], told["joules_attributed"], told["joules_unattributed"]) == (150.0, 100.0, 50.0)
    assert (told["watts"], told["watts_attributed"]) == (30.0, 20.0)
    assert told["grams"] == pytest.approx(0.015)
    assert told["grams_attributed"] == pytest.approx(0.010)
    assert (told["grams_stale"], told["grams_kind"], told["label"]) == (0.0, "average", "estimated")
    assert told["node_seconds"] == 10.0


names = st.sampled_from(["a", "b", "c"])
seconds = st.floats(0, 1e4)
windows = st.builds(
    EnergyWindow,
    seconds=st.floats(0, 600),
    joules=st.floats(0, 1e6),
    cpu_joules=st.just(0.0),
    ram_joules=st.just(0.0),
    gpu_joules=st.just(0.0),
    source=st.sampled_from(["measured", "estimated"]),
    cpu_source=st.just("estimated"),
    method=st.sampled_from(["x", "y"]),
    node_cpu_seconds=seconds,
)
intensities = st.none() | st.builds(
    CarbonIntensity,
    grams_per_kwh=st.floats(0, 1000),
    source=st.just("test"),
    kind=st.just("average"),
    time=st.just(0.0),
    stale=st.booleans(),
)
observations = st.lists(
    st.tuples(
        st.dictionaries(names, windows),
        st.dictionaries(names, st.dictionaries(st.sampled_from(["gateway", "ranking-din", "recall"]), seconds)),
        st.dictionaries(st.sampled_from(["cheap", "dear"]), st.integers(0, 10**15)),
        intensities,
    ),
    max_size=8,
)


@given(seen=observations)
def test_parts_add_up_exactly_whatever_was_seen(seen: list[tuple[dict, dict, dict, CarbonIntensity | None]]) -> None:
    book = account()
    grams = attributed = 0.0
    for found, used, flops, grid in seen:
        attributed += book.observe(found, used, flops, grid)
        grams += sum(grid.grams(round(w.joules * 1e6) / 1e6) for w in found.values()) if grid else 0.0
    state = book.state()
    total = sum(round(w.joules * 1e6) for found, *_ in seen for w in found.values())
    parts = sum(state["deployments"].values())
    assert parts + state["unattributed"] == total == book.total_microjoules
    assert sum(state["chains"].values()) + state["idle"] == parts == book.attributed_microjoules
    assert sum(state["methods"].values()) == total
    assert all(value >= 0 for value in [*state["deployments"].values(), *state["chains"].values()])
    assert min(state["unattributed"], state["idle"]) >= 0
    told = book.told()
    assert told["joules_attributed"] == pytest.approx(attributed)
    assert (told["grams"] or 0.0) == pytest.approx(grams, abs=1e-9)
    json.dumps(told, allow_nan=False)


@given(seen=observations, cut=st.integers(0, 8))
def test_a_saved_account_goes_on_the_same(
    seen: list[tuple[dict, dict, dict, CarbonIntensity | None]],
    cut: int,
) -> None:
    whole, first, second = account(), account(), account()
    for row in seen:
        whole.observe(*row)
    for row in seen[:cut]:
        first.observe(*row)
    second.restore(json.loads(json.dumps(first.state(), allow_nan=False)))
    for row in seen[cut:]:
        second.observe(*row)
    assert second.state() == whole.state()


def test_a_missing_node_is_counted_and_its_work_waits_for_its_energy() -> None:
    book = account()
    both = {"a": {"din": 1.0}, "b": {"din": 1.0}}
    book.observe({"a": window(10, 2.0), "b": window(10, 2.0)}, both, {}, GRID)
    book.observe({"a": window(10, 2.0)}, both, {}, GRID)
    told = book.told()
    assert (told["nodes"]["a"]["heard"], told["nodes"]["b"]["heard"]) == (True, False)
    assert (told["nodes"]["b"]["intervals_missed"], told["nodes"]["b"]["problem"]) == (1, "not heard")
    assert told["joules"] == 30.0
    # the next window of b covers both intervals: four busy seconds, of which din had two
    book.observe({"a": window(10, 2.0), "b": window(20, 4.0)}, both, {}, GRID)
    told = book.told()
    assert told["joules_by_deployment"] == {"din": 5.0 + 5.0 + 5.0 + 5.0 + 10.0}
    assert told["nodes"]["b"]["heard"]
    assert told["nodes"]["b"]["problem"] is None


def test_work_that_a_new_meter_did_not_see_is_let_go() -> None:
    book = account()
    book.observe({}, {"a": {"din": 9.0}}, {}, GRID)
    book.observe({"a": window(10, 2.0)}, {"a": {"din": 1.0}}, {}, GRID)
    assert book.told()["joules_by_deployment"] == {"din": 5.0}


def test_flops_wait_for_energy_and_energy_without_flops_is_idle() -> None:
    book = account()
    book.observe({}, {}, {"cheap": 100}, GRID)
    book.observe({"a": window(10, 2.0)}, {"a": {"din": 2.0}}, {"dear": 300}, GRID)
    book.observe({"a": window(4, 2.0)}, {"a": {"din": 2.0}}, {}, GRID)
    told = book.told()
    assert (told["joules_by_chain"], told["joules_idle"]) == ({"cheap": 2.5, "dear": 7.5}, 4.0)


def test_a_node_that_is_gone_is_forgotten_but_not_its_energy() -> None:
    book = account()
    book.observe({"old": window(10, 2.0)}, {"old": {"din": 2.0}}, {}, GRID)
    for _ in range(FORGET_AFTER):
        book.observe({}, {"old": {"din": 0.0}}, {}, GRID)
    assert book.told()["nodes"]["old"]["intervals_missed"] == FORGET_AFTER
    book.observe({}, {}, {}, GRID)
    told = book.told()
    assert (told["nodes"], told["joules"]) == ({}, 10.0)


def test_each_interval_has_its_own_intensity_and_stale_ones_are_counted_apart() -> None:
    book = account()
    for grid in (
        CarbonIntensity(100.0, "live", "average", 0.0),
        CarbonIntensity(300.0, "live", "average", 0.0, stale=True),
        None,
    ):
        book.observe({"a": window(3.6e6, 1.0)}, {}, {}, grid)
    told = book.told()
    assert (told["grams"], told["grams_stale"], told["grams_attributed"]) == (400.0, 300.0, 0.0)
    assert told["joules_without_intensity"] == 3.6e6


def test_average_and_marginal_grams_are_never_added() -> None:
    book = account()
    book.observe({"a": window(3.6e6, 1.0)}, {}, {}, CarbonIntensity(100.0, "x", "average", 0.0))
    book.observe({"a": window(3.6e6, 1.0)}, {}, {}, CarbonIntensity(700.0, "x", "marginal", 0.0))
    told = book.told()
    assert (told["grams_kind"], told["grams"]) == ("marginal", 700.0)


def test_labels_follow_the_windows() -> None:
    book = account()
    assert book.told()["label"] == "estimated"
    book.observe({"a": window(30, 1.0, source="measured")}, {}, {}, GRID)
    assert book.told()["label"] == "measured"
    book.observe({"a": window(10, 1.0)}, {}, {}, GRID)
    told = book.told()
    assert (told["label"], told["measured_share"]) == ("estimated", 0.75)
    assert told["methods"] == ["by test, measured", "by test, estimated"]


@pytest.mark.parametrize("bad", [-1.0, math.nan, math.inf])
def test_one_nodes_nonsense_does_not_spoil_the_others(bad: float) -> None:
    book = account()
    good = {"good": window(10, 2.0), "bad": window(bad, 2.0), "odd": window(10, 2.0)}
    book.observe(good, {"good": {"din": 2.0}, "odd": {"din": bad}}, {"cheap": 1}, GRID)
    told = book.told()
    assert (told["joules"], told["joules_by_deployment"]) == (20.0, {"din": 10.0})
    assert "joules" in told["nodes"]["bad"]["problem"]
    assert "din" in told["nodes"]["odd"]["problem"]
    assert [told["nodes"][name]["heard"] for name in ("bad", "odd")] == [False, True]


@pytest.mark.parametrize(
    "spoil", [{"chains": 3}, {"grams": {"average": {"x": 1}}}, {"nodes": {"a": {}}}, {"idle": "x"}]
)
def test_a_malformed_state_is_refused_and_changes_nothing(spoil: dict[str, object]) -> None:
    book = account()
    book.observe({"a": window(10, 2.0)}, {"a": {"din": 2.0}}, {"cheap": 1}, GRID)
    before = json.dumps(book.state())
    with pytest.raises(DataError, match="start afresh"):
        book.restore({**book.state(), **spoil})
    assert json.dumps(book.state()) == before
