"""Training examples: users in batches, each with history, clicks to predict and sampled non-clicks.

Half of the visits show a user as prepared: the history, and held-out clicks as targets. The other half hide a random
part of the history and predict that too, so that every event of a training user teaches something.

Non-clicks are drawn half uniformly, half by popularity. ``shift`` undoes that choice: with it added to a score, the
score itself stays an unbiased estimate of the log odds up to a constant (sampled-softmax correction, Bengio and
Senécal 2008).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from greenflow_ray.config import TrainingConfig
from greenflow_ray.datasets.schema import I64, Clicks, Dataset, RequestBatch
from greenflow_ray.models.networks.tensors import Sizes, UserInputs
from greenflow_ray.ragged import Ragged

_MIXED = 0.5  # share of non-clicks drawn by popularity instead of uniformly


@dataclass(frozen=True)
class Batch:
    """One step's examples."""

    inputs: UserInputs  # the users
    candidates: torch.Tensor  # ``T`` clicks, then non-clicks, int64 ``[B, T·(1 + negatives)]``
    labels: torch.Tensor  # 1 for clicks, float32, same shape
    weights: torch.Tensor  # 0 where the place is not used, float32, same shape
    shift: torch.Tensor  # to be added to the scores before the loss, float32, same shape
    noise: torch.Tensor  # uniformly drawn items, int64 ``[B, L]``, for auxiliary losses


class Sampler:
    """Draws batches from the training users' histories and held-out clicks."""

    def __init__(self, dataset: Dataset, clicks: Clicks, settings: TrainingConfig, sizes: Sizes) -> None:
        self._settings, self._sizes, table = settings, sizes, dataset.users
        self._tokens = table.tokens.take(clicks.users)
        self._weights = None if table.weights is None else table.weights[table.tokens.positions(clicks.users)]
        self._history, self._targets = table.history.take(clicks.users), clicks.items
        self._with_events = np.flatnonzero(self._history.lengths + self._targets.lengths > 1)
        n = sizes.items
        pairs = [r.row_ids * n + r.values for r in (self._history, self._targets)]
        self._clicked = np.unique(np.concatenate(pairs))
        counts = np.bincount(np.concatenate([self._history.values, self._targets.values]), minlength=n) + 1.0
        draw = _MIXED * counts / counts.sum() + (1 - _MIXED) / n
        self._cumulative = np.cumsum(draw) / draw.sum()
        self._shift = -np.log(draw * n).astype(np.float32)

    def epoch(self, rng: np.random.Generator) -> Iterator[Batch]:
        """Every user once (``max_users`` at most), in random order."""
        users = rng.permutation(self._with_events)[: self._settings.max_users]
        for start in range(0, len(users), self._settings.batch_users):
            yield self._batch(users[start : start + self._settings.batch_users], rng)

    def steps(self) -> int:
        """Batches of an epoch."""
        return -(-min(len(self._with_events), self._settings.max_users) // self._settings.batch_users)

    def _batch(self, users: I64, rng: np.random.Generator) -> Batch:
        histories, drawn = [], []
        for user in users.tolist():
            past, targets = self._history.row(user), self._targets.row(user)
            if rng.random() < 0.5 or not len(targets):
                hidden = rng.random(len(past)) < rng.uniform(0.2, 0.8)
                targets, past = np.concatenate([targets, past[hidden]]), past[~hidden]
            histories.append(past)
            drawn.append(rng.permutation(targets)[: self._settings.targets_per_user])
        count = max(1, *(len(chosen) for chosen in drawn))
        positives = Ragged.from_rows(drawn, np.int64).padded(count, 0)
        used = (np.arange(count) < np.array([[len(chosen)] for chosen in drawn])).astype(np.float32)
        wanted = (len(users), count * self._settings.negatives)
        negatives = np.searchsorted(self._cumulative, rng.random(wanted)).clip(max=self._sizes.items - 1)
        keys = users[:, None] * self._sizes.items + negatives
        found = np.searchsorted(self._clicked, keys).clip(max=len(self._clicked) - 1)
        real = (self._clicked[found] != keys) & np.repeat(used > 0, self._settings.negatives, axis=1)
        candidates = np.concatenate([positives, negatives], axis=1)
        labels = np.zeros(candidates.shape, dtype=np.float32)
        labels[:, :count] = 1
        weights = None if self._weights is None else self._weights[self._tokens.positions(users)]
        known, tokens = np.ones(len(users), dtype=np.bool_), self._tokens.take(users)
        requests = RequestBatch(users, known, tokens, Ragged.from_rows(histories), weights)
        return Batch(
            UserInputs.of(requests, self._sizes),
            torch.from_numpy(candidates),
            torch.from_numpy(labels),
            torch.from_numpy(np.concatenate([used, real.astype(np.float32)], axis=1)),
            torch.from_numpy(self._shift[candidates]),
            torch.from_numpy(rng.integers(self._sizes.items, size=(len(users), self._sizes.history))),
        )


def evaluation_pairs(
    clicks: Clicks, history: Ragged, n_items: int, rng: np.random.Generator, *, per_user: int = 40
) -> tuple[I64, Ragged, Ragged]:
    """Validation candidates: of every user with a click, up to ``per_user`` clicks and as many uniform non-clicks.

    Returns positions in ``clicks`` of the users, their clicks and their non-clicks (never in history or clicks).
    """
    kept, positive, negative = [], [], []
    for i in np.flatnonzero(clicks.items.lengths).tolist():
        mine = clicks.items.row(i)
        seen = np.concatenate([mine, history.row(i)])
        others = np.setdiff1d(rng.integers(n_items, size=2 * per_user), seen)
        if len(others):
            kept.append(i)
            positive.append(rng.permutation(mine)[:per_user])
            negative.append(rng.permutation(others)[:per_user])
    return np.array(kept, dtype=np.int64), Ragged.from_rows(positive), Ragged.from_rows(negative)
