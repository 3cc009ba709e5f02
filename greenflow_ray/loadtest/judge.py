"""Judges answers by held-out clicks, after they have arrived, and reports the clicks as users would."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from greenflow_ray.datasets.schema import I64, Clicks
from greenflow_ray.errors import DataError
from greenflow_ray.loadtest.result import Requests


class Judge:
    """Held-out clicks by user, in the outside world's ids.

    It lives in the client alone: no part of the server can see these clicks before it has answered.
    """

    def __init__(self, clicks: Clicks | None, user_ids: I64 | None = None, item_ids: I64 | None = None) -> None:
        """``user_ids`` and ``item_ids`` translate the rows of ``clicks``; without them rows are taken as ids."""
        self._held: dict[int, frozenset[int]] = {}
        if clicks is None:
            return
        users, items = clicks.users, clicks.items.values
        if user_ids is not None:
            if len(users) and int(users.max()) >= len(user_ids):
                raise DataError("held-out clicks name users the data set does not have; prepare the data again")
            users = user_ids[users]
        if item_ids is not None:
            items = item_ids[items]
        offsets = clicks.items.offsets
        self._held = {int(user): frozenset(items[offsets[i] : offsets[i + 1]].tolist()) for i, user in enumerate(users)}

    def clicked(self, user_id: int, items: Iterable[int], k: int | None) -> list[int]:
        """Items among the first ``k`` answered (None: all) that the user clicked, each once, in the answer's order."""
        held = self._held.get(user_id)
        if not held:
            return []
        return [item for item in dict.fromkeys(list(items)[:k]) if item in held]


class Receipts:
    """Writes answers into the columns of a result; malformed ones are marked, never raised."""

    def __init__(self, requests: Requests, chains: Iterable[str]) -> None:
        self._columns = requests
        self._chains = {chain: j for j, chain in enumerate(chains)}
        self.reasons: dict[str, int] = {}  # index of each text

    def write(self, row: int, answer: Any) -> list[int] | None:
        """Fill ``row`` from an answer and return its items, or None if it is not an answer as documented."""
        try:
            receipt = answer["receipt"]
            items = [int(item) for item in answer["items"]]
            price, reason = receipt["price"], receipt["reason"]
            values = {
                "flops": np.int64(receipt["flops"]),
                "price_version": np.int64(receipt["price_version"]),
                "chain": self._chains.get(str(receipt["chain"]), -1),
                "price": math.nan if price is None else float(price),
                "degraded": bool(receipt["degraded"]),
            }
        except (KeyError, TypeError, ValueError, OverflowError):
            return None
        if reason is not None:
            values["reason"] = self.reasons.setdefault(str(reason), len(self.reasons))
        for column, value in values.items():
            getattr(self._columns, column)[row] = value
        return items
