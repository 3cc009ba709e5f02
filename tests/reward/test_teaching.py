"""What every chain earned from a split's users is kept, and made again where it is damaged or of other inputs."""

from pathlib import Path

import numpy as np
import pytest

from greenflow_ray.config import CascadeConfig
from greenflow_ray.datasets import storage
from greenflow_ray.datasets.schema import Clicks, Dataset, Split
from greenflow_ray.errors import DataError
from greenflow_ray.reward import teaching
from greenflow_ray.reward.grid import ChainRunner
from greenflow_ray.reward.teaching import sample_clicks
from tests.models.worlds import config
from tests.worlds import make_world

WORLD = make_world()
RUNNER = ChainRunner(WORLD.space, WORLD.pool, 60, 5)


@pytest.fixture
def run(tmp_path: Path) -> tuple[CascadeConfig, Dataset]:
    declared = config(tmp_path, exposure=5)
    rows = {split: WORLD.dataset.users.of(split) for split in Split}
    storage.write(
        declared.paths.data, WORLD.dataset, {s: Clicks(r, WORLD.clicks.items.take(r)) for s, r in rows.items()}
    )
    return declared, storage.load(declared.paths.data)


@pytest.mark.parametrize("damage", ["none", "truncated", "empty", "foreign", "altered"])
def test_samples_are_kept_and_made_again_where_damaged(
    run: tuple[CascadeConfig, Dataset], monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    declared, dataset = run
    users, clicks = sample_clicks(declared, dataset, RUNNER, Split.REWARD)
    assert users.tolist() == WORLD.dataset.users.of(Split.REWARD).tolist()
    path = declared.paths.reward / "clicks-reward.npz"
    whole = path.read_bytes()
    altered = bytearray(whole)
    altered[60:80] = b"\xff" * 20
    content = {"truncated": whole[:-30], "empty": b"", "foreign": b"hello", "altered": bytes(altered)}
    path.write_bytes(content.get(damage, whole))
    made: list[int] = []
    real = teaching.realised_clicks
    monkeypatch.setattr(teaching, "realised_clicks", lambda *a, **o: (made.append(1), real(*a, **o))[1])
    for _ in range(2):
        np.testing.assert_array_equal(sample_clicks(declared, dataset, RUNNER, Split.REWARD)[1], clicks)
    assert made == ([] if damage == "none" else [1])


def test_other_chains_or_exposures_are_other_samples(run: tuple[CascadeConfig, Dataset]) -> None:
    declared, dataset = run
    _, at_five = sample_clicks(declared, dataset, RUNNER, Split.REWARD)
    other = ChainRunner(WORLD.space, WORLD.pool, 60, 2)
    _, at_two = sample_clicks(declared.model_copy(update={"exposure": 2}), dataset, other, Split.REWARD)
    assert (at_two <= at_five).all()
    assert at_two.sum() < at_five.sum()


def test_a_split_without_users_is_told(run: tuple[CascadeConfig, Dataset]) -> None:
    declared, dataset = run
    none = Clicks(np.empty(0, dtype=np.int64), WORLD.clicks.items.take(np.empty(0, dtype=np.int64)))
    storage.write(declared.paths.data, dataset, {Split.REWARD: none})
    with pytest.raises(DataError, match=r"no reward users; lower the other shares of data\.split"):
        sample_clicks(declared, dataset, RUNNER, Split.REWARD)
