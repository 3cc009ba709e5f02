"""Parquet in our own schema: interactions, users and items beside them, and how faults are told."""

import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from greenflow_ray.datasets.formats import tables
from greenflow_ray.datasets.tokens import TokensById
from greenflow_ray.errors import DataError

EVENTS = {"user_id": [1, 1, 2], "item_id": [10, 20, 10], "time": [5, 4, 3]}


def write(folder: Path, name: str = "interactions", **columns: Any) -> Path:
    pq.write_table(pa.table(columns or EVENTS), folder / f"{name}.parquet")
    return folder


def named(tokens: object, wanted: int) -> list[str]:
    assert isinstance(tokens, TokensById)
    return [tokens.vocabulary[i] for i in tokens.tokens.row(tokens.ids.tolist().index(wanted))]


def test_interactions_alone(tmp_path: Path) -> None:
    got = tables.read(write(tmp_path))
    assert got.times is not None
    assert (got.users.tolist(), got.items.tolist(), got.times.tolist()) == ([1, 1, 2], [10, 20, 10], [5, 4, 3])
    assert tables.read(write(tmp_path, user_id=[1], item_id=[2])).times is None


@pytest.mark.parametrize("named_file", [False, True])
def test_every_column_becomes_tokens(tmp_path: Path, named_file: bool) -> None:
    write(tmp_path)
    write(
        tmp_path,
        "users",
        user_id=[2, 1],
        gender=["F", None],
        age=pa.array([25.0, float("nan")]),
        member=[True, False],
        liked=[["b", "a"], None],
        **{"liked.weight": pa.array([[0.5, 2.0], None], pa.list_(pa.float64()))},
    )
    write(tmp_path, "items", item_id=[10, 20], genre=pa.array(["x", "y"]).dictionary_encode(), tags=[[3, 1], []])
    got = tables.read(tmp_path / "interactions.parquet" if named_file else tmp_path)
    assert named(got.user_tokens, 2) == ["gender=F", "age=25", "member=true", "liked=b", "liked=a"]
    assert named(got.user_tokens, 1) == ["member=false"]
    assert isinstance(got.user_tokens, TokensById)
    assert got.user_tokens.weights is not None
    assert got.user_tokens.weights.tolist() == [1, 1, 1, 0.5, 2, 1]
    assert named(got.item_tokens, 10) == ["genre=x", "tags=3", "tags=1"]
    assert named(got.item_tokens, 20) == ["genre=y"]


def test_parts_and_timestamps(tmp_path: Path) -> None:
    (tmp_path / "interactions").mkdir()
    for k in (1, 2):
        time = pa.array([datetime.datetime(2024, 1, k)], pa.timestamp("us"))
        write(tmp_path / "interactions", f"part-{k}", user_id=[k], item_id=[k], time=time)
    write(tmp_path, "users", user_id=[1, 2], age=[3, 4])
    got = tables.read(tmp_path)
    assert got.times is not None
    assert (got.users.tolist(), got.clock) == ([1, 2], 1e-3)
    assert got.times[1] - got.times[0] == 86_400_000
    assert named(got.user_tokens, 2) == ["age=4"]


def test_small_batches_give_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path)
    write(tmp_path, "users", user_id=[1, 2, 3], liked=[["b", "a"], ["a"], ["c", "b"]])
    whole = tables.read(tmp_path).user_tokens
    monkeypatch.setattr(tables, "BATCH", 1)
    shares: list[float] = []
    parts = tables.read(tmp_path, lambda message, share: shares.append(share)).user_tokens
    assert isinstance(whole, TokensById)
    assert isinstance(parts, TokensById)
    assert whole.vocabulary == parts.vocabulary == ("liked=a", "liked=b", "liked=c")
    assert whole.tokens.values.tolist() == parts.tokens.values.tolist() == [1, 0, 0, 2, 1]
    assert len(set(shares)) > 5


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"user_id": [1], "item": [1]},
            r"interactions\.parquet: no column 'item_id' among user_id, item; add or rename",
        ),
        ({"user_id": [1, None], "item_id": [1, 2]}, r"row 2: column 'user_id' is null"),
        ({"user_id": ["1", "x"], "item_id": [1, 2]}, r"row 2: column 'user_id' holds values that are not integers"),
        (
            {"user_id": [1.0, float("nan")], "item_id": [1, 2]},
            r"row 2: column 'user_id' holds .* not integers, as 'nan'",
        ),
        ({"user_id": [1.0, 2.5], "item_id": [1, 2]}, r"row 2: column 'user_id'.*2\.5"),
        ({"user_id": pa.array([], pa.int64()), "item_id": pa.array([], pa.int64())}, r"empty; give at least one"),
    ],
)
def test_bad_interactions(tmp_path: Path, columns: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        tables.read(write(tmp_path, **columns))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"id": [1]}, r"users\.parquet: no column 'user_id'"),
        ({"user_id": [1, 2, 1]}, r"users\.parquet: user_id 1 comes more than once"),
        ({"user_id": [1, 2], "age": [1.0, 2.5]}, r"row 2: column 'age' holds 2\.5; .*: bin the column"),
        ({"user_id": [1, 2], "age": [1.0, float("inf")]}, r"row 2: column 'age' holds inf"),
        ({"user_id": [1, 2], "x": [[1.0], [2.0, -float("inf")]]}, r"row 2: column 'x' holds -inf"),
        ({"user_id": [1], "x": [{"a": 1}]}, r"column 'x' is of type struct"),
        (
            {"user_id": [1, 2], "x": [["a"], ["b"]], "x.weight": [[1.0], [float("nan")]]},
            r"row 2: .*'x\.weight' holds nan",
        ),
        ({"user_id": [1, 2], "x": [["a"], ["b"]], "x.weight": [[1.0], [-1.0]]}, r"row 2: .*not below 0"),
        ({"user_id": [1, 2], "x": [["a"], ["b"]], "x.weight": [[1.0], []]}, r"row 2: .* not as long as 'x'"),
    ],
)
def test_bad_users(tmp_path: Path, columns: dict[str, Any], message: str) -> None:
    write(tmp_path)
    with pytest.raises(DataError, match=message):
        tables.read(write(tmp_path, "users", **columns))


def test_files_that_are_no_parquet_or_cut_off(tmp_path: Path) -> None:
    write(tmp_path)
    whole = (tmp_path / "interactions.parquet").read_bytes()
    (tmp_path / "interactions.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"interactions\.parquet: not a readable Parquet file"):
        tables.read(tmp_path)


def test_parts_must_agree_on_time(tmp_path: Path) -> None:
    write(tmp_path, "interactions-1")
    write(tmp_path, "interactions-2", user_id=[1], item_id=[2])
    with pytest.raises(DataError, match=r"interactions-2\.parquet: no column 'time', which other parts have"):
        tables.read(tmp_path)
