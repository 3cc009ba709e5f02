"""What the four architectures share: embeddings, the split into user side, item tables and match, and serving.

A network is three functions. ``tables`` computes all that depends on the item alone, for every item: in training at
each step, at serving once, when the model is loaded. ``users`` computes all that depends on the user alone, once a
request. ``match`` does what is left, for every candidate: this is what an item costs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from itertools import pairwise
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from greenflow_ray.datasets.schema import F32, I64, Catalog, RequestBatch
from greenflow_ray.models.costing.costs import Flops
from greenflow_ray.models.networks.tensors import NetworkArgs, Sizes, UserInputs
from greenflow_ray.ragged import Ragged

Tensors = tuple[Tensor, ...]


class Network(nn.Module, ABC):
    """Base of the architectures."""

    Args: ClassVar[type[NetworkArgs]]
    scores_corpus: ClassVar[bool] = False
    token_values: Tensor
    token_offsets: Tensor
    popularity: Tensor

    def __init__(self, args: NetworkArgs, sizes: Sizes, catalog: Catalog) -> None:
        super().__init__()
        self.args, self.sizes = args, sizes
        if args.sees("content"):
            self.content = nn.Embedding(max(sizes.item_tokens, 1), args.width)
            nn.init.normal_(self.content.weight, std=0.1)
        if args.sees("id"):
            self.identity = nn.Embedding(sizes.items, args.width)
            nn.init.normal_(self.identity.weight, std=0.01)
        if args.sees("context"):
            self.context = nn.Embedding(sizes.user_tokens + 1, args.context_width)  # the last: tokens we do not know
            nn.init.normal_(self.context.weight, std=0.1)
        log = np.log(catalog.popularity.astype(np.float64) + 1e-4)
        z = (log - log.mean()) / max(float(log.std()), 1e-6)
        constants = {  # they come from the catalog, not from the weights
            "token_values": catalog.tokens.values.astype(np.int64),
            "token_offsets": catalog.tokens.offsets[:-1].astype(np.int64),
            "popularity": np.column_stack([z, z * z / 2]).astype(np.float32),
        }
        for name, array in constants.items():
            self.register_buffer(name, torch.from_numpy(array), persistent=False)

    @property
    def flops(self) -> Flops:
        """What the network costs at serving."""
        return self.args.flops(self.sizes.history)

    @abstractmethod
    def tables(self) -> Tensors:
        """All that depends on the item alone: tensors ``[n_items, …]``, the first of them item vectors."""

    @abstractmethod
    def users(self, inputs: UserInputs, tables: Tensors) -> Tensors:
        """All that depends on the user alone: tensors ``[B, …]``."""

    @abstractmethod
    def match(self, users: Tensors, items: Tensors) -> Tensor:
        """Scores ``[B, n]`` of each user's ``n`` candidates: ``users`` are ``[B, …]``, ``items`` ``[B, n, …]``."""

    def match_corpus(self, users: Tensors, tables: Tensors) -> Tensor:
        """Scores of every item, ``[B, n_items]``; recall models override it by something faster."""
        return self.match(users, tuple(t.expand(len(users[0]), *t.shape) for t in tables))

    def training_step(self, inputs: UserInputs, candidates: Tensor, noise: Tensor) -> tuple[Tensor, Tensor | None]:  # noqa: ARG002
        """Scores of ``candidates`` ``[B, n]``; an auxiliary loss over random items, ``noise`` ``[B, L]``, if any."""
        tables = self.tables()
        return self.match(self.users(inputs, tables), pick(tables, candidates)), None

    def warm_start(self, factors: Tensor) -> None:
        """Begin with item ``factors``, ``[n_items, width]``: tokens at their items' mean, identities at the rest."""
        rest = factors
        if self.args.sees("content") and len(self.token_values):
            lengths = torch.diff(self.token_offsets, append=torch.tensor([len(self.token_values)]))
            owners = torch.repeat_interleave(torch.arange(self.sizes.items), lengths)
            sums = torch.zeros_like(self.content.weight).index_add(0, self.token_values, factors[owners])
            counts = torch.bincount(self.token_values, minlength=len(sums)).clamp(min=1).unsqueeze(1)
            self.content.weight.data.copy_(sums / counts)
            rest = factors - self._content().detach()
        if self.args.sees("id"):
            self.identity.weight.data.copy_(rest)

    def item_vectors(self) -> Tensor:
        """Content and identity of every item, ``[n_items, width]``."""
        vectors = torch.zeros(self.sizes.items, self.args.width)
        if self.args.sees("content") and len(self.token_values):
            vectors = vectors + self._content()
        if self.args.sees("id"):
            vectors = vectors + self.identity.weight
        return vectors

    def _content(self) -> Tensor:
        return F.embedding_bag(self.token_values, self.content.weight, self.token_offsets, mode="mean")

    def with_popularity(self, vectors: Tensor) -> Tensor:
        """Item vectors ``[n_items, width]``, joined by popularity if the network sees it."""
        return torch.cat([vectors, self.popularity], 1) if self.args.sees("popularity") else vectors

    def user_vector(self, inputs: UserInputs, history: Tensor) -> Tensor:
        """Context (a mean of tokens' vectors), means of ``history`` ``[B, L, width]`` and of popularity, joined."""
        parts = []
        if self.args.sees("context"):
            shares, mode = inputs.shares, "mean" if inputs.shares is None else "sum"
            bags = (inputs.tokens, self.context.weight, inputs.offsets)
            parts.append(F.embedding_bag(*bags, mode=mode, per_sample_weights=shares))
        if self.args.sees("history"):
            share = (inputs.mask / inputs.mask.sum(1, keepdim=True).clamp(min=1)).unsqueeze(-1)
            parts.append((history * share).sum(1))
            if self.args.sees("popularity"):
                parts.append((F.embedding(inputs.history, self.popularity) * share).sum(1))
        return torch.cat(parts, 1) if parts else inputs.mask.new_zeros(len(inputs.history), 1)


