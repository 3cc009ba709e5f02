"""Token tables: one vocabulary, several fields."""

import numpy as np

from greenflow_ray.datasets.tokens import TokenTable


def test_columns_share_one_vocabulary() -> None:
    table = TokenTable.from_columns({"gender": np.array(["F", "M", "F"]), "age": np.array([7, 7, 1])})
    assert table.vocabulary == ("gender=F", "gender=M", "age=1", "age=7")
    assert [table.tokens.row(i).tolist() for i in range(3)] == [[0, 3], [1, 3], [0, 2]]


def test_names_may_be_many_or_none() -> None:
    table = TokenTable.from_names([["genre=Drama", "genre=Action"], [], ["genre=Drama"]])
    assert table.vocabulary == ("genre=Action", "genre=Drama")
    assert [table.tokens.row(i).tolist() for i in range(3)] == [[1, 0], [], [1]]
