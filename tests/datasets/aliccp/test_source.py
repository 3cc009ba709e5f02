"""Ali-CCP: raw files streamed with lists and weights kept, the shapes others cut of it, and how faults are told."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from greenflow_ray.datasets.aliccp import source
from greenflow_ray.datasets.aliccp.raw import IMPOSSIBLE
from greenflow_ray.datasets.assembly import Interactions
from greenflow_ray.datasets.tokens import TokensById
from greenflow_ray.errors import DataError

SHARED = Path(__file__).resolve().parents[3].parent / "shared" / "data" / "ali-ccp-samples"

Pairs = list[tuple[str, int, str]]

USERS: dict[str, Pairs] = {
    "aa": [("101", 5, "1.0"), ("124", 2, "1.0"), ("109_14", 31, "2.5"), ("109_14", 30, "0.75"), ("150_14", 9, "1e-1")],
    "ab": [("101", 6, "1.0"), ("127", 1, "1.0"), ("126", 3, "1.0")],
    "ac": [("101", 5, "1.0"), ("124", 1, "1.0")],
    "ff": [("101", 7, "1.0"), ("124", 1, "1.0")],
}
ITEMS: dict[int, Pairs] = {
    100: [("205", 100, "1.0"), ("206", 30, "1.0"), ("210", 8, "1.0"), ("210", 9, "1.0"), ("508", 4, "0.25")],
    200: [("216", 3, "1.0"), ("205", 200, "1.0"), ("301", 2, "1.0")],
}


def listed(pairs: Pairs) -> str:
    return f"{len(pairs)}," + "\x01".join(f"{f}\x02{i}\x03{v}" for f, i, v in pairs)


def skeleton(*rows: tuple[int, int, str, int]) -> str:
    return "".join(f"{k},{c},{b},{u},{listed(ITEMS[i])}\n" for k, (c, b, u, i) in enumerate(rows, 1))


def write(folder: Path, impressions: str | None = None, common: str | None = None, part: str = "train") -> Path:
    rows = ((1, 0, "aa", 100), (0, 0, "ff", 100), (0, 1, "ab", 200), (1, 1, "ab", 200), (1, 0, "ac", 200))
    (folder / f"sample_skeleton_{part}.csv").write_text(skeleton(*rows) if impressions is None else impressions)
    text = "".join(f"{key},{listed(pairs)}\n" for key, pairs in USERS.items()) if common is None else common
    (folder / f"common_features_{part}.csv").write_text(text)
    return folder


def named(tokens: object, wanted: int) -> list[tuple[str, float]]:
    assert isinstance(tokens, TokensById)
    at = tokens.ids.tolist().index(wanted)
    rows = slice(tokens.tokens.offsets[at], tokens.tokens.offsets[at + 1])
    weights = np.ones(len(tokens.tokens.values)) if tokens.weights is None else tokens.weights
    pairs = zip(tokens.tokens.values[rows].tolist(), weights[rows].tolist(), strict=True)
    return [(tokens.vocabulary[i], round(w, 6)) for i, w in pairs]


def check(got: Interactions) -> None:
    assert (got.users.tolist(), got.items.tolist(), got.times) == ([5, 6, 5], [100, 200, 200], None)
    assert got.dropped == {IMPOSSIBLE: 1}
    # Several ids of one field stay a list, with their weights; the first row of a user's common features counts.
    assert named(got.user_tokens, 5) == [
        ("gender=2", 1.0),
        ("category_history=31", 2.5),
        ("category_history=30", 0.75),
        ("intention_history=9", 0.1),
    ]
    assert named(got.user_tokens, 6) == [("consumption=3", 1.0), ("consumption_2=1", 1.0)]
    assert named(got.item_tokens, 100) == [("category=30", 1.0), ("intention=8", 1.0), ("intention=9", 1.0)]
    assert named(got.item_tokens, 200) == [("brand=3", 1.0)]
    assert isinstance(got.user_tokens, TokensById)
    assert sorted(got.user_tokens.ids.tolist()) == [5, 6]  # 7 clicked nothing


def test_clicks_lists_and_weights(tmp_path: Path) -> None:
    check(source.read(write(tmp_path)))


@pytest.mark.parametrize("block", [1, 7, 64, 300])
def test_blocks_may_end_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr("greenflow_ray.datasets.reading.blocks.__defaults__", (block,))
    check(source.read(write(tmp_path)))


def test_windows_line_ends_blank_lines_and_no_last_newline(tmp_path: Path) -> None:
    write(tmp_path)
    for file in tmp_path.iterdir():
        file.write_bytes(b"\n" + file.read_bytes().replace(b"\n", b"\r\n").rstrip())
    check(source.read(tmp_path))


def test_train_and_test_are_one_set(tmp_path: Path) -> None:
    write(tmp_path)
    # The same key may stand for another user in the other part.
    write(tmp_path, skeleton((1, 0, "aa", 200)), f"aa,{listed([('101', 9, '1.0')])}\n", "test")
    got = source.read(tmp_path)
    assert (got.users.tolist(), got.items.tolist()) == ([5, 6, 5, 9], [100, 200, 200, 200])
    assert [p.name for p in source.source_files(tmp_path)][:2] == [
        "sample_skeleton_train.csv",
        "common_features_train.csv",
    ]


def test_clicks_that_cannot_be_attributed_are_counted(tmp_path: Path) -> None:
    common = "".join(f"{k},{listed(USERS[k])}\n" for k in ("aa", "ac")) + f"ab,{listed([('124', 1, '1.0')])}\n"
    got = source.read(write(tmp_path, skeleton((1, 0, "aa", 100), (1, 0, "zz", 100), (1, 0, "ab", 200)), common))
    assert got.users.tolist() == [5]
    assert got.dropped == {"click without common features": 1, "click without user or item": 1}


GOOD = skeleton((1, 0, "aa", 100))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD + "2,0,0,ff\n", r"line 2: expected 6 columns.*found fewer; the line is cut off"),
        (GOOD + "2,1,0,aa,3,205\x02100\x031.0\n", r"line 2: announces '3' features, holds 1; the line is cut off"),
        (GOOD + "\n2,1,0,aa,x,205\x02100\x031.0\n", r"line 3: announces 'x' features"),
        (GOOD + "2,1,0,aa,1,205\x02100\x03nan\n", r"line 2: expected field.*found '205.*nan'; mend the line"),
        (GOOD + "2,1,0,aa,1,205\x02100\x03inf\n", r"line 2"),
        (GOOD + "2,1,0,aa,1,205\x02100\x031e99\n", r"line 2"),
        (GOOD + "2,1,0,aa,1,205\x02abc\x031.0\n", r"line 2"),
        (GOOD + "2,1,0,aa,1,205\x02100\n", r"line 2"),
        (GOOD + "2,1,0,aa,2,205\x02100\x031.0\x01\n", r"line 2"),
        (GOOD + "2,7,0,aa,1,205\x02100\x031.0\n", r"line 2: click must be 0 or 1, found '7'"),
        (GOOD + "2,1,,aa,1,205\x02100\x031.0\n", r"line 2: conversion must be 0 or 1, found ''"),
        ("", r"sample_skeleton_train\.csv: empty; expected lines like 'sample_id,click"),
        ("\n\n", r"sample_skeleton_train\.csv: empty"),
    ],
    ids=[
        "columns",
        "cut",
        "count",
        "nan",
        "inf",
        "overflow",
        "id",
        "no value",
        "open end",
        "7",
        "none",
        "empty",
        "blank",
    ],
)
def test_bad_impressions_name_file_and_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        source.read(write(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("aa\n", r"common_features_train\.csv: line 1: expected 3 columns"),
        (f"ab,{listed(USERS['ab'])}\naa,2,101\x025\x031.0\n", r"line 2: announces '2' features, holds 1"),
        ("aa,1,109_14\x025\x03-2.0\n", r"line 1: weight -2 is negative"),
        ("aa,1,109_14\x025\x03NaN\n", r"line 1: expected field"),
        ("", r"common_features_train\.csv: empty"),
        (f"zz,{listed(USERS['ab'])}\n", r"holds no common_feature_index that the clicks of sample_skeleton_train\.csv"),
    ],
)
def test_bad_common_features_name_file_and_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        source.read(write(tmp_path, GOOD, text))


def test_missing_files(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "common_features_train.csv").unlink()
    with pytest.raises(
        DataError, match=r"common_features_train\.csv: missing; sample_skeleton_train\.csv refers to it"
    ):
        source.read(tmp_path)


def test_no_click_is_no_event(tmp_path: Path) -> None:
    assert len(source.read(write(tmp_path, skeleton((0, 0, "aa", 100)))).users) == 0


def test_memory_does_not_grow_with_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("greenflow_ray.datasets.reading.blocks.__defaults__", (1 << 14,))
    most = []
    for times in (1, 1, 8):  # the first one compiles
        write(tmp_path, GOOD + skeleton((0, 0, "ff", 100)) * 2000 * times)
        tracemalloc.start()
        assert len(source.read(tmp_path).users) == 1
        most.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert (tmp_path / "sample_skeleton_train.csv").stat().st_size > 20 * (1 << 14)
    assert most[2] < 1.2 * most[1]


def test_lines_with_both_sides(tmp_path: Path) -> None:
    file = tmp_path / "lines.txt"
    file.write_text("1,1,0,205:7,210:1,210:2,101:3,109_14:8,109_14:9\n2,0,1,205:8,101:3\n3,0,0,205:8,101:4\n")
    got = source.read(file)
    assert (got.users.tolist(), got.items.tolist(), got.dropped) == ([3], [7], {IMPOSSIBLE: 1})
    assert named(got.user_tokens, 3) == [("category_history=8", 1.0), ("category_history=9", 1.0)]
    assert isinstance(got.user_tokens, TokensById)
    assert got.user_tokens.weights is None
    file.write_text("1,1,0,205:7,101:3\n2,1,0,205,101:3\n")
    with pytest.raises(DataError, match=r"lines\.txt: line 2: expected field:feature_id"):
        source.read(file)


TABLE = "click,purchase,101,124,205,206,109_14,D109_14\n"


def test_label_encoded_tables(tmp_path: Path) -> None:
    (tmp_path / "ali_ccp_train.csv").write_text(TABLE + "1,0,3,1,7,2,5,0.5\n0,1,3,1,8,2,5,0.5\n0,0,4,2,8,2,5,0.5\n")
    (tmp_path / "ali_ccp_test.csv").write_text(TABLE + "1,1,4,2,8,2,6,0.25\n")
    got = source.read(tmp_path)
    assert (got.users.tolist(), got.items.tolist(), got.dropped) == ([3, 4], [7, 8], {IMPOSSIBLE: 1})
    assert named(got.user_tokens, 4) == [("gender=2", 1.0), ("category_history=6", 0.25)]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("1,0,3,1,7,2,5,nan\n", r"ali_ccp_train\.csv: line 3"),
        ("1,0,3,1,7,2,5,inf\n", r"line 3"),
        ("1,0,3,1,9,2,5\n", r"line 3"),
        ("1,0,9,1,7,2,5,-1\n", r"column 'D109_14' holds a negative weight -1"),
        ("2,0,3,1,7,2,5,1\n", r"line 3: click and purchase must be 0 or 1"),
    ],
)
def test_bad_tables_name_file_and_line(tmp_path: Path, row: str, message: str) -> None:
    (tmp_path / "ali_ccp_train.csv").write_text(TABLE + "1,0,3,1,7,2,5,0.5\n" + row)
    with pytest.raises(DataError, match=message):
        source.read(tmp_path)


samples = pytest.mark.skipif(not SHARED.is_dir(), reason="Ali-CCP's samples are not at ../shared/data/ali-ccp-samples")


@samples
def test_paddlerec_esmm_sample() -> None:
    got = source.read(SHARED / "paddlerec_esmm_train_small.txt")
    assert (got.users.tolist(), got.items.tolist()) == ([12, 12], [6, 894])
    counts: dict[str, int] = {}
    for name, _ in named(got.user_tokens, 12):
        counts[name.split("=")[0]] = counts.get(name.split("=")[0], 0) + 1
    assert counts["category_history"] == 117
    assert counts["shop_history"] == 342
    assert counts["brand_history"] == 209
    assert counts["intention_history"] == 191
    assert [name for name, _ in named(got.item_tokens, 6)].count("intention=1") == 1


@samples
def test_paddlerec_aitm_sample() -> None:
    got = source.read(SHARED / "paddlerec_aitm_train.csv")
    assert len(got.users) == 3
    assert got.dropped == {IMPOSSIBLE: 2}


@samples
def test_rechub_samples_keep_weights() -> None:
    got = source.read(SHARED)
    assert len(got.users) == 12
    assert named(got.user_tokens, 1)[-4:] == [
        ("category_history=1", 0.4734),
        ("shop_history=1", 0.562),
        ("brand_history=1", 0.0856),
        ("intention_history=1", 0.1902),
    ]
