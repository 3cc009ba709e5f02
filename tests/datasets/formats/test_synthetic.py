"""The synthetic set: seeded, known probabilities, users who differ."""

from pathlib import Path

import numpy as np
import pytest

from greenflow_ray.config import DataConfig
from greenflow_ray.datasets.formats.synthetic import TOP, generate, load_truth, save_truth
from greenflow_ray.datasets.schema import Split
from greenflow_ray.errors import ArtifactError

SMALL = DataConfig(users=400, items=300)


def test_the_seed_decides_everything() -> None:
    one, clicks_one, truth_one = generate(SMALL, 1, "d")
    two, clicks_two, truth_two = generate(SMALL, 1, "d")
    other, _, _ = generate(SMALL, 2, "d")
    np.testing.assert_array_equal(one.users.history.values, two.users.history.values)
    np.testing.assert_array_equal(clicks_one[Split.FINAL].items.values, clicks_two[Split.FINAL].items.values)
    np.testing.assert_array_equal(truth_one.users, truth_two.users)
    assert one.users.history.values.tolist() != other.users.history.values.tolist()


def test_held_out_clicks_follow_the_known_probabilities() -> None:
    dataset, clicks, truth = generate(SMALL, 0, "d")
    rows = np.arange(len(dataset.users))
    p = truth.probabilities(rows)
    history = dataset.users.history
    p[history.row_ids, history.values] = 0
    clicked = np.zeros(p.shape)
    for held in clicks.values():
        clicked[held.users[held.items.row_ids], held.items.values] = 1
    assert clicked[p == 0].sum() == 0
    # Calibration by decile of probability: each within five standard errors.
    order = np.argsort(p, axis=None)[(p == 0).sum() :]
    for part in np.array_split(order, 10):
        expected, found = p.ravel()[part], clicked.ravel()[part].sum()
        assert abs(found - expected.sum()) < 5 * np.sqrt((expected * (1 - expected)).sum()) + 1


def test_users_differ_in_activity_taste_and_history() -> None:
    dataset, _, truth = generate(SMALL, 0, "d")
    best = np.sort(truth.probabilities(np.arange(400)), axis=1)[:, -TOP:].sum(1)
    assert 4 < best.mean() < 12
    assert best.std() > 1
    lengths = dataset.users.history.lengths
    assert (lengths == 0).any()
    assert np.quantile(lengths, 0.9) > 4 * np.quantile(lengths, 0.1) > 20
    popularity = np.sort(dataset.catalog.popularity)[::-1]
    assert popularity[:30].mean() > 2.5 * np.median(popularity)
    assert {name.split("=")[0] for name in dataset.users.vocabulary} >= {"group", "gender", "age", "consumption"}
    assert {name.split("=")[0] for name in dataset.catalog.vocabulary} == {"category", "shop", "brand"}


def test_the_truth_survives_the_disk(tmp_path: Path) -> None:
    _, _, truth = generate(SMALL, 0, "d")
    save_truth(tmp_path, truth)
    rows = np.array([3, 1])
    np.testing.assert_array_equal(load_truth(tmp_path).probabilities(rows), truth.probabilities(rows))
    with pytest.raises(ArtifactError, match="only synthetic sets have one"):
        load_truth(tmp_path / "elsewhere")
