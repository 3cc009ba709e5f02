"""MovieLens' other formats: 100k, the newer CSV files, 10M's half stars; and how their faults are told."""

from pathlib import Path

import numpy as np
import pytest

from greenflow_ray.datasets.formats import movielens
from greenflow_ray.errors import DataError

HEADER = "userId,movieId,rating,timestamp\n"


def write_100k(folder: Path) -> Path:
    (folder / "u.data").write_text("1\t10\t5\t100\n1\t20\t3\t90\n2\t10\t4\t50\n")
    (folder / "u.user").write_text("1|24|M|technician|85711\n2|17|F|other|94043\n")
    flags = ["0"] * 19
    flags[5] = flags[10] = "1"
    row = ["10", "Café Noir (1994)", "01-Jan-1994", "", "http://x/?a=1", *flags]
    (folder / "u.item").write_bytes(("|".join(row) + "\n").encode("latin-1"))
    return folder


def write_csv(folder: Path, ratings: str = "1,10,4.5,100\n1,20,3.0,90\n2,10,0.5,50\n") -> Path:
    (folder / "ratings.csv").write_text(HEADER + ratings)
    (folder / "movies.csv").write_text(
        'movieId,title,genres\n10,"American President, The (1995)",Comedy|Drama\n20,"Say ""Hi""",(no genres listed)\n',
        encoding="utf-8",
    )
    return folder


def test_100k(tmp_path: Path) -> None:
    got = movielens.read(write_100k(tmp_path))
    assert got.times is not None
    assert np.column_stack([got.users, got.items, got.times]).tolist() == [[1, 10, 100], [1, 20, 90], [2, 10, 50]]
    assert got.user_tokens == {
        1: ["gender=M", "age=18", "occupation=technician", "region=8"],
        2: ["gender=F", "age=1", "occupation=other", "region=9"],
    }
    assert got.item_tokens == {10: ["genre=Comedy", "genre=Film-Noir", "decade=1990"]}
    assert [p.name for p in movielens.source_files(tmp_path)] == ["u.data", "u.user", "u.item"]


def test_csv_with_quoted_titles(tmp_path: Path) -> None:
    got = movielens.read(write_csv(tmp_path))
    assert got.times is not None
    assert np.column_stack([got.users, got.items, got.times]).tolist() == [[1, 10, 100], [1, 20, 90], [2, 10, 50]]
    assert got.item_tokens == {10: ["genre=Comedy", "genre=Drama", "decade=1990"], 20: []}
    assert movielens.read(tmp_path / "ratings.csv").name == tmp_path.name


def test_half_stars_blank_lines_and_windows_line_ends(tmp_path: Path) -> None:
    (tmp_path / "ratings.dat").write_bytes(b"1::10::4.5::100\r\n\r\n2::20::0.5::7\r\n")
    got = movielens.read(tmp_path)
    assert (got.users.tolist(), got.items.tolist()) == ([1, 2], [10, 20])
    assert got.times is not None
    assert got.times.tolist() == [100, 7]


def test_progress_moves_while_ratings_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("greenflow_ray.datasets.reading.BLOCK", 1 << 12)
    shares: list[float] = []
    movielens.read(
        write_csv(tmp_path, "".join(f"{i},10,3.0,{i}\n" for i in range(2000))), lambda m, s: shares.append(s)
    )
    assert len(shares) > 5
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("ratings", "message"),
    [
        (
            "1,10,4.5,100\n\n1,20,3.0\n",
            r"ratings\.csv: line 4: expected 'userId,movieId.*', found '1,20,3",
        ),
        ("1,10,4.5,100\n1,20,3.0,90,7\n", r"ratings\.csv: line 3"),
        ("1,10,4.5,100\n1,x,3.0,90\n", r"ratings\.csv: line 3.*mend the line"),
        ("1,10,4.5,100\n1,,3.0,90\n", r"ratings\.csv: line 3"),
        ("1,10,4.5,99999999999999999999\n", r"ratings\.csv: line 2"),
        ("", r"ratings\.csv: empty"),
    ],
    ids=["truncated", "too many", "text", "missing", "overflow", "header only"],
)
def test_bad_csv_names_file_and_line(tmp_path: Path, ratings: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        movielens.read(write_csv(tmp_path, ratings))


def test_the_line_is_right_far_into_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("greenflow_ray.datasets.reading.BLOCK", 1 << 12)
    rows = [f"{i},10,3.0,{i}" for i in range(3000)]
    rows[2500] = "2500,10,3.0,1e9"
    with pytest.raises(DataError, match=r"line 2502: expected .* found '2500,10,3\.0,1e9'"):
        movielens.read(write_csv(tmp_path, "\n".join(rows)))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("ratings.csv", "user,movieId,rating,timestamp\n1,1,1,1\n", r"line 1: no column 'userId' among user, movieId"),
        ("ratings.csv", "", r"ratings\.csv: empty"),
        ("movies.csv", "id,title\n1,x\n", r"movies\.csv: line 1: expected header"),
        ("movies.csv", "movieId,title,genres\n1,x\n", r"movies\.csv: line 2: expected 'movieId,title,genres'"),
        ("movies.csv", "movieId,title,genres\n", r"movies\.csv: empty"),
    ],
)
def test_bad_headers_and_movies(tmp_path: Path, name: str, text: str, message: str) -> None:
    write_csv(tmp_path)
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=message):
        movielens.read(tmp_path)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("u.data", "1\t10\t5\t100\n1 20 3 90\n", r"u\.data: line 2: expected 'user<tab>item<tab>rating<tab>time'"),
        ("u.data", "", r"u\.data: empty"),
        ("u.user", "1|old|M|technician|85711\n", r"u\.user: line 1: age 'old' is no number"),
        ("u.user", "1|24|M\n", r"u\.user: line 1: expected 'user\|age\|gender"),
        ("u.item", "10|Title (1994)|||\n", r"u\.item: line 1"),
        ("u.item", "|".join(["10", "T", "", "", "", *"0000000000000000002"]) + "\n", r"u\.item: line 1: genre flags"),
    ],
)
def test_bad_100k_names_file_and_line(tmp_path: Path, name: str, text: str, message: str) -> None:
    write_100k(tmp_path)
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=message):
        movielens.read(tmp_path)
