"""A seeded set in Ali-CCP's shape whose click probabilities are known, with users who differ in how hard they serve.

A user's logit for an item is a weighted sum of three tastes, each of unit spread over the corpus:

- *content*: liked categories, shops and brands. Any content model finds these, so a cheap chain serves well;
- *popularity*: what everybody clicks. Pre-ranking sees it, recall does not, so it takes many items pre-ranked;
- *hidden*: a taste no content tells, visible only through which items were clicked. It takes a deep model and many
  items ranked.

The weights follow the user's profile group and consumption level loosely, and show in the history, so that the reward
of a chain can be foreseen. Spread (how peaked a taste is), activity (expected clicks in the best twenty) and the
heavy-tailed history length vary on their own. Older history partly reflects an older hidden taste.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from greenflow_ray.config import DataConfig
from greenflow_ray.datasets.assembly import joined, split_users
from greenflow_ray.datasets.schema import F32, F64, I64, Clicks, Dataset, Split
from greenflow_ray.datasets.tokens import TokensById
from greenflow_ray.errors import ArtifactError
from greenflow_ray.ragged import Ragged

TRUTH = "truth.safetensors"
TOP = 20  # activity is expressed as expected clicks in the user's best twenty items

_CATEGORIES, _SHOPS, _BRANDS, _GROUPS = 40, 240, 160, 8
_DIM, _HIDDEN = 6, 4
_BLOCK = 512
_FIELDS = {"gender": 2, "age": 7, "consumption": 3, "works": 2, "geography": 5}


@dataclass(frozen=True)
class Truth:
    """The known click model: ``probability = sigmoid(users · items + offset)``."""

    users: F32  # factors of every user, float32 ``[n_users, d]``
    items: F32  # factors of every item, float32 ``[n_items, d]``
    offset: F32  # logit of an item of average appeal, float32 ``[n_users]``

    def logits(self, user_rows: I64) -> F32:
        """Logits of a click, float32 ``[n, n_items]``, for rows of the users table."""
        return np.asarray(self.users[user_rows] @ self.items.T + self.offset[user_rows, None])

    def probabilities(self, user_rows: I64) -> F32:
        """Probability that each user would click each item, float32 ``[n, n_items]``, for rows of the users table."""
        return np.asarray(np.reciprocal(np.float32(1) + np.exp(-self.logits(user_rows))))


def load_truth(folder: Path) -> Truth:
    """Read the click model of a prepared synthetic set. Raises ArtifactError if the folder holds none."""
    path = Path(folder) / TRUTH
    try:
        return Truth(**load_file(path))
    except (OSError, SafetensorError, TypeError) as error:
        raise ArtifactError(
            f"{path}: no readable click model ({type(error).__name__}); only synthetic sets have one, prepared by "
            "`greenflow prepare` without a data path"
        ) from error


def save_truth(folder: Path, truth: Truth) -> None:
    """Write the click model beside the prepared set."""
    save_file(vars(truth), folder / TRUTH)


def generate(data: DataConfig, seed: int, digest: str) -> tuple[Dataset, dict[Split, Clicks], Truth]:
    """Draw users, items, histories and held-out clicks (Bernoulli, on items outside the history)."""
    rng = np.random.default_rng([seed, 0x51A7])
    items, item_tokens, category = _items(data.items, rng)
    context, user_tokens = _context(data.users, rng)
    factors, older = _tastes(context, items, category, rng)
    offset = _offsets(factors, items, _activity(context, rng))
    truth = Truth(factors, items, offset)
    history, held_out = _events(truth, older, _history_lengths(data.users, data.items, rng), rng)
    since = np.zeros(data.users, dtype=np.int64)
    split = split_users(data.users, data.split, seed)
    catalog, users, clicks = joined(user_tokens, item_tokens, history, held_out, split, since)
    return Dataset("synthetic", True, True, seed, digest, catalog, users), clicks, truth


def _ids(n: int) -> I64:
    return np.arange(1, n + 1, dtype=np.int64)


def _unit(x: F64) -> F64:
    return np.asarray(x / np.linalg.norm(x, axis=-1, keepdims=True))


def _standard(x: F64) -> F64:
    return np.asarray((x - x.mean(0)) / x.std(0))


def _items(n: int, rng: np.random.Generator) -> tuple[F32, TokensById, I64]:
    """Item factors ``[n, d]``: content, popularity, hidden; tokens; categories. Shops and brands specialise."""
    sizes = rng.zipf(1.6, _CATEGORIES).clip(1, 12).astype(float) + 2
    category = rng.choice(_CATEGORIES, n, p=sizes / sizes.sum())
    home = rng.integers(_CATEGORIES, size=_SHOPS + _BRANDS)
    shop, brand = np.empty(n, dtype=np.int64), np.empty(n, dtype=np.int64)
    for chosen, lot in ((shop, np.arange(_SHOPS)), (brand, np.arange(_SHOPS, _SHOPS + _BRANDS))):
        # Most shops and brands sell mainly their home category; one in five items is sold elsewhere.
        for c in range(_CATEGORIES):
            rows = np.flatnonzero(category == c)
            own = lot[home[lot] == c]
            pool = own if len(own) else lot
            stray = rng.random(len(rows)) < 0.2
            chosen[rows] = np.where(stray, rng.choice(lot, len(rows)), rng.choice(pool, len(rows)))
        chosen -= lot[0]
    vectors = {k: rng.normal(size=(m, _DIM)) for k, m in (("c", _CATEGORIES), ("s", _SHOPS), ("b", _BRANDS))}
    content = vectors["c"][category] + 0.5 * vectors["b"][brand] + 0.35 * vectors["s"][shop]
    appeal = np.minimum(rng.gamma(2.0, size=n), 8.0)  # skewed: a few items are clicked by very many
    hidden = rng.normal(size=(n, _HIDDEN))
    factors = np.column_stack([_standard(content), _standard(appeal[:, None]), _standard(hidden)])
    tokens = TokensById.from_columns(_ids(n), {"category": category, "shop": shop, "brand": brand})
    return factors.astype(np.float32), tokens, category


def _context(n: int, rng: np.random.Generator) -> tuple[dict[str, I64], TokensById]:
    fields = {name: rng.choice(m, n, p=rng.dirichlet(np.full(m, 4.0))) for name, m in _FIELDS.items()}
    # The profile group follows age and gender, with noise: segments as a platform would compute them.
    noise = rng.random(n) < 0.3
    group = np.where(noise, rng.integers(_GROUPS, size=n), (fields["age"] + 3 * fields["gender"]) % _GROUPS)
    fields = {"group": group, **fields}
    return fields, TokensById.from_columns(_ids(n), fields)


def _tastes(context: dict[str, I64], items: F32, category: I64, rng: np.random.Generator) -> tuple[F32, F32]:
    """User factors ``[n, d]``, and the hidden part of the older taste."""
    group, level = context["group"], context["consumption"]
    n = len(group)
    # Which taste rules a user: by group, shifted by consumption level (higher: more hidden taste).
    lean = rng.dirichlet(np.full(3, 0.5), _GROUPS)[group]
    lean[:, 2] += 0.25 * level
    weights = rng.standard_gamma(0.1 + np.array([1.6, 1.1, 1.7]) * lean) + 0.01
    weights = np.sqrt(weights / weights.sum(1, keepdims=True))
    centres = np.zeros((_CATEGORIES, _DIM))
    np.add.at(centres, category, items[:, :_DIM])
    centres /= np.maximum(np.bincount(category, minlength=_CATEGORIES), 1)[:, None]
    liked = centres[rng.integers(_CATEGORIES, size=(n, 2))].sum(1)
    liked += 1.2 * rng.normal(size=(_GROUPS, _DIM))[group]
    content, hidden, older = _unit(liked), _unit(rng.normal(size=(n, _HIDDEN))), _unit(rng.normal(size=(n, _HIDDEN)))
    older = _unit(hidden + older)
    spread = rng.uniform(1.0, 2.2, n)[:, None]
    factors = np.column_stack([content * weights[:, :1], weights[:, 1:2], hidden * weights[:, 2:]]) * spread
    return factors.astype(np.float32), (older * weights[:, 2:] * spread).astype(np.float32)


def _activity(context: dict[str, I64], rng: np.random.Generator) -> F64:
    """Expected clicks in the best twenty, float64 ``[n]``: about 8, heavy-tailed, by age and geography."""
    n = len(context["age"])
    shift = 0.25 * rng.normal(size=_FIELDS["age"])[context["age"]]
    shift += 0.15 * rng.normal(size=_FIELDS["geography"])[context["geography"]]
    level: F64 = 8.0 * np.exp(shift + 0.35 * rng.normal(size=n))
    return np.clip(level, 1.0, 16.0)


def _offsets(factors: F32, items: F32, activity: F64) -> F32:
    """The logit offset at which the best :data:`TOP` items bring ``activity`` expected clicks, by bisection."""
    out = np.empty(len(factors), dtype=np.float32)
    for rows in np.split(np.arange(len(factors)), range(_BLOCK, len(factors), _BLOCK)):
        logits = factors[rows] @ items.T
        best = -np.partition(-logits, min(TOP, len(items)) - 1, axis=1)[:, :TOP].astype(np.float64)
        low, high = np.full(len(best), -40.0), np.full(len(best), 20.0)
        for _ in range(50):
            middle = (low + high) / 2
            enough = (1 / (1 + np.exp(-best - middle[:, None]))).sum(1) > activity[rows]
            low, high = np.where(enough, low, middle), np.where(enough, middle, high)
        out[rows] = (low + high) / 2
    return out


def _history_lengths(n_users: int, n_items: int, rng: np.random.Generator) -> I64:
    """Heavy-tailed lengths, median about 40; three users in a hundred are new."""
    lengths = np.exp(np.log(40) + 0.8 * rng.normal(size=n_users)).astype(np.int64)
    return np.where(rng.random(n_users) < 0.03, 0, np.minimum(lengths, min(240, n_items // 4)))


def _events(truth: Truth, older: F32, lengths: I64, rng: np.random.Generator) -> tuple[Ragged, Ragged]:
    """Histories (drawn without replacement, odds as clicks, older ones by the older taste) and held-out clicks."""
    history, held_out = [], []
    for rows in np.split(np.arange(len(lengths)), range(_BLOCK, len(lengths), _BLOCK)):
        now = truth.logits(rows)
        then = now + (older[rows] - truth.users[rows, _DIM + 1 :]) @ truth.items[:, _DIM + 1 :].T
        noise = rng.gumbel(size=now.shape).astype(np.float32)
        # Gumbel-top-k: keys are drawn once, so an item is drawn by one of the two tastes at most.
        keys_now, keys_then = -np.logaddexp(0, -now) + noise, -np.logaddexp(0, -then) + noise
        order_now, order_then = np.argsort(-keys_now, axis=1), np.argsort(-keys_then, axis=1)
        chance = rng.random(now.shape, dtype=np.float32) < truth.probabilities(rows)
        for i, row in enumerate(rows):
            length = int(lengths[row])
            old = order_then[i, : length // 2]
            new = order_now[i, :length]
            new = new[~np.isin(new, old)][: length - len(old)]
            past = np.concatenate([rng.permutation(old), rng.permutation(new)])
            chance[i, past] = False
            history.append(past)
            held_out.append(rng.permutation(np.flatnonzero(chance[i])))
    return Ragged.from_rows(history), Ragged.from_rows(held_out)
