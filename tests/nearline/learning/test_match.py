"""Clicks find their samples: duplicates count once, late ones and orphans not at all."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from greenflow_ray.nearline.learning.match import PART, Counts, click_rows, first_of, joined_schema, match, sample_rows
from tests.nearline.logs import SPACE, clicks, samples

SCHEMA = joined_schema(SPACE.digest, tuple(SPACE.costs.tolist()), SPACE.names)


def joined(sampled: pa.Table, clicked: pa.Table, horizon: float = 100.0, now: float = 1e9) -> tuple[pa.Table, Counts]:
    rows = pa.concat_tables([sample_rows(sampled, 1), click_rows(clicked, 1)])
    return match(rows, SCHEMA, horizon, now)


def test_each_sample_gets_its_clicks() -> None:
    sampled = samples(["c", "a", "b"], [10.0, 20.0, 30.0])
    table, counts = joined(sampled, clicks([(21, "a", 5), (11, "c", 7), (22, "a", 6)]))
    assert table.schema.equals(SCHEMA, check_metadata=True)
    found = {row["request_id"]: row for row in table.to_pylist()}
    assert {k: (v["clicks"], v["items"]) for k, v in found.items()} == {"a": (2, [5, 6]), "b": (0, []), "c": (1, [7])}
    for row in sampled.to_pylist():
        assert {k: found[row["request_id"]][k] for k in row} == row
    assert counts == Counts(samples=3, clicked=2, clicks=3)


def test_duplicates_count_once_and_the_earliest_of_each() -> None:
    sampled = samples(["a", "a", "b"], [50.0, 10.0, 10.0])
    table, counts = joined(sampled, clicks([(160, "a", 5), (60, "a", 5), (60, "a", 5), (60, "b", 5)]))
    assert counts == Counts(samples=2, clicked=2, clicks=2)
    assert table["time"].to_pylist() == [10.0, 10.0]
    assert table["chain"][0] == sampled["chain"][1]


def test_late_clicks_and_orphans_are_left_out() -> None:
    sampled = samples(["a", "b"], [10.0, 10.0])
    table, counts = joined(sampled, clicks([(110, "a", 1), (110.5, "a", 2), (9, "b", 3), (20, "x", 4)]))
    assert counts == Counts(samples=2, clicked=2, clicks=2, late_clicks=1, orphan_clicks=1)
    assert table["items"].to_pylist() == [[1], [3]]


def test_samples_whose_horizon_has_not_passed_are_marked() -> None:
    table, counts = joined(samples(["a", "b"], [10.0, 50.0]), clicks([]), now=130.0)
    assert table["complete"].to_pylist() == [True, False]
    assert counts == Counts(samples=2, open=1)


def test_clicks_without_any_sample_are_orphans() -> None:
    table, counts = joined(samples([], []), clicks([(1, "a", 1)]))
    assert (len(table), counts) == (0, Counts(orphan_clicks=1))


@given(
    st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 50)), max_size=12),
    st.lists(st.tuples(st.integers(0, 99), st.sampled_from("abcdefgh"), st.integers(0, 3)), max_size=30),
    st.integers(1, 5),
)
@settings(deadline=None)
def test_partitions_together_give_what_one_gives(
    sampled: list[tuple[str, int]], clicked: list[tuple[int, str, int]], parts: int
) -> None:
    first, second = samples([i for i, _ in sampled], [t for _, t in sampled]), clicks(clicked)
    rows = pa.concat_tables([sample_rows(first, parts), click_rows(second, parts)])
    part = np.asarray(rows[PART])
    found = [match(rows.filter(pa.array(part == p)), SCHEMA, 30.0, 70.0) for p in range(parts)]
    whole, counts = joined(first, second, horizon=30.0, now=70.0)
    assert sum((c for _, c in found), Counts()) == counts
    together = pa.concat_tables([t for t, _ in found]).sort_by("request_id")
    assert together.drop_columns(["items"]).equals(whole.drop_columns(["items"]))
    assert [sorted(i) for i in together["items"].to_pylist()] == [sorted(i) for i in whole["items"].to_pylist()]
    assert counts.clicks + counts.late_clicks + counts.orphan_clicks == len({(i, c) for _, i, c in clicked})


def test_the_earliest_of_each_key() -> None:
    table = pa.table({"k": ["b", "a", "b", "a"], "time": [4.0, 3.0, 2.0, 1.0]})
    assert first_of(table, ("k",)).to_pydict() == {"k": ["a", "b"], "time": [1.0, 2.0]}
