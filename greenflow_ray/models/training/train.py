"""`greenflow train`: fit every model of the cascade on training users, judge it on validation users, keep it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.nn import functional as F

from greenflow_ray.config import TRAINED, CascadeConfig, ModelConfig
from greenflow_ray.datasets import storage
from greenflow_ray.datasets.features import TableFeatures
from greenflow_ray.datasets.schema import Catalog, Clicks, Dataset, Split
from greenflow_ray.models import pool, sealed
from greenflow_ray.models.costing import costs
from greenflow_ray.models.networks.network import Network, scorer_for
from greenflow_ray.models.networks.tensors import NetworkArgs, Sizes
from greenflow_ray.models.scorer import AsRanked, BareScorer, vet
from greenflow_ray.models.training import artifacts
from greenflow_ray.models.training.factors import click_factors
from greenflow_ray.models.training.sampling import Batch, Sampler, evaluation_pairs
from greenflow_ray.ragged import Ragged
from greenflow_ray.support.keep import digest
from greenflow_ray.support.progress import Progress, silent

CODE_VERSION = 1  # raised whenever the code of training or of a network changes what weights mean; part of every digest


@dataclass(frozen=True)
class ModelRow:
    """One line of the models' table (the paper's Table 1): costs in force, or as declared until they are measured."""

    stage: str
    name: str
    flops_per_item: int
    flops_per_request: int
    parameters: int
    auc: float | None
    reused: bool


def train(
    config: CascadeConfig, *, force: bool = False, only: Collection[str] | None = None, progress: Progress = silent
) -> list[ModelRow]:
    """Train, or reuse, every model of the cascade over the prepared set in ``config.paths.data``.

    A model is reused while data, training settings, its own settings, seed and code version stay the same and its
    weights pass their checksum, unless ``force``; ``only`` names some of them. Models with a factory of their own are
    not trained, only judged. Final and reward users' clicks are never read. Raises DataError if no data is prepared.
    """
    dataset = storage.load(config.paths.data)
    config.check_corpus(len(dataset.catalog))
    todo = [(s.name, m) for s in config.stages for m in s.pool if only is None or m.name in only]
    rows = []
    for i, (stage, model) in enumerate(todo):

        def report(message: str, share: float, *, done: int = i, name: str = model.name) -> None:
            progress(f"models: {name}: {message}", (done + share) / len(todo))

        if model.factory == TRAINED:
            rows.append(_train_one(config, dataset, stage, model, report, force=force))
        else:
            rows.append(_judge_one(config, dataset, stage, model))
        told = "no model" if rows[-1].auc is None else f"AUC {rows[-1].auc:.3f}"
        report(told + (", reused" if rows[-1].reused else ""), 1.0)
    known = config.costs != "declared" and pool.calibrated(config, dataset.catalog)
    return with_costs(config, rows, dataset.catalog) if known else rows


def with_costs(config: CascadeConfig, rows: Sequence[ModelRow], catalog: Catalog) -> list[ModelRow]:
    """The rows with the costs that chains are made of. Raises ArtifactError where these are yet to be measured."""
    if config.costs == "declared":
        return list(rows)
    models = {model.name: model for stage in config.stages for model in stage.pool}
    found = ((row, costs.in_force(config, pool.measured(config, models[row.name], catalog))) for row in rows)
    return [replace(row, flops_per_item=flops.per_item, flops_per_request=flops.per_request) for row, flops in found]


def _judge_one(config: CascadeConfig, dataset: Dataset, stage: str, model: ModelConfig) -> ModelRow:
    """The row of a model that is not ours to train."""
    scorer = pool.make_scorer(config, model, dataset.catalog)
    flops = costs.declared(scorer, model.name) or costs.Flops(0, 0)
    score = None  # of a list that it did not make
    if not isinstance(scorer, AsRanked):
        score = auc(scorer, dataset, storage.load_clicks(config.paths.data, Split.VALIDATION), config.seed)
    return ModelRow(stage, model.name, flops.per_item, flops.per_request, 0, score, reused=True)


def _train_one(
    config: CascadeConfig, dataset: Dataset, stage: str, model: ModelConfig, report: Progress, *, force: bool
) -> ModelRow:
    architecture, args = artifacts.resolve(model)
    weights = pool.weights_path(config, model)
    settings = f"{config.digest('training', 'seed', 'history_length')} {architecture} {model.name}"
    key = digest(f"{CODE_VERSION} {dataset.digest} {settings} {args.model_dump_json()}")
    held = kept = None if force else sealed.held(weights, artifacts.ModelManifest, key)
    if held is None:
        clicks = storage.load_clicks(config.paths.data, Split.TRAIN)
        network = fit(config, dataset, clicks, architecture, args, report)
        validation = storage.load_clicks(config.paths.data, Split.VALIDATION)
        manifest = artifacts.ModelManifest(
            name=model.name,
            stage=stage,
            architecture=architecture,
            args=args.model_dump(mode="json"),
            history_length=network.sizes.history,
            user_tokens=network.sizes.user_tokens,
            digest=key,
            catalog=pool.catalog_digest(dataset.catalog),
            data=dataset.digest,
            flops_per_item=network.flops.per_item,
            flops_per_request=network.flops.per_request,
            parameters=sum(p.numel() for p in network.parameters()),
            auc=auc(scorer_for(deepcopy(network)), dataset, validation, config.seed),
        )
        held = sealed.save(weights, network.state_dict(), manifest)
    told = (held.flops_per_item, held.flops_per_request, held.parameters, held.auc)
    return ModelRow(stage, model.name, *told, reused=kept is not None)


def fit(
    config: CascadeConfig,
    dataset: Dataset,
    clicks: Clicks,
    architecture: str,
    args: NetworkArgs,
    report: Progress = silent,
) -> Network:
    """Train one network on the training users' ``clicks``: ``args.loss``, Adam, rate falling linearly to zero.

    Deterministic for a seed and a number of torch threads; torch's global generator is left as it was.
    """
    settings = config.training
    rng = np.random.default_rng([config.seed, 0x7124])
    sizes = Sizes.of(dataset, args.history or config.history_length)
    sampler = Sampler(dataset, clicks, settings, sizes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        network = artifacts.ARCHITECTURES[architecture](args, sizes, dataset.catalog)
    network.warm_start(torch.from_numpy(click_factors(dataset, clicks, args.width)))
    optimiser = torch.optim.Adam(network.parameters(), lr=settings.learning_rate)
    epochs = settings.epochs * args.passes
    total = epochs * sampler.steps()
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: max(0.02, 1 - step / max(total, 1)))
    average: float | None = None
    network.train()
    for step, batch in enumerate((batch for _ in range(epochs) for batch in sampler.epoch(rng)), 1):
        optimiser.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=args.precision == "bfloat16"):
            scores, extra = network.training_step(batch.inputs, batch.candidates, batch.noise)
        loss = LOSSES[args.loss](scores.float() + batch.shift, batch)
        (loss if extra is None else loss + extra).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimiser.step()
        schedule.step()
        now = float(loss.detach())
        average = now if average is None else 0.95 * average + 0.05 * now
        if step % 10 == 0 or step == total:
            report(f"step {step} of {total}, loss {average:.3f}", step / total)
    return network.eval()


def logistic(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Mean binary cross-entropy of clicks and non-clicks."""
    summed = F.binary_cross_entropy_with_logits(logits, batch.labels, batch.weights, reduction="sum")
    return summed / batch.weights.sum().clamp(min=1)


