"""Vetting sample files: good ones are read, bad ones are named and set aside, nothing is executed."""

import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from greenflow_ray.nearline.reading.eligible import look, restamp, set_aside

COSTS = [1.0, 2.0, 4.0]


def write(
    path: Path, *, rows: int = 5, schema: bytes = b"1", chains: bytes = b"abc", width: int = 3, costs: object = COSTS
) -> Path:
    rewards = np.random.default_rng(0).random((rows, width), dtype=np.float32)
    column = pa.FixedSizeListArray.from_arrays(pa.array(rewards.reshape(-1)), width)
    meta = {
        b"greenflow.schema": schema,
        b"greenflow.costs": json.dumps(costs).encode(),
        b"greenflow.chains_digest": chains,
    }
    pq.write_table(pa.table({"reward": column}).replace_schema_metadata(meta), path)
    return path


def test_good_files_are_taken_oldest_first(tmp_path: Path) -> None:
    for i, name in enumerate(["b", "a"]):
        os.utime(write(tmp_path / f"{name}.parquet"), (1000 + i, 1000 + i))
    window = look(tmp_path, since=999)
    assert [p.stem for p in window.files] == ["b", "a"]
    assert window.costs.tolist() == COSTS
    assert not look(tmp_path, since=1000.5).bad
    assert len(look(tmp_path, since=1000.5).files) == 1


def test_bad_files_are_named_and_set_aside(tmp_path: Path) -> None:
    good = write(tmp_path / "good.parquet")
    (tmp_path / "truncated.parquet").write_bytes(good.read_bytes()[:-20])
    (tmp_path / "text.parquet").write_text("hello")
    (tmp_path / "empty.parquet").touch()
    write(tmp_path / "future.parquet", schema=b"99")
    write(tmp_path / "narrow.parquet", width=2)
    pq.write_table(pa.table({"x": [1]}), tmp_path / "foreign.parquet")
    for name, costs in (("number", 3), ("negative", [1.0, -2.0, 4.0]), ("words", ["a", "b", "c"])):
        write(tmp_path / f"{name}.parquet", costs=costs)
    window = look(tmp_path, since=0)
    assert [p.name for p in window.files] == ["good.parquet"]
    assert {b.path.stem for b in window.bad} == {
        *("truncated", "text", "empty", "future", "narrow", "foreign"),
        *("number", "negative", "words"),
    }
    assert window.seen == 10
    set_aside(window.bad, tmp_path)
    assert not look(tmp_path, since=0).bad
    assert len(list((tmp_path / "refused").iterdir())) == 9


def test_rows_of_another_chain_space_are_left_but_are_not_bad(tmp_path: Path) -> None:
    os.utime(write(tmp_path / "old.parquet", chains=b"old"), (1000, 1000))
    write(tmp_path / "new.parquet")
    window = look(tmp_path, since=0)
    assert [p.stem for p in window.files] == ["new"]
    assert (window.other, window.bad, window.chains) == (1, (), "abc")


def test_files_of_one_chain_space_have_one_set_of_costs(tmp_path: Path) -> None:
    os.utime(write(tmp_path / "forged.parquet", costs=[1.0, 2.0, 8.0]), (1000, 1000))
    write(tmp_path / "new.parquet")
    window = look(tmp_path, since=0)
    assert [b.path.stem for b in window.bad] == ["forged"]
    assert "costs" in window.bad[0].reason
    assert window.costs.tolist() == COSTS


def test_files_from_before_the_clock_went_back_leave_the_window_in_their_order(tmp_path: Path) -> None:
    now = 10_000.0  # 300 s ago it was 10 299
    for i, modified in enumerate([10_000.5, 10_100, 10_200, 10_299, 9_950, 9_990]):
        os.utime(write(tmp_path / f"{i}.parquet"), (modified, modified))
    assert restamp(tmp_path, now) == pytest.approx(299)
    assert [p.stem for p in look(tmp_path, since=now - 300).files] == ["1", "2", "4", "5", "3", "0"]
    assert look(tmp_path, since=now - 150).oldest == pytest.approx(10_200 - 299)
    assert [p.stem for p in look(tmp_path, since=now - 5).files] == ["3", "0"]
    assert restamp(tmp_path, now) == 0.0, "once is enough"


def test_an_empty_folder_is_an_empty_window(tmp_path: Path) -> None:
    window = look(tmp_path / "nowhere", since=0)
    assert (window.files, window.seen) == ((), 0)
