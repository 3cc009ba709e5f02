"""The reward model's training job: run every chain for the reward-sample users, fit, calibrate, store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from greenflow_ray.chains import ChainSpace
from greenflow_ray.config import CascadeConfig
from greenflow_ray.datasets.features import TableFeatures
from greenflow_ray.datasets.schema import F32, I16, I64, Dataset, Split
from greenflow_ray.datasets.storage import load_clicks
from greenflow_ray.errors import DataError
from greenflow_ray.models import sealed
from greenflow_ray.models.pool import fingerprints
from greenflow_ray.models.scorer import Scorer
from greenflow_ray.models.training.factors import click_factors
from greenflow_ray.reward.calibration import calibrate, fields_of
from greenflow_ray.reward.grid import ChainRunner, realised_clicks
from greenflow_ray.reward.network.boosted import BoostedRewards
from greenflow_ray.reward.network.fitting import RewardSamples, fit
from greenflow_ray.reward.network.model import layout
from greenflow_ray.reward.stored import WEIGHTS, RewardManifest, save_reward
from greenflow_ray.reward.traits import FACTORS, RewardFeatures
from greenflow_ray.support.keep import digest, kept
from greenflow_ray.support.progress import Progress, silent


@dataclass(frozen=True)
class RewardOutcome:
    """What training the reward model gave: its manifest (with calibration), and whether an earlier one was reused."""

    manifest: RewardManifest
    reused: bool


def train_reward(
    config: CascadeConfig,
    dataset: Dataset,
    pool: Mapping[str, Scorer],
    space: ChainSpace,
    *,
    force: bool = False,
    progress: Progress = silent,
) -> RewardOutcome:
    """Fit the reward model of ``config`` to the reward-sample users; validation users stop and calibrate it.

    The network learns what boosted trees make of those clicks, on the features of training users too: unlabelled, but
    many. Item vectors are made of training users' clicks; final users' clicks are never read. A stored model is reused
    while data, weights, chains and settings are unchanged.
    """
    folder = config.paths.reward
    settings = (config.digest("reward", "seed"), str(RewardManifest.SCHEMA))
    key = digest(_sample_digest(config, dataset, space), space.digest, *settings)
    if not force and (manifest := sealed.held(folder / WEIGHTS, RewardManifest, key)):
        return RewardOutcome(manifest, reused=True)
    features = TableFeatures(dataset.users)
    describe = describe_requests(config, dataset)
    runner = ChainRunner(space, pool, len(dataset.catalog), config.exposure)

    def sampled(split: Split) -> tuple[I64, RewardSamples]:
        rows, clicks = sample_clicks(config, dataset, runner, split, progress)
        return rows, RewardSamples(describe(features.rows(rows)), clicks)

    (_, train), (judges, validation) = sampled(Split.REWARD), sampled(Split.VALIDATION)
    if config.reward.teacher == "boosted":
        teacher = BoostedRewards.fit(
            train.features, train.clicks, config.seed, progress=lambda i, n: progress("growing the teacher", i / n)
        )
        train = distilled(teacher, train.features, describe(features.rows(dataset.users.of(Split.TRAIN))))
    fitting = "fitting the reward model"
    net = fit(layout(space), train, validation, config.reward, config.seed, lambda i, n: progress(fitting, i / n))
    progress(fitting, 1.0)
    predicted = net.evaluate(validation.features)
    calibration = calibrate(validation.clicks, predicted, fields_of(dataset.users, judges))
    manifest = RewardManifest(
        digest=key,
        chains=space.digest,
        context_vocabulary=len(dataset.users.vocabulary),
        config=config.reward,
        calibration=asdict(calibration),
    )
    return RewardOutcome(save_reward(folder, net, describe.factors, manifest), reused=False)


def describe_requests(config: CascadeConfig, dataset: Dataset) -> RewardFeatures:
    """The reward model's features over ``dataset``, with item vectors from its training users' clicks."""
    clicks = load_clicks(config.paths.data, Split.TRAIN)
    return RewardFeatures.of(dataset.catalog, len(dataset.users.vocabulary), click_factors(dataset, clicks, FACTORS))


def distilled(teacher: BoostedRewards, labelled: F32, unlabelled: F32) -> RewardSamples:
    """What the teacher expects of labelled and unlabelled requests, features ``[n, F]`` and ``[m, F]``.

    A network that is fitted to noisy clicks follows the noise; fitted to the trees' smooth answer, on more requests
    than have labels, it comes out better than on the clicks, and as good as the trees (Hinton et al. 2015).
    """
    features = np.concatenate([labelled, unlabelled])
    return RewardSamples(features, teacher.evaluate(features))


def sample_clicks(
    config: CascadeConfig, dataset: Dataset, runner: ChainRunner, split: Split, progress: Progress = silent
) -> tuple[I64, I16]:
    """User rows ``[n]`` of a split and their realised clicks under every chain, ``[n, J]``.

    Kept in the run's folder while data, weights and chains stay the same, for running all chains takes a while.
    """
    clicks = load_clicks(config.paths.data, split)
    name = split.name.lower()
    if not len(clicks.users):
        raise DataError(f"{config.paths.data}: no {name} users; lower the other shares of data.split")
    label = f"running {len(runner.space)} chains for {len(clicks.users)} {name} users"

    def run() -> dict[str, Any]:
        table = TableFeatures(dataset.users)
        return {"clicks": realised_clicks(runner, table, clicks, progress=lambda i, n: progress(label, i / n))}

    path = config.paths.reward / f"clicks-{name}.npz"
    return clicks.users, kept(path, _sample_digest(config, dataset, runner.space), run)["clicks"]


def _sample_digest(config: CascadeConfig, dataset: Dataset, space: ChainSpace) -> str:
    return digest(dataset.digest, *space.names, str(config.exposure), *fingerprints(config))
