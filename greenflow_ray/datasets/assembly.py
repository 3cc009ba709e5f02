"""From raw interactions to the schema: order a user's events, cut history from held-out, split users, count clicks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from greenflow_ray.config import DataConfig, SplitConfig
from greenflow_ray.datasets.schema import I8, I64, Array, Catalog, Clicks, Dataset, Split, Users
from greenflow_ray.datasets.tokens import TokensById
from greenflow_ray.errors import DataError
from greenflow_ray.ragged import Ragged


@dataclass(frozen=True)
class Interactions:
    """What a reader of some format hands over; every event counts as a click."""

    name: str  # name of the data set
    users: I64  # outside id of the user of every event, int64 ``[events]``
    items: I64  # outside id of the item of every event, int64 ``[events]``
    times: I64 | None  # when, in any unit that orders a user's events, int64 ``[events]``; None: unknown
    # ``field=value`` names by user or item id; arrays where there are very many
    user_tokens: Mapping[int, Sequence[str]] | TokensById = field(default_factory=dict)
    item_tokens: Mapping[int, Sequence[str]] | TokensById = field(default_factory=dict)
    dropped: Mapping[str, int] = field(default_factory=dict)  # rows that were left out, by reason
    remarks: tuple[str, ...] = ()  # what a person should know about how the source was read
    clock: float | None = None  # seconds in a unit of ``times``, from 1970; None: unknown, or they only order events


def assemble(source: Interactions, data: DataConfig, seed: int, digest: str) -> tuple[Dataset, dict[Split, Clicks]]:
    """Bring interactions to the schema.

    Of several events of one (user, item) pair the first counts. A user's oldest ``data.history`` share (rounded down)
    becomes the history, the newest part the held-out clicks; without times the order is drawn at random, from seed,
    view and the events' positions alone. Users with a single event are kept, with an empty history. The corpus is
    every item with an event; users without events do not appear.

    Raises DataError if there are no events, too few users to split, or weights that are negative or not finite.
    """
    if len(source.users) == 0:
        raise DataError(f"{source.name}: no interactions; give a data folder with at least one event a user")
    if data.view and source.times is not None:
        raise DataError(f"data.view: {source.name} has times, so there is one cut into history and clicks; set it to 0")
    keys: Array | None = source.times
    if keys is None:  # at random, and otherwise in each view
        keys = np.random.default_rng([seed, 0x0DE2] + ([data.view] if data.view else [])).random(len(source.users))
    order = np.lexsort((keys, source.users))  # by user, then by time; stable: ties keep their order
    order = order[_first_of_pairs(source.users[order], source.items[order])]
    users = source.users[order]
    starts = np.flatnonzero(np.concatenate([[True], users[1:] != users[:-1]]))
    user_ids, counts = users[starts], np.diff(starts, append=len(users))
    times = np.zeros(len(starts), dtype=np.int64) if source.times is None else source.times[order[starts]]
    del users  # there may be very many events: hold no more arrays of them than are needed
    items = source.items[order]
    del order
    item_ids = np.unique(items)
    events = Ragged.from_lengths(np.searchsorted(item_ids, items).astype(np.int32), counts)
    del items
    # Each row's events lie in order, so a position below the cut is history.
    cut = np.floor(data.history * counts).astype(np.int64)
    past = np.arange(len(events.values)) < np.repeat(starts + cut, counts)
    history = Ragged.from_lengths(events.values[past], cut)
    held_out = Ragged.from_lengths(events.values[~past], counts - cut)
    of_users, of_items = (
        (names if isinstance(names, TokensById) else TokensById.from_names(names)).of(ids)
        for names, ids in ((source.user_tokens, user_ids), (source.item_tokens, item_ids))
    )
    weights = of_users.weights
    if weights is not None and not ((weights >= 0) & np.isfinite(weights)).all():
        raise DataError(f"{source.name}: weights of users' tokens must be finite and not below 0; mend the source")
    split = split_users(len(user_ids), data.split, seed)
    catalog, table, clicks = joined(of_users, of_items, history, held_out, split, times)
    return Dataset(source.name, False, source.times is not None, seed, digest, catalog, table), clicks


def joined(
    users: TokensById, items: TokensById, history: Ragged, held_out: Ragged, split: I8, since: I64
) -> tuple[Catalog, Users, dict[Split, Clicks]]:
    """The schema's parts; popularity is the share of training users who clicked, and nobody else's clicks count."""
    table = Users(users.ids, split, users.tokens, users.vocabulary, history, since, users.weights)
    train = table.of(Split.TRAIN)
    clicked = np.concatenate([history.take(train).values, held_out.take(train).values])
    popularity = (np.bincount(clicked, minlength=len(items.ids)) / max(len(train), 1)).astype(np.float32)
    clicks = {s: Clicks(table.of(s), held_out.take(table.of(s))) for s in Split}
    return Catalog(items.ids, items.tokens, items.vocabulary, popularity), table, clicks


def split_users(n_users: int, shares: SplitConfig, seed: int) -> I8:
    """Draw a :class:`Split` for every user, int8 ``[n_users]``; the remainder of the shares are final users.

    The draw depends on the number of users, the shares and the seed alone, never on what users clicked.
    Raises DataError where a split would be empty.
    """
    cuts = np.round(np.cumsum([shares.train, shares.validation, shares.reward]) * n_users).astype(np.int64)
    sizes = np.diff(np.concatenate([[0], cuts, [n_users]]))
    if sizes.min() < 1:
        empty = Split(int(sizes.argmin())).name.lower()
        raise DataError(f"{n_users} users leave the {empty} split empty; give more users or larger shares (data.split)")
    split = np.empty(n_users, dtype=np.int8)
    order = np.random.default_rng([seed, 0x5B17]).permutation(n_users)
    split[order] = np.repeat(np.arange(len(Split), dtype=np.int8), sizes)
    return split


def _first_of_pairs(users: I64, items: I64) -> I64:
    """Positions of the first event of every (user, item) pair, in order; ``users`` is sorted."""
    by_pair = np.lexsort((items, users))  # stable: the first of a pair comes first
    new = np.ones(len(users), dtype=np.bool_)
    new[1:] = False
    for ids in (users, items):
        ordered = ids[by_pair]
        new[1:] |= ordered[1:] != ordered[:-1]
    return np.sort(by_pair[new]).astype(np.int64, copy=False)
