"""Histories from a store of a team's own, for users whom the prepared tables do not know as well."""

from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq

from greenflow_ray.ragged import Ragged
from greenflow_ray.serving.sources import Source, prepared


class Live:
    """Histories from our store where it has them, all else from the prepared tables."""

    def __init__(self, tables, histories):
        self.tables, self.histories = tables, histories  # histories: {user id: item indices, oldest first}

    def lookup(self, user_ids):
        """Features of these users, one row each: the one method that a source needs."""
        batch = self.tables.lookup(user_ids)
        rows = [self.histories.get(int(user), batch.history.row(i)) for i, user in enumerate(user_ids)]
        known = batch.known | np.isin(user_ids, list(self.histories))
        return replace(batch, known=known, history=Ragged.from_rows(rows))


def source(config):
    """What `serving.features` names."""
    data = prepared(config)
    index = {item: i for i, item in enumerate(data.catalog.item_ids.tolist())}
    store = pq.read_table("live.parquet").to_pylist()  # user_id, item_ids
    histories = {row["user_id"]: [index[i] for i in row["item_ids"] if i in index] for row in store}
    return Source(data.catalog, Live(data.features, histories))
