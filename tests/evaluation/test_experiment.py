"""`evaluate` from data to page: what it writes, what it reuses, how it resumes, and what each kind of data has."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from greenflow_ray.datasets import storage
from greenflow_ray.datasets.schema import Split
from greenflow_ray.errors import ConfigError
from greenflow_ray.evaluation import experiment, work
from greenflow_ray.evaluation.contest import learners
from greenflow_ray.evaluation.contest.arena import GREENFLOW, ORACLE
from greenflow_ray.evaluation.findings.shape import Evaluation
from greenflow_ray.evaluation.plan import SHARES, Plan
from greenflow_ray.models.training import train
from tests.evaluation import tiny


@pytest.fixture(scope="module", autouse=True)
def small_machine() -> Iterator[None]:
    with tiny.small_machine():
        yield


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Evaluation]:
    """The synthetic set, two seeds, everything answered."""
    plan = tiny.plan(tmp_path_factory.mktemp("run"), seeds=(0, 1))
    return plan, tiny.run(plan)


Done = tuple[Plan, Evaluation]


@pytest.fixture
def unwritten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing the page takes longest: leave it out where it is not the question."""
    monkeypatch.setattr(experiment, "write", lambda *_: None)


@pytest.fixture
def worked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What heavy work is done from now on."""
    seen: list[str] = []

    def watch(module: Any, name: str) -> None:
        real: Callable[..., Any] = getattr(module, name)

        def noted(*args: Any, **options: Any) -> Any:
            seen.append(name)
            return real(*args, **options)

        monkeypatch.setattr(module, name, noted)

    watch(train, "fit")
    watch(work, "realised_clicks")
    watch(learners, "_fit")
    return seen


def figures(document: Evaluation) -> dict[str, Any]:
    """All that must not change from run to run."""
    return document.model_dump(exclude={"seconds"})


def fingerprints(folder: Path) -> dict[str, str]:
    return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_it_writes_document_tables_page_and_picture(done: Done) -> None:
    plan, document = done
    run = plan.config.run
    assert figures(Evaluation.model_validate_json((run / "evaluation.json").read_text())) == figures(document)
    assert json.loads((run / "evaluation.json").read_text())["schema"] == 1
    with (run / "evaluation" / "policies.csv").open() as file:
        rows = list(csv.reader(file))
    assert len(rows) == 1 + sum(len(r.policies) for r in document.results)
    page = (run / "evaluation.html").read_text()
    assert "<svg" in page
    assert 'src="http' not in page
    assert (run / "evaluation.png").read_bytes().startswith(b"\x89PNG")
    assert not list(run.rglob("*.part"))


def test_the_document_answers_everything(done: Done) -> None:
    _, document = done
    assert (document.dataset, document.synthetic, document.cascade) == ("synthetic", True, "tiny")
    assert (document.seeds, document.cuts, document.items) == ((0, 1), 1, 200)
    assert sum(document.users.values()) == 160
    assert [m.name for m in document.models] == ["dssm", "ydnn", "din", "dien"]
    assert all(len(m.auc) == 2 for m in document.models)
    first, second = document.results
    assert (first.exposure, second.exposure) == (5, 10)
    assert first.chains == second.chains == 2 * (2 + 3 + 3)
    for result in document.results:
        names = {p.policy for p in result.policies}
        assert {"best fixed chain", "GLOBAL", "GreenFlow", "GreenFlow, boosted trees", "CRAS", "DCAF", ORACLE} <= names
        assert result.waterfalls
        assert {r.rankers for r in result.rankers} == {("din",), ("dien",), ("din", "dien")}
        assert [m.name for m in result.reward_models if m.serves] == ["network, taught by boosted trees"]
        served = {p.budget_share for p in result.policies if p.policy == GREENFLOW}
        assert served == {s for s in SHARES if s * result.fullest.flops >= result.cheapest.flops}
    # All questions at the first exposure, the main ones at the others.
    assert len(first.ablation) == 10
    assert len(first.reward_models) == 4
    assert first.tracking is not None
    assert {s.name for s in first.scales} == {"chains", "exposure"}
    assert (second.ablation, second.scales, second.tracking) == ((), (), None)
    assert len(second.reward_models) < len(first.reward_models)
    assert len(document.checks) >= 8


def test_spend_never_exceeds_the_budget(done: Done) -> None:
    for result in done[1].results:
        for point in result.policies:
            assert point.used <= 1 + 1e-9, (point.policy, point.budget_share)


def test_hindsight_is_best_at_every_budget(done: Done) -> None:
    for result in done[1].results:
        best = {p.budget_share: p.clicks.value for p in result.policies if p.policy == ORACLE}
        assert all(p.clicks.value <= best[p.budget_share] + 0.05 for p in result.policies)


def test_the_synthetic_set_has_ceilings(done: Done) -> None:
    for result in done[1].results:
        assert result.ceilings
        for line in result.ceilings:
            assert line.optimum >= max(line.global_, line.greenflow) - 0.01
            assert line.share == pytest.approx((line.greenflow - line.global_) / (line.optimum - line.global_))
    assert all(c.foreseeable is not None for c in done[1].results[0].ceilings)
    assert all(c.foreseeable is None for c in done[1].results[1].ceilings)


def test_a_second_run_reuses_everything(done: Done, worked: list[str]) -> None:
    plan, document = done
    before = fingerprints(plan.config.run / "seeds")
    written = {p: p.stat().st_mtime_ns for p in (plan.config.run / "seeds").rglob("*") if p.is_file()}
    again = tiny.run(plan)
    assert worked == []
    assert fingerprints(plan.config.run / "seeds") == before
    assert {p: p.stat().st_mtime_ns for p in written} == written
    assert figures(again) == figures(document)


@pytest.mark.parametrize("damage", ["truncated", "empty", "foreign", "altered", "other"])
def test_arrays_that_cannot_be_read_back_are_made_again(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "some.npz"
    wanted = np.arange(4000)
    held = work.kept(path, "key", lambda: {"values": wanted})
    assert held["values"].tolist() == wanted.tolist()
    whole = path.read_bytes()
    altered = bytearray(whole)
    altered[len(whole) // 2] ^= 0xFF
    content = {"truncated": whole[:-40], "empty": b"", "foreign": b"no array", "altered": bytes(altered)}
    path.write_bytes(content.get(damage, whole))
    made: list[int] = []

    def make() -> dict[str, Any]:
        made.append(1)
        return {"values": wanted}

    key = "other" if damage == "other" else "key"
    for _ in range(2):
        assert work.kept(path, key, make)["values"].tolist() == wanted.tolist()
    assert made == [1]
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.usefixtures("unwritten")
def test_a_damaged_grid_is_made_again(done: Done, worked: list[str]) -> None:
    plan, document = done
    path = work.grid_path(plan, 1, 0, Split.REWARD)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert figures(tiny.run(plan)) == figures(document)
    assert worked == ["realised_clicks"]
    assert path.read_bytes() == whole


@pytest.mark.usefixtures("unwritten")
def test_a_damaged_prediction_and_a_damaged_model_are_made_again(done: Done, worked: list[str]) -> None:
    plan, document = done
    held = fingerprints(plan.config.run / "seeds")
    path = next((plan.of(0, 0).run / "predictions").glob("*-5.npz"))
    path.write_bytes(path.read_bytes()[:-40])
    weights = plan.of(1, 0).paths.models / "ydnn.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4])
    assert figures(tiny.run(plan)) == figures(document)
    assert sorted(worked) == ["_fit", "fit"]
    assert fingerprints(plan.config.run / "seeds") == held


@pytest.mark.usefixtures("unwritten")
def test_an_interrupted_run_goes_on_where_it_was(
    done: Done, worked: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _, document = done
    plan = tiny.plan(tmp_path, seeds=(0, 1))
    fit, left = train.fit, [5]

    def stops(*args: Any, **options: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return fit(*args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(train, "fit", stops)
        with pytest.raises(KeyboardInterrupt):
            tiny.run(plan)
    models = {p: p.stat().st_mtime_ns for p in tmp_path.glob("seeds/*/models/*")}
    assert len(models) == 2 * 5
    worked.clear()
    predict, after = learners._fit, [7]

    def stops_later(*args: Any) -> Any:
        after[0] -= 1
        if after[0] < 0:
            raise KeyboardInterrupt
        return predict(*args)

    with monkeypatch.context() as patch:
        patch.setattr(learners, "_fit", stops_later)
        with pytest.raises(KeyboardInterrupt):
            tiny.run(plan)
    assert worked.count("fit") == 3
    worked.clear()
    resumed = tiny.run(plan)
    assert {p: p.stat().st_mtime_ns for p in models} == models
    assert worked.count("fit") == 0
    assert worked.count("realised_clicks") == 2  # the final users', one a seed
    dataset = storage.load(plan.config.paths.data)
    assert worked.count("_fit") == 2 * sum(len(learners.wanted(plan, dataset, e)) for e in plan.exposures) - 7
    assert figures(resumed) == figures(document)


@pytest.mark.usefixtures("unwritten")
def test_other_exposures_of_the_same_run_are_not_mixed_up(done: Done, tmp_path: Path) -> None:
    """In one process, what was gathered for some exposures must not answer for others."""
    wide = tiny.run(tiny.plan(tmp_path, exposures=(5, 10), full=False))
    alone = tiny.run(tiny.plan(tmp_path, exposures=(10,), full=False))
    fresh = tiny.run(tiny.plan(tmp_path / "fresh", exposures=(10,), full=False))
    assert figures(alone) == figures(fresh)
    # Models see data and seed only; the chains earn the same at e = 10, whatever else is asked for.
    assert alone.results[0].fullest == wide.results[1].fullest
    assert alone.results[0].policies == wide.results[1].policies


@pytest.mark.usefixtures("unwritten")
def test_pairs_without_times_are_cut_several_times(tmp_path: Path) -> None:
    data = tiny.write_movielens(tmp_path / "pairs", times=False)
    plan = tiny.plan(tmp_path / "run", changes={"data": data}, cuts=2, exposures=(5,))
    document = tiny.run(plan)
    assert document.cuts == 2
    assert not document.synthetic
    assert "2 times" in " ".join(document.notes)
    (result,) = document.results
    assert result.ceilings == ()
    assert "drift" not in {s.name for s in result.scales}
    # Both cuts were served, one model each seed, and their clicks differ.
    grids = [work.run_grid(plan, 0, cut, Split.FINAL) for cut in range(2)]
    assert grids[0].users.tolist() == grids[1].users.tolist()
    assert not np.array_equal(grids[0].clicks, grids[1].clicks)
    mean = np.mean([g.clicks[0][:, -1].mean() for g in grids])
    assert result.fullest.clicks.value == pytest.approx(mean)
    assert len(list((tmp_path / "run").glob("seeds/0/models/*.safetensors"))) == 4


@pytest.mark.usefixtures("unwritten")
def test_events_with_times_have_one_cut_and_a_question_of_drift(tmp_path: Path) -> None:
    data = tiny.write_movielens(tmp_path / "timed", times=True)
    document = tiny.run(tiny.plan(tmp_path / "run", changes={"data": data}, cuts=3, exposures=(5,)))
    assert document.cuts == 1
    assert not (tmp_path / "run" / "cuts").exists()
    (result,) = document.results
    drift = next(s for s in result.scales if s.name == "drift")
    assert [p.label for p in drift.points] == ["older half", "newer half"]
    assert drift.points[0].ratio_to_global != drift.points[1].ratio_to_global
    assert result.ceilings == ()


@pytest.mark.usefixtures("unwritten")
def test_many_users_of_one_day_still_make_two_halves(tmp_path: Path) -> None:
    """A clock that says the same for nearly everybody leaves neither half without users."""
    data = tiny.write_movielens(tmp_path / "day", times=True)
    file = tmp_path / "day" / "ratings.csv"
    head, *rows = file.read_text().splitlines()
    same = [row.rsplit(",", 1)[0] + (",5" if row.startswith("1,") else ",7") for row in rows]
    file.write_text("\n".join([head, *same]) + "\n")
    (result,) = tiny.run(tiny.plan(tmp_path / "run", changes={"data": data}, exposures=(5,))).results
    assert "drift" in {s.name for s in result.scales}


@pytest.mark.usefixtures("unwritten")
def test_quick_answers_the_policies_and_the_waterfall_alone(tmp_path: Path) -> None:
    document = tiny.run(tiny.plan(tmp_path, full=False))
    for result in document.results:
        assert result.policies
        assert (result.ablation, result.scales, result.tracking, result.rankers) == ((), (), None, ())
        assert [m.serves for m in result.reward_models].count(True) == 1


def test_one_model_in_every_pool(tmp_path: Path) -> None:
    stages = [*tiny.STAGES[:2], {**tiny.STAGES[2], "pool": tiny.STAGES[2]["pool"][:1]}]  # type: ignore[index]
    document = tiny.run(tiny.plan(tmp_path, changes={"stages": stages}, exposures=(5,)))
    (result,) = document.results
    assert result.chains == 8
    assert result.rankers == ()
    assert {"CRAS", "DCAF", "GreenFlow"} <= {p.policy for p in result.policies}
    assert (tmp_path / "evaluation.html").exists()


def test_a_narrow_cascade_has_no_budget_to_be_judged_at_and_says_so(tmp_path: Path) -> None:
    """The cheapest chain takes more than half of the fullest: all budgets that there are lie above those judged."""
    stages = [*tiny.STAGES[:1], {**tiny.STAGES[1], "scales": [80]}, {**tiny.STAGES[2], "scales": [30, 40]}]
    document = tiny.run(tiny.plan(tmp_path, changes={"stages": stages}, exposures=(5,)))
    (result,) = document.results
    assert min(p.budget_share for p in result.policies) > 0.5
    (check,) = document.checks
    assert not check.met
    assert "the cheapest chain takes" in check.value
    assert (tmp_path / "evaluation.html").exists()


def test_a_corpus_smaller_than_a_scale_is_refused_before_any_training(tmp_path: Path) -> None:
    data = tiny.write_movielens(tmp_path / "few", times=False, items=70)
    with pytest.raises(ConfigError, match=r"stages\.1\.scales: 80 exceeds the corpus of \d+ items; lower it") as told:
        tiny.run(tiny.plan(tmp_path / "run", changes={"data": data}))
    assert "\n" not in str(told.value)
    assert not (tmp_path / "run" / "seeds").exists()


@pytest.mark.usefixtures("unwritten")
def test_changed_data_is_no_reason_to_reuse(done: Done, tmp_path: Path, worked: list[str]) -> None:
    changes = {"data": {"format": "synthetic", "users": 160, "items": 200, "history": 0.5}}
    plan = tiny.plan(tmp_path, changes=changes, full=False, exposures=(5,))
    tiny.run(plan)
    count = len(worked)
    other = {"data": {**changes["data"], "history": 0.4}}
    document = tiny.run(tiny.plan(tmp_path, changes=other, full=False, exposures=(5,)))
    assert len(worked) == 2 * count
    assert storage.load(plan.config.paths.data).digest  # whole
    fresh = tiny.run(tiny.plan(tmp_path / "fresh", changes=other, full=False, exposures=(5,)))
    assert figures(fresh) == figures(document)


def test_several_processes_give_the_same_figures(done: Done, tmp_path: Path) -> None:
    _, document = done
    plan = tiny.plan(tmp_path, seeds=(0, 1), full=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment, "write", lambda *_: None)
        together = experiment.evaluate(plan, tiny.QUIET, "greenflow evaluate", workers=2)
    assert together.models == document.models
    for a, b in zip(together.results, document.results, strict=True):
        assert a.fullest == b.fullest
        for name in ("GLOBAL", "best fixed chain"):  # other trees grow there: the processes know nothing of the tests'
            assert [p.clicks for p in a.policies if p.policy == name] == [
                p.clicks for p in b.policies if p.policy == name
            ]


def test_a_team_s_own_scorer_is_evaluated_too(tmp_path: Path) -> None:
    own = {"name": "popular", "factory": "tests.evaluation.tiny:popular"}
    stages = [*tiny.STAGES[:2], {**tiny.STAGES[2], "pool": [tiny.STAGES[2]["pool"][0], own]}]
    document = tiny.run(tiny.plan(tmp_path, changes={"stages": stages}, full=False, exposures=(5,)))
    line = next(m for m in document.models if m.name == "popular")
    assert (line.stage, line.flops_per_item, line.flops_per_request) == ("ranking", 10, 3)
    assert 0.5 < line.auc[0] < 1.0
    assert len(document.models) == 4
