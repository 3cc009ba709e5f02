"""Token tables: one vocabulary, several fields."""

import numpy as np
import pyarrow as pa

from greenflow_ray.datasets.tokens import Column, TokenColumns, TokensById


def test_columns_share_one_vocabulary() -> None:
    table = TokensById.from_columns(np.arange(3), {"gender": np.array(["F", "M", "F"]), "age": np.array([7, 7, 1])})
    assert table.vocabulary == ("gender=F", "gender=M", "age=1", "age=7")
    assert [table.tokens.row(i).tolist() for i in range(3)] == [[0, 3], [1, 3], [0, 2]]


def test_names_may_be_many_or_none() -> None:
    table = TokensById.from_names({7: ["genre=Drama", "genre=Action"], 3: [], 5: ["genre=Drama"]})
    assert table.ids.tolist() == [7, 3, 5]
    assert table.vocabulary == ("genre=Action", "genre=Drama")
    assert [table.tokens.row(i).tolist() for i in range(3)] == [[1, 0], [], [1]]


def test_columns_of_several_blocks_share_one_vocabulary() -> None:
    gathered = TokenColumns(("b", "a"))
    weights = np.array([2.0, 3.0], dtype=np.float32)
    gathered.add(
        np.array([9, 4]), {"b": Column(pa.array([70, 8]), np.array([0, 2]), weights), "a": Column(pa.array(["y", "x"]))}
    )
    gathered.add(np.array([6]), {"b": Column(pa.array([8])), "a": Column(pa.array([], pa.string()), np.array([0]))})
    got = gathered.finish()
    assert got.vocabulary == ("b=8", "b=70", "a=x", "a=y")
    assert [got.tokens.row(i).tolist() for i in range(3)] == [[3], [1, 0, 2], [0]]
    assert got.weights is not None
    assert got.weights.tolist() == [1, 2, 3, 1, 1]
    table = got.of(np.array([4, 5, 6]))  # no 5; of the vocabulary what these use
    assert table.vocabulary == ("b=8", "b=70", "a=x")
    assert [table.tokens.row(i).tolist() for i in range(3)] == [[1, 0, 2], [], [0]]
    assert table.weights is not None
    assert table.weights.tolist() == [2, 3, 1, 1]


def test_weights_of_one_are_none() -> None:
    gathered = TokenColumns(("a",))
    gathered.add(np.array([1]), {"a": Column(pa.array([5]), None, np.ones(1, dtype=np.float32))})
    assert gathered.finish().weights is None
    assert TokenColumns(("a",)).finish().of(np.array([1, 2])).tokens.lengths.tolist() == [0, 0]
