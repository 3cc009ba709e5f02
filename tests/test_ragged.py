"""Ragged arrays agree with lists of lists."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from greenflow_ray.ragged import Ragged

ROWS = st.lists(st.lists(st.integers(-5, 50), max_size=6), max_size=8)


@given(rows=ROWS, data=st.data())
def test_take_where_and_rows(rows: list[list[int]], data: st.DataObject) -> None:
    ragged = Ragged.from_rows(rows)
    assert [ragged.row(i).tolist() for i in range(len(ragged))] == rows
    assert ragged.row_ids.tolist() == [i for i, row in enumerate(rows) for _ in row]
    chosen = data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=6)) if rows else []
    taken = ragged.take(np.array(chosen, dtype=np.int64))
    assert [taken.row(i).tolist() for i in range(len(taken))] == [rows[i] for i in chosen]
    keep = np.array(data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows))), dtype=bool)
    kept = ragged.where(keep)
    assert [kept.row(i).tolist() for i in range(len(kept))] == [r if k else [] for r, k in zip(rows, keep, strict=True)]


@given(rows=ROWS, width=st.integers(1, 5))
def test_padding_keeps_the_end_asked_for(rows: list[list[int]], width: int) -> None:
    ragged = Ragged.from_rows(rows)
    for keep in ("first", "last"):
        padded = ragged.padded(width, -9, keep=keep)
        for i, row in enumerate(rows):
            part = row[:width] if keep == "first" else row[-width:]
            assert padded[i].tolist() == part + [-9] * (width - len(part))
