"""Vetting sample files: good ones are read, bad ones are named and set aside, nothing is executed."""

import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from greenflow_ray.nearline.window import look, retire, set_aside

COSTS = [1.0, 2.0, 4.0]


def write(path: Path, *, rows: int = 5, schema: bytes = b"1", chains: bytes = b"abc", width: int = 3) -> Path:
    rewards = np.random.default_rng(0).random((rows, width), dtype=np.float32)
    column = pa.FixedSizeListArray.from_arrays(pa.array(rewards.reshape(-1)), width)
    meta = {
        b"greenflow.schema": schema,
        b"greenflow.costs": json.dumps(COSTS).encode(),
        b"greenflow.chains_digest": chains,
    }
    pq.write_table(pa.table({"reward": column}).replace_schema_metadata(meta), path)
    return path


def test_good_files_are_taken_oldest_first(tmp_path: Path) -> None:
    for i, name in enumerate(["b", "a"]):
        os.utime(write(tmp_path / f"{name}.parquet"), (1000 + i, 1000 + i))
    window = look(tmp_path, since=999)
    assert [p.stem for p in window.files] == ["b", "a"]
    assert window.rows == 10
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
    window = look(tmp_path, since=0)
    assert [p.name for p in window.files] == ["good.parquet"]
    assert {b.path.stem for b in window.bad} == {"truncated", "text", "empty", "future", "narrow", "foreign"}
    assert window.bad_share == 6 / 7
    set_aside(window.bad, tmp_path)
    assert not look(tmp_path, since=0).bad
    assert len(list((tmp_path / "refused").iterdir())) == 6


def test_rows_of_another_chain_space_are_left_but_are_not_bad(tmp_path: Path) -> None:
    os.utime(write(tmp_path / "old.parquet", chains=b"old"), (1000, 1000))
    write(tmp_path / "new.parquet")
    window = look(tmp_path, since=0)
    assert [p.stem for p in window.files] == ["new"]
    assert (window.other, window.bad, window.chains) == (1, (), "abc")


def test_retire_deletes_only_what_is_old(tmp_path: Path) -> None:
    os.utime(write(tmp_path / "old.parquet"), (1000, 1000))
    write(tmp_path / "new.parquet")
    assert retire(tmp_path, before=2000) == 1
    assert [p.stem for p in tmp_path.glob("*.parquet")] == ["new"]


def test_an_empty_folder_is_an_empty_window(tmp_path: Path) -> None:
    window = look(tmp_path / "nowhere", since=0)
    assert (window.files, window.rows, window.bad_share) == ((), 0, 0.0)
