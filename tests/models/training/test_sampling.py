"""Training examples: nothing clicked is called a non-click, and nothing foreign a click."""

import numpy as np

from greenflow_ray.config import TrainingConfig
from greenflow_ray.datasets.schema import Split
from greenflow_ray.models.training.sampling import Sampler, evaluation_pairs
from tests.models.worlds import sizes, small


def test_labels_are_true_and_histories_hide_their_targets() -> None:
    dataset, clicks = small()
    train = clicks[Split.TRAIN]
    settings = TrainingConfig(batch_users=1, targets_per_user=5, negatives=3, max_users=60)
    sampler = Sampler(dataset, train, settings, sizes(dataset, 6))
    everything = {
        frozenset(dataset.users.history.row(int(u)).tolist() + train.items.row(i).tolist())
        for i, u in enumerate(train.users)
    }
    batches = list(sampler.epoch(np.random.default_rng(0)))
    assert len(batches) == sampler.steps()
    checked = 0
    for batch in batches:
        used = batch.weights[0] > 0
        count = batch.candidates.shape[1] // 4
        clicked = set(batch.candidates[0, :count][used[:count]].tolist())
        others = set(batch.candidates[0, count:][used[count:]].tolist())
        past = set(batch.inputs.history[0][batch.inputs.mask[0] > 0].tolist())
        assert not clicked & past
        assert any(clicked | past <= events and not others & events for events in everything)
        checked += len(clicked) + len(others)
        assert 1 <= count <= 5
        assert batch.labels[0].tolist() == [1.0] * count + [0.0] * 3 * count
    assert checked > 500


def test_shift_undoes_the_choice_of_non_clicks() -> None:
    dataset, clicks = small()
    settings = TrainingConfig(batch_users=60, targets_per_user=40, negatives=20)
    sampler = Sampler(dataset, clicks[Split.TRAIN], settings, sizes(dataset))
    rng = np.random.default_rng(1)
    counts, shift = np.zeros(150), np.zeros(150)
    for _ in range(3):
        for batch in sampler.epoch(rng):
            drawn = batch.candidates[:, 40:].numpy().ravel()
            counts += np.bincount(drawn, minlength=150)
            shift[drawn] = batch.shift[:, 40:].numpy().ravel()
    # exp(−shift) is how much oftener than uniformly an item is drawn.
    often = counts / counts.mean()
    assert np.corrcoef(often, np.exp(-shift))[0, 1] > 0.99
    np.testing.assert_allclose(often, np.exp(-shift), rtol=0.2)


def test_evaluation_pairs_are_clicks_and_true_non_clicks() -> None:
    dataset, clicks = small()
    held = clicks[Split.VALIDATION]
    history = dataset.users.history.take(held.users)
    kept, positive, negative = evaluation_pairs(held, history, 150, np.random.default_rng(0), per_user=10)
    assert len(kept) > 5
    for i, row in enumerate(kept):
        clicked = set(held.items.row(int(row)).tolist())
        assert set(positive.row(i).tolist()) <= clicked
        assert not set(negative.row(i).tolist()) & (clicked | set(history.row(int(row)).tolist()))
        assert len(positive.row(i)) == min(10, len(clicked))
