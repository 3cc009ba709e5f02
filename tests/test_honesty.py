"""No final user's clicks reach training, the reward model or the price before they score."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from greenflow_ray import config as configuration
from greenflow_ray import pipeline
from greenflow_ray.config import CascadeConfig
from greenflow_ray.console import Terminal
from greenflow_ray.datasets import storage
from greenflow_ray.datasets.schema import Clicks, Split
from greenflow_ray.evaluation import compare
from greenflow_ray.ragged import Ragged
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


def test_training_never_reads_the_final_users_clicks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Train with the final users' clicks as they are, then with others: every artifact is the same, byte for byte."""
    plain, other = tiny(tmp_path / "plain"), tiny(tmp_path / "other")
    pipeline.prepare_data(plain, QUIET)
    first = pipeline.train_models(plain, QUIET)

    pipeline.prepare_data(other, QUIET)
    data = storage.load(other.paths.data)
    clicks = {split: storage.load_clicks(other.paths.data, split) for split in Split}
    final = clicks[Split.FINAL]
    rng = np.random.default_rng(9)
    lies = Ragged.from_rows([rng.choice(len(data.catalog), 5, replace=False) for _ in final.users])
    storage.save(other.paths.data, data, {**clicks, Split.FINAL: Clicks(final.users, lies)})
    changed = storage.load_clicks(other.paths.data, Split.FINAL)
    assert changed.items.values.tolist() == lies.values.tolist()

    second = pipeline.train_models(other, QUIET)
    assert artifacts(plain.run) == artifacts(other.run)
    assert first.reward.manifest.calibration == second.reward.manifest.calibration
    prices = [pipeline.open_prices(c).latest() for c in (plain, other)]
    assert prices[0] is not None
    assert prices[1] is not None
    assert prices[0].frontier.to_bytes() == prices[1].frontier.to_bytes()


def test_offline_decisions_come_before_the_clicks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`evaluate` asks for the final users' clicks once, after the last policy has decided."""
    config = tiny(tmp_path)
    pipeline.prepare_data(config, QUIET)
    pipeline.train_models(config, QUIET)
    seen: list[str] = []
    load, decide = storage.load_clicks, compare.policies.priced

    def loading(folder: Path, split: Split) -> Clicks:
        seen.append(f"clicks {split.name}")
        return load(folder, split)

    def deciding(*args: object) -> object:
        seen.append("decide")
        return decide(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(compare, "load_clicks", loading)
    monkeypatch.setattr(compare.policies, "priced", deciding)
    result = compare.evaluate_run(config, QUIET)
    assert seen.count("clicks FINAL") == 1
    assert seen.index("clicks FINAL") > max(i for i, what in enumerate(seen) if what == "decide")
    assert {row["policy"] for row in result["policies"]} == {"best fixed chain", "GLOBAL", "GreenFlow"}
    for row in result["policies"]:
        if row["policy"] == "best fixed chain":
            assert row["cost_share"] <= row["budget_share"] + 1e-9
