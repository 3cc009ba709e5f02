"""The first price: published once for a reward model and its chains' costs, anew when either is another."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from greenflow_ray.chains import ChainSpace
from greenflow_ray.config import RewardConfig
from greenflow_ray.nearline.repricing.first import publish_first
from greenflow_ray.pricing.store.base import open_store
from greenflow_ray.reward.stored import RewardManifest
from tests.serving.fakes import ByCost, cascade
from tests.worlds import make_world


def test_other_costs_of_the_same_chains_get_a_price_of_their_own(tmp_path: Path) -> None:
    config, world = cascade(tmp_path), make_world()
    dearer = ChainSpace(
        tuple(
            replace(s, pool=tuple(replace(m, flops_per_item=3 * m.flops_per_item) for m in s.pool))
            for s in world.space.stages
        )
    )
    assert dearer.names == world.space.names
    versions = []
    for space in (world.space, world.space, dearer, dearer):
        manifest = RewardManifest(
            sha256="same", digest="", chains=space.digest, context_vocabulary=5, config=RewardConfig(), calibration={}
        )
        versions.append(publish_first(config, world.dataset, space, ByCost(space), manifest))
        latest = open_store(config.paths.prices).latest()
        assert latest is not None
        assert latest.meta["chains"] == space.digest
    assert versions == [1, 1, 2, 2]
