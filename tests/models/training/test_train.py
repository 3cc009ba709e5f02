"""Training: it learns, repeats itself byte for byte, reuses what is unchanged, and never meets final users' clicks."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from greenflow_ray.config import CascadeConfig
from greenflow_ray.datasets import storage
from greenflow_ray.datasets.preparation import prepare
from greenflow_ray.datasets.schema import Catalog, Clicks, RequestBatch, Split
from greenflow_ray.errors import ConfigError, DataError
from greenflow_ray.models.pool import load_pool
from greenflow_ray.models.training.train import auc, train
from greenflow_ray.ragged import Ragged
from tests.models.worlds import ALL, config, small


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> CascadeConfig:
    declared = config(tmp_path_factory.mktemp("run"))
    prepare(declared)
    messages: list[str] = []
    rows = train(declared, progress=lambda m, s: messages.append(m))
    assert [(r.name, r.stage, r.reused) for r in rows] == [
        ("dssm", "recall", False),
        ("ydnn", "pre-ranking", False),
        ("din", "ranking", False),
        ("dien", "ranking", False),
    ]
    assert all(r.parameters > 1000 and 0 <= r.auc <= 1 for r in rows)
    assert any("step" in m for m in messages)
    return declared


def weights(run: CascadeConfig) -> dict[str, bytes]:
    return {name: (run.paths.models / f"{name}.safetensors").read_bytes() for name in ALL}


def test_nothing_is_trained_twice(trained: CascadeConfig) -> None:
    before = weights(trained)
    assert all(row.reused for row in train(trained))
    assert weights(trained) == before


def test_a_damaged_or_changed_model_is_trained_again(trained: CascadeConfig) -> None:
    before = weights(trained)
    (trained.paths.models / "ydnn.safetensors").write_bytes(b"damaged")
    assert {r.name: r.reused for r in train(trained)} == {"dssm": True, "ydnn": False, "din": True, "dien": True}
    assert weights(trained) == before
    assert not any(r.reused for r in train(trained, force=True))
    assert weights(trained) == before


def test_only_some_are_trained_and_come_out_the_same(trained: CascadeConfig, tmp_path: Path) -> None:
    other = trained.model_copy(update={"run": tmp_path, "prepared": trained.paths.data})
    assert [(r.name, r.reused) for r in train(other, only={"din"})] == [("din", False)]
    assert [p.name for p in sorted(other.paths.models.iterdir())] == ["din.json", "din.safetensors"]
    assert [(r.name, r.reused) for r in train(other, only={"dien", "din"})] == [("din", True), ("dien", False)]
    assert train(other, only=()) == []
    assert [r.reused for r in train(other)] == [False, False, True, True]
    assert weights(other) == weights(trained)


def test_final_and_reward_users_clicks_do_not_reach_the_weights(trained: CascadeConfig, tmp_path: Path) -> None:
    other = trained.model_copy(update={"run": tmp_path})
    dataset = storage.load(trained.paths.data)
    clicks = {split: storage.load_clicks(trained.paths.data, split) for split in Split}
    for split in (Split.FINAL, Split.REWARD):
        held = clicks[split]
        clicks[split] = Clicks(held.users, held.items.take(np.roll(np.arange(len(held.users)), 1)))
    storage.write(other.paths.data, dataset, clicks)
    train(other)
    assert weights(other) == weights(trained)


def test_training_users_clicks_do(trained: CascadeConfig, tmp_path: Path) -> None:
    other = trained.model_copy(update={"run": tmp_path})
    dataset = storage.load(trained.paths.data)
    clicks = {split: storage.load_clicks(trained.paths.data, split) for split in Split}
    held = clicks[Split.TRAIN]
    clicks[Split.TRAIN] = Clicks(held.users, held.items.take(np.roll(np.arange(len(held.users)), 1)))
    storage.write(other.paths.data, dataset, clicks)
    train(other)
    assert all(weights(other)[name] != weights(trained)[name] for name in ALL)


def test_it_learns(tmp_path: Path) -> None:
    declared = config(
        tmp_path,
        stages=[
            {"name": "recall", "pool": [{"name": "dssm"}], "scales": "corpus"},
            {"name": "ranking", "pool": [{"name": "ydnn"}], "scales": [20]},
        ],
        data={"users": 600, "items": 300},
        training={"epochs": 3},
        exposure=20,
    )
    prepare(declared)
    scores = {row.name: row.auc for row in train(declared)}
    assert scores["ydnn"] > max(scores["dssm"], 0.6)


class Oracle:
    """A scorer that a user brings: it prefers items by index."""

    flops_per_item, flops_per_request = 7, 11

    def __init__(self, weights: Path, catalog: Catalog, *, sign: float = 1.0) -> None:
        self.sign = sign

    def score(self, requests: RequestBatch, candidates: Ragged) -> npt.NDArray[np.float32]:
        return (self.sign * candidates.values).astype(np.float32)


def brought(run: Path, **model: Any) -> CascadeConfig:
    own = {"name": "own", "factory": "tests.models.training.test_train:Oracle", **model}
    stages = [
        {"name": "recall", "pool": [{"name": "dssm"}], "scales": "corpus"},
        {"name": "ranking", "pool": [own], "scales": [20]},
    ]
    return config(run, stages=stages)


def test_a_model_of_your_own_is_judged_not_trained(tmp_path: Path) -> None:
    declared = brought(tmp_path, args={"sign": -1.0})
    dataset = prepare(declared)
    _, row = train(declared)
    assert (row.name, row.flops_per_item, row.flops_per_request, row.reused) == ("own", 7, 11, True)
    pool = load_pool(declared, dataset.catalog)
    assert isinstance(pool["own"], Oracle)
    assert row.auc == pytest.approx(1 - train(brought(tmp_path))[1].auc, abs=1e-6)
    for factory in ("nowhere:f", "tests.models.training.test_train:missing", "nocolon"):
        with pytest.raises(ConfigError, match=r"cannot be imported|is not an import path"):
            load_pool(brought(tmp_path, factory=factory), dataset.catalog)
    with pytest.raises(ConfigError, match="made a dict, which is no Scorer"):
        load_pool(brought(tmp_path, factory="tests.models.training.test_train:no_scorer"), dataset.catalog)


def no_scorer(weights: Path, catalog: Catalog) -> dict[str, int]:
    return {}


def test_auc_is_the_share_of_ordered_pairs() -> None:
    dataset, clicks = small()
    held = clicks[Split.VALIDATION]

    class Knows(Oracle):
        def score(self, requests: RequestBatch, candidates: Ragged) -> npt.NDArray[np.float32]:
            mine = {int(dataset.users.user_ids[u]): set(held.items.row(i).tolist()) for i, u in enumerate(held.users)}
            ids = requests.user_ids[candidates.row_ids]
            right = [item in mine[int(u)] for u, item in zip(ids, candidates.values, strict=True)]
            return np.array(right, dtype=np.float32) * self.sign

    path = Path()
    assert auc(Knows(path, dataset.catalog), dataset, held, 0) == 1
    assert auc(Knows(path, dataset.catalog, sign=-1), dataset, held, 0) == 0
    assert auc(Knows(path, dataset.catalog, sign=0), dataset, held, 0) == 0.5


def test_training_without_data_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="run `greenflow prepare` first"):
        train(config(tmp_path))
