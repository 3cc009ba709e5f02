"""No final user's clicks reach training, the reward model, the price or an offline policy before they score."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from greenflow_ray import config as configuration
from greenflow_ray.config import CascadeConfig
from greenflow_ray.datasets import storage
from greenflow_ray.datasets.preparation import prepare
from greenflow_ray.datasets.schema import Clicks, Split
from greenflow_ray.evaluation import experiment
from greenflow_ray.evaluation.contest.arena import ORACLE, Arena, Corner
from greenflow_ray.evaluation.findings.shape import Evaluation
from greenflow_ray.evaluation.plan import Plan
from greenflow_ray.line import preparing
from greenflow_ray.pricing import open_store
from greenflow_ray.ragged import Ragged
from greenflow_ray.support.terminal import Terminal
from tests.evaluation import tiny as evaluations
from tests.test_line import CONFIG

QUIET = Terminal(quiet=True)


def tiny(run: Path) -> CascadeConfig:
    changes = {
        "data": {"format": "synthetic", "users": 160, "items": 200},
        "training": {"epochs": 1, "targets_per_user": 4},
    }
    return configuration.validated({**CONFIG, **changes, "run": str(run)}, "test")


def artifacts(run: Path) -> dict[str, str]:
    """Fingerprints of all weights and samples that a run's training leaves."""
    files = [*run.glob("models/*.safetensors"), *run.glob("reward/*.safetensors"), *run.glob("reward/*.npz")]
    assert len(files) >= 7
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_training_never_reads_the_final_users_clicks(tmp_path: Path) -> None:
    """Train with the final users' clicks as they are, then with others: every artifact is the same, byte for byte."""
    plain, other = tiny(tmp_path / "plain"), tiny(tmp_path / "other")
    preparing.prepare_data(plain, QUIET)
    first = preparing.train_models(plain, QUIET)

    preparing.prepare_data(other, QUIET)
    lie(other.paths.data)
    second = preparing.train_models(other, QUIET)
    assert artifacts(plain.run) == artifacts(other.run)
    assert first.reward.manifest.calibration == second.reward.manifest.calibration
    prices = [open_store(c.paths.prices).latest() for c in (plain, other)]
    assert prices[0] is not None
    assert prices[1] is not None
    assert prices[0].frontier.to_bytes() == prices[1].frontier.to_bytes()


def lie(folder: Path) -> None:
    """Replace the final users' clicks, in place, by others that pass for genuine."""
    data = storage.load(folder)
    clicks = {split: storage.load_clicks(folder, split) for split in Split}
    final = clicks[Split.FINAL]
    rng = np.random.default_rng(9)
    lies = Ragged.from_rows([rng.choice(len(data.catalog), 5, replace=False) for _ in final.users])
    storage.write(folder, data, {**clicks, Split.FINAL: Clicks(final.users, lies)})
    changed = storage.load_clicks(folder, Split.FINAL)
    assert changed.items.values.tolist() != final.items.values.tolist()


def decisions(plan: Plan) -> tuple[dict[tuple[int, int, str, float], bytes], Evaluation]:
    """Every chain that every policy of an evaluation chose, hindsight's apart, and the document."""
    found: dict[tuple[int, int, str, float], bytes] = {}
    reveal = experiment.reveal

    def look(arenas: dict[int, Arena], finals: Any, of: Plan) -> None:
        for exposure, arena in arenas.items():
            for seed, corner in zip(of.seeds, arena.corners, strict=True):
                for (name, share), chosen in corner.decided.items():
                    found[exposure, seed, name, share] = chosen.tobytes()
        reveal(arenas, finals, of)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment, "reveal", look)
        patch.setattr(experiment, "write", lambda *_: None)
        document = experiment.evaluate(plan, QUIET, "greenflow evaluate", workers=1)
    return found, document


@pytest.mark.parametrize("kind", ["synthetic", "pairs, two cuts"])
def test_no_offline_decision_depends_on_the_final_users_clicks(tmp_path: Path, kind: str) -> None:
    """Evaluate with the final users' clicks as they are, then from scratch with lies: every decision is the same."""
    plans = []
    for name in ("plain", "other"):
        changes: dict[str, Any] = {}
        if kind != "synthetic":
            changes["data"] = evaluations.write_movielens(tmp_path / name / "source", times=False)
            changes["data"]["path"] = str(tmp_path / "plain" / "source")
        seeds = (0, 1) if kind == "synthetic" else (0,)
        plans.append(evaluations.plan(tmp_path / name / "run", changes=changes, seeds=seeds, cuts=2))
    plain, other = plans
    with evaluations.small_machine():
        honest, document = decisions(plain)
        cuts = range(document.cuts)
        for cut in cuts:
            prepare(other.of(0, cut))
            lie(other.of(0, cut).paths.data)
        lied, another = decisions(other)
    assert len(cuts) == (1 if kind == "synthetic" else 2)
    assert honest == lied
    names = {name for _, _, name, _ in honest}
    assert {"GreenFlow", "GLOBAL", "CRAS", "DCAF", "best fixed chain", "GreenFlow, only din"} <= names
    assert {(e, s) for e, s, _, _ in honest} == {(e, s) for e in (5, 10) for s in plain.seeds}
    # The lies were believed where clicks may be: in the scores.
    assert [r.fullest.clicks for r in document.results] != [r.fullest.clicks for r in another.results]


def test_the_final_clicks_are_opened_after_the_last_offline_decision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    read, decide = storage.pq.read_table, Corner.decide

    def reading(source: Any, *args: Any, **options: Any) -> Any:
        seen.append(Path(source).name)
        return read(source, *args, **options)

    def deciding(self: Corner, name: str, *args: Any) -> None:
        seen.append(f"decide {name}")
        decide(self, name, *args)

    monkeypatch.setattr(storage.pq, "read_table", reading)
    monkeypatch.setattr(Corner, "decide", deciding)
    monkeypatch.setattr(experiment, "write", lambda *_: None)
    with evaluations.small_machine():
        experiment.evaluate(evaluations.plan(tmp_path, seeds=(0, 1)), QUIET, "greenflow evaluate", workers=1)
    made = [i for i, what in enumerate(seen) if what.startswith("decide ") and what != f"decide {ORACLE}"]
    assert len(made) > 50
    opened = [i for i, what in enumerate(seen) if what == "clicks-final.parquet"]
    assert opened
    assert max(made) < min(opened)
    # The other splits' clicks were opened before, so that the order above means something.
    assert seen.index("clicks-reward.parquet") < min(made)
    assert seen.index(f"decide {ORACLE}") > min(opened)
