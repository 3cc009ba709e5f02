"""MovieLens and sequences: what is read, and how bad files are told."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from greenflow_ray.datasets.formats import movielens, sequences
from greenflow_ray.errors import DataError


def write_movielens(folder: Path, ratings: str = "1::10::5::100\n1::20::3::90\n2::10::4::50\n") -> Path:
    (folder / "ratings.dat").write_text(ratings)
    (folder / "users.dat").write_text("1::F::1::10::48067\n2::M::56::16::70072\n")
    (folder / "movies.dat").write_bytes("10::Café (1995)::Comedy|Drama\n20::Untitled::Drama\n".encode("latin-1"))
    return folder


def test_movielens_ratings_with_times(tmp_path: Path) -> None:
    got = movielens.read(write_movielens(tmp_path))
    assert got.times is not None
    assert np.column_stack([got.users, got.items, got.times]).tolist() == [[1, 10, 100], [1, 20, 90], [2, 10, 50]]
    assert got.user_tokens[1] == ["gender=F", "age=1", "occupation=10", "region=4"]
    assert got.item_tokens == {10: ["genre=Comedy", "genre=Drama", "decade=1990"], 20: ["genre=Drama"]}


def test_movielens_pairs_have_no_times(tmp_path: Path) -> None:
    pq.write_table(pa.table({"userID": ["1", "2"], "movieID": ["10", "20"]}), tmp_path / "ratings_pairs.parquet")
    got = movielens.read(tmp_path)
    assert got.times is None
    assert (got.users.tolist(), got.items.tolist()) == ([1, 2], [10, 20])
    assert got.user_tokens == {}


@pytest.mark.parametrize(
    ("ratings", "message"),
    [
        ("1::10::5::100\n1::20\n", r"ratings\.dat: line 2: expected 'user::item::rating::time', found '1::20'"),
        ("1,10,5,100\n", r"ratings\.dat: line 1"),
        ("1::ten::5::100\n", r"ratings\.dat: line 1: expected .user::item::rating::time., found .1::ten"),
        ("", r"ratings\.dat: empty; expected lines like"),
    ],
)
def test_bad_ratings_name_file_and_line(tmp_path: Path, ratings: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        movielens.read(write_movielens(tmp_path, ratings))


def test_bad_movies_name_file_and_line(tmp_path: Path) -> None:
    write_movielens(tmp_path)
    (tmp_path / "movies.dat").write_text("10::Toy Story (1995)::Comedy\nnonsense\n")
    with pytest.raises(DataError, match=r"movies\.dat: line 2"):
        movielens.read(tmp_path)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"user": ["1"], "movieID": ["1"]}, "no column 'userid' among"),
        ({"userID": ["x"], "movieID": ["1"]}, "column 'userID' holds values that are not integers"),
        ({"userID": pa.array([], pa.string()), "movieID": pa.array([], pa.string())}, "empty"),
    ],
)
def test_bad_pairs_name_the_column(tmp_path: Path, columns: dict[str, list[str]], message: str) -> None:
    pq.write_table(pa.table(columns), tmp_path / "ratings.parquet")
    with pytest.raises(DataError, match=message):
        movielens.read(tmp_path)


def test_a_parquet_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "ratings.parquet").write_text("not parquet")
    with pytest.raises(DataError, match="not a readable Parquet file"):
        movielens.read(tmp_path)


def test_sequences_are_oldest_first(tmp_path: Path) -> None:
    (tmp_path / "Toy.txt").write_text("1 5 3 4\n\n2 3\n")
    (tmp_path / "Toy_item2attributes.json").write_text(json.dumps({"3": [7, 9, 7], "5": []}))
    got = sequences.read(tmp_path)
    assert (got.users.tolist(), got.items.tolist()) == ([1, 1, 1, 2], [5, 3, 4, 3])
    assert got.times is not None
    assert (np.diff(got.times) > 0).all()
    assert got.item_tokens == {3: ["attribute=7", "attribute=9"], 5: []}


@pytest.mark.parametrize(
    ("text", "message"),
    [("1 2 3\n4\n", r"Toy\.txt: line 2"), ("1 2 x\n", r"Toy\.txt: line 1"), ("", r"Toy\.txt: empty")],
)
def test_bad_sequences_name_file_and_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "Toy.txt").write_text(text)
    with pytest.raises(DataError, match=message):
        sequences.read(tmp_path / "Toy.txt")


def test_bad_attributes_name_the_file(tmp_path: Path) -> None:
    (tmp_path / "Toy.txt").write_text("1 2\n")
    (tmp_path / "Toy_item2attributes.json").write_text("[1, 2]")
    with pytest.raises(DataError, match=r"Toy_item2attributes\.json: expected JSON"):
        sequences.read(tmp_path)