def pick(tables: Tensors, items: Tensor) -> Tensors:
    """Rows ``items``, int64 ``[B, n]``, of every table ``[n_items, width]``: ``[B, n, width]`` each."""
    return tuple(F.embedding(items, table) for table in tables)


def mlp(*widths: int) -> nn.Sequential:
    """Fully connected layers with ReLU between them (none at the end)."""
    steps: list[nn.Module] = []
    for a, b in pairwise(widths):
        steps += [nn.ReLU(), nn.Linear(a, b)]
    return nn.Sequential(*steps[1:])


PAIRS = 2048  # pairs of request and candidate matched at once: so many layers' outputs stay in a core's cache


class TorchScorer:
    """Serves a network: :class:`~greenflow_ray.models.scorer.Scorer` over ragged batches."""

    def __init__(self, network: Network) -> None:
        """The network becomes this scorer's: it may change to ``args.precision``."""
        self.network = network.eval()
        self.flops_per_item, self.flops_per_request = network.flops.per_item, network.flops.per_request
        self._dtype = getattr(torch, network.args.precision)
        with torch.inference_mode():
            self.tables = tuple(t.to(self._dtype).contiguous() for t in network.tables())
        network.to(self._dtype)

    def _users(self, requests: RequestBatch) -> Tensors:
        inputs = UserInputs.of(requests, self.network.sizes).to(self._dtype)
        return self.network.users(inputs, self.tables)

    def score(self, requests: RequestBatch, candidates: Ragged) -> F32:
        """Scores of ``candidates`` (item indices, one row a request), float32 ``[total]``."""
        out = np.empty(len(candidates.values), dtype=np.float32)
        if not len(out):
            return out
        # Requests with equally many candidates are matched together: no work is spent on padding.
        items = torch.from_numpy(candidates.values.astype(np.int64))
        with torch.inference_mode():
            users = self._users(requests)
            for rows, block in equal_blocks(candidates, PAIRS):
                who = torch.from_numpy(rows)
                mine = users if len(rows) == len(requests) else tuple(u[who] for u in users)
                chosen = pick(self.tables, items[torch.from_numpy(block)])
                out[block] = self.network.match(mine, chosen).float().numpy()
        return out


class TorchCorpusScorer(TorchScorer):
    """A :class:`TorchScorer` whose network can score the whole corpus in one product."""

    def score_corpus(self, requests: RequestBatch) -> F32:
        """Scores of every item, float32 ``[B, n_items]``."""
        with torch.inference_mode():
            return np.asarray(self.network.match_corpus(self._users(requests), self.tables).float().numpy())


def equal_blocks(candidates: Ragged, most: int) -> list[tuple[I64, I64]]:
    """Rows that are not empty, parted by length and by ``most`` values: themselves, and places of their values."""
    lengths = candidates.lengths
    blocks = []
    for length in np.unique(lengths[lengths > 0]):
        rows = np.flatnonzero(lengths == length)
        step = max(1, most // int(length))
        parts = np.split(rows, range(step, len(rows), step))
        blocks += [(part, candidates.offsets[part][:, None] + np.arange(length)) for part in parts]
    return blocks


def scorer_for(network: Network) -> TorchScorer:
    """Wrap a network in the scorer that fits it."""
    return TorchCorpusScorer(network) if network.scores_corpus else TorchScorer(network)