def softmax(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Mean, over clicks, of the cross-entropy of a click among itself and its user's sampled non-clicks."""
    clicks = int(batch.labels[0].sum())
    others = logits[:, clicks:].masked_fill(batch.weights[:, clicks:] == 0, -torch.inf).logsumexp(1, keepdim=True)
    used = batch.weights[:, :clicks]
    return (F.softplus(others - logits[:, :clicks]) * used).sum() / used.sum().clamp(min=1)


LOSSES = {"logistic": logistic, "softmax": softmax}


def auc(scorer: BareScorer, dataset: Dataset, clicks: Clicks, seed: int) -> float:
    """How often a held-out click outranks a uniformly drawn non-click of the same user, the mean over all pairs.

    Ties count a half. The pairs depend on ``seed`` alone, so all models are judged on the same. NaN without any pair.
    """
    history = dataset.users.history.take(clicks.users)
    rng = np.random.default_rng([seed, 0xA0C])
    kept, positive, negative = evaluation_pairs(clicks, history, len(dataset.catalog), rng)
    if not len(kept):
        return float("nan")
    features = TableFeatures(dataset.users)
    wins = pairs = 0.0
    for part in np.split(np.arange(len(kept)), range(64, len(kept), 64)):
        requests = features.rows(clicks.users[kept[part]])
        blocks = []  # dense, NaN where a row ends, which is neither above nor equal to anything
        for rows in (positive.take(part), negative.take(part)):
            scores = vet(scorer, scorer.score(requests, rows), len(rows.values))
            blocks.append(Ragged(scores, rows.offsets).padded(int(rows.lengths.max()), np.nan))
        ours, theirs = blocks[0][:, :, None], blocks[1][:, None, :]
        wins += float((ours > theirs).sum()) + 0.5 * float((ours == theirs).sum())
        pairs += float((positive.lengths[part] * negative.lengths[part]).sum())
    return wins / pairs
