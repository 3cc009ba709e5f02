"""Old logs go, by age and by size; what the window needs stays."""

from __future__ import annotations

import os
from pathlib import Path

from greenflow_ray.nearline.reading.eligible import retire, sweep
from tests.nearline.repricing.test_once import make_config

NOW = 1_000_000.0


def put(path: Path, age: float, size: int = 10) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    os.utime(path, (NOW - age, NOW - age))
    return path


def left(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}


def test_samples_refused_files_and_feedback_go_by_age(tmp_path: Path) -> None:
    config = make_config(tmp_path)
    for folder in ("samples", "samples/refused", "feedback", "feedback/refused"):
        put(tmp_path / folder / "old.parquet", config.sampling.retention_s + 1)
        put(tmp_path / folder / "new.parquet", config.sampling.retention_s - 1)
    put(tmp_path / "samples" / ".half.partial", config.sampling.retention_s + 1)
    put(tmp_path / "samples" / ".now.partial", 1)
    put(tmp_path / "samples" / "notes.txt", 10 * config.sampling.retention_s)
    assert sweep(config, NOW) == 5
    assert left(tmp_path) == {
        *("samples/new.parquet", "samples/refused/new.parquet", "feedback/new.parquet", "feedback/refused/new.parquet"),
        *("samples/.now.partial", "samples/notes.txt"),
    }


def test_what_the_window_needs_stays_whatever_the_retention(tmp_path: Path) -> None:
    config = make_config(tmp_path)
    sampling = config.sampling.model_copy(update={"retention_s": 1.0, "window_s": 300.0})
    put(tmp_path / "samples" / "a.parquet", 299)
    assert sweep(config.model_copy(update={"sampling": sampling}), NOW) == 0


def test_the_oldest_go_until_the_rest_fits(tmp_path: Path) -> None:
    for age in range(5):
        put(tmp_path / f"{age}.parquet", age, size=100)
    assert retire(tmp_path, before=0.0, max_bytes=250) == 3
    assert left(tmp_path) == {"0.parquet", "1.parquet"}


def test_a_folder_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    assert retire(tmp_path / "nowhere", before=NOW) == 0
