"""The first price: a frontier from the reward-sample users, so that a fresh application need not wait for samples."""

from __future__ import annotations

from greenflow_ray.chains import ChainSpace
from greenflow_ray.config import CascadeConfig
from greenflow_ray.datasets.features import TableFeatures
from greenflow_ray.datasets.schema import Dataset, Split
from greenflow_ray.pricing.frontier import Frontier
from greenflow_ray.pricing.store.base import open_store
from greenflow_ray.pricing.store.records import PriceDraft
from greenflow_ray.reward.stored import RewardManifest
from greenflow_ray.reward.traits import RewardEstimator


def publish_first(
    config: CascadeConfig, dataset: Dataset, space: ChainSpace, reward: RewardEstimator, manifest: RewardManifest
) -> int:
    """Publish the reward-sample users' frontier unless the store's latest belongs to the same reward model and costs.

    Returns the version now in the store. Served samples replace this frontier from the first repricing on.
    """
    store = open_store(config.paths.prices)
    latest = store.latest()
    mine = {"chains": space.digest, "reward": manifest.sha256}
    if latest is not None and mine.items() <= latest.meta.items():
        return latest.version
    features = TableFeatures(dataset.users)
    rows = dataset.users.of(Split.REWARD)
    frontier = Frontier.empty()
    for start in range(0, len(rows), 512):
        frontier = frontier + Frontier.build(reward.predict(features.rows(rows[start : start + 512])), space.costs)
    draft = PriceDraft(
        frontier=frontier, price=0.0, requests=frontier.requests, meta={**mine, "source": "reward-sample users"}
    )
    return store.publish(draft, expected_version=latest.version if latest else 0).version
