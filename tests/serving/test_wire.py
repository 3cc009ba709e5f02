from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from greenflow_ray.ragged import Ragged
from greenflow_ray.serving.wire import Reason, StageBatch, StageRows, join, joined, reason_text

Rows = list[list[int]]
rows_of_items = st.lists(st.lists(st.integers(0, 99), max_size=6), min_size=1, max_size=8)


def pack(rows: Rows) -> StageRows:
    items = Ragged.from_rows(rows)
    return StageRows(items, items.values.astype(np.float32) / 7)


def unpack(rows: StageRows) -> Rows:
    np.testing.assert_array_equal(rows.scores, rows.items.values.astype(np.float32) / 7)
    return [rows.items.row(i).tolist() for i in range(len(rows.items))]


@given(rows_of_items, st.data())
def test_take_keeps_items_and_scores_together(rows: Rows, data: st.DataObject) -> None:
    wanted = data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=10))
    assert unpack(pack(rows).take(np.array(wanted, dtype=np.int64))) == [rows[i] for i in wanted]


@given(rows_of_items, st.data())
def test_head_cuts_every_row_at_its_own_count(rows: Rows, data: st.DataObject) -> None:
    counts = data.draw(st.lists(st.integers(0, 8), min_size=len(rows), max_size=len(rows)))
    expected = [row[:n] for row, n in zip(rows, counts, strict=True)]
    assert unpack(pack(rows).head(np.array(counts, dtype=np.int64))) == expected


@given(rows_of_items, st.data())
def test_join_undoes_a_split(rows: Rows, data: st.DataObject) -> None:
    groups = np.array(data.draw(st.lists(st.integers(0, 2), min_size=len(rows), max_size=len(rows))))
    parts = [np.flatnonzero(groups == g) for g in np.unique(groups)]
    order = np.empty(len(rows), dtype=np.int64)
    order[np.concatenate(parts)] = np.arange(len(rows))
    pieces = [pack(rows).take(part) for part in parts]
    assert unpack(join([p.items for p in pieces], [p.scores for p in pieces], order)) == rows


@given(rows_of_items, st.data())
def test_joined_messages_come_apart_again(rows: Rows, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(rows)))
    users = np.arange(len(rows))

    def message(first: int, end: int) -> StageBatch:
        return StageBatch(users[first:end], Ragged.from_rows(rows[first:end]), 0, users[first:end] + 1)

    whole = joined([message(0, cut), message(cut, len(rows))])
    assert whole.candidates is not None
    assert whole.items == sum(map(len, rows))
    assert whole.keep.tolist() == (users + 1).tolist()
    together = StageRows(whole.candidates, whole.candidates.values.astype(np.float32) / 7)
    assert unpack(together.part(0, cut)) == rows[:cut]
    assert unpack(together.part(cut, len(rows))) == rows[cut:]


def test_reasons_are_short_codes() -> None:
    stages = ("recall", "pre-ranking", "ranking")
    assert reason_text(Reason.NONE, stages) is None
    assert reason_text(Reason.PRICE_EXPIRED, stages) == "price_expired"
    assert reason_text(Reason.STAGE + 1, stages) == "pre_ranking_unavailable"
