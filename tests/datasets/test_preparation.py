"""Preparing: formats found by content, reuse by digest, errors in one line, real data where it is at hand."""

from pathlib import Path
from typing import Any, get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from greenflow_ray.config import CascadeConfig, DataConfig
from greenflow_ray.datasets import preparation as prepare_module
from greenflow_ray.datasets import storage, summary
from greenflow_ray.datasets.formats.synthetic import load_truth
from greenflow_ray.datasets.preparation import detect, prepare
from greenflow_ray.datasets.schema import Split
from greenflow_ray.errors import DataError

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"


def config(run: Path, **data: Any) -> CascadeConfig:
    stages = [
        {"name": "recall", "pool": [{"name": "dssm"}], "scales": "corpus"},
        {"name": "ranking", "pool": [{"name": "din"}], "scales": [20, 40]},
    ]
    return CascadeConfig.model_validate({"run": run, "stages": stages, "data": data})


def movielens(folder: Path) -> Path:
    folder.mkdir()
    rows = [f"{u}::{u * 7 % 31 + k}::4::{k}" for u in range(1, 41) for k in range(6)]
    (folder / "ratings.dat").write_text("\n".join(rows) + "\n")
    return folder


def test_the_synthetic_set_is_made_once(tmp_path: Path) -> None:
    declared = config(tmp_path, users=100, items=100)
    messages: list[str] = []
    first = prepare(declared, progress=lambda m, s: messages.append(m))
    assert load_truth(declared.paths.data).probabilities(np.arange(2)).shape == (2, 100)
    stamp = (declared.paths.data / "users.parquet").stat().st_mtime_ns
    again = prepare(declared, progress=lambda m, s: messages.append(m))
    assert "reused" in messages[-1]
    assert again.digest == first.digest
    assert (declared.paths.data / "users.parquet").stat().st_mtime_ns == stamp


def test_a_changed_source_or_setting_prepares_anew(tmp_path: Path) -> None:
    folder = movielens(tmp_path / "ml")
    declared = config(tmp_path / "run", path=folder)
    first = prepare(declared)
    with (folder / "ratings.dat").open("a") as file:
        file.write("3::999::5::9\n")
    second = prepare(declared)
    third = prepare(declared.model_copy(update={"seed": 9}))
    assert len({first.digest, second.digest, third.digest}) == 3
    assert 999 in second.catalog.item_ids
    assert (first.name, first.synthetic) == ("ml", False)


def test_a_damaged_set_is_prepared_anew(tmp_path: Path) -> None:
    declared = config(tmp_path, users=100, items=100)
    prepare(declared)
    (declared.paths.data / "clicks-final.parquet").unlink()
    prepare(declared)
    assert len(storage.load_clicks(declared.paths.data, Split.FINAL).users) == 15


def test_bad_input_leaves_the_earlier_set_intact(tmp_path: Path) -> None:
    folder = movielens(tmp_path / "ml")
    declared = config(tmp_path / "run", path=folder)
    digest = prepare(declared).digest
    (folder / "ratings.dat").write_text("broken\n")
    with pytest.raises(DataError, match="line 1"):
        prepare(declared)
    assert storage.load(declared.paths.data).digest == digest


def test_formats_are_told_by_content(tmp_path: Path) -> None:
    assert detect(movielens(tmp_path / "a")) == "movielens"
    (tmp_path / "X.txt").write_text("1 2 3\n")
    assert detect(tmp_path / "X.txt") == "sequences"
    (tmp_path / "Y.txt").write_text("1,1,0,205:3,101:4\n")
    assert detect(tmp_path / "Y.txt") == "aliccp"
    for name, text, expected in (
        ("u.data", "1\t1\t1\t1\n", "movielens"),
        ("ratings.csv", "userId,movieId,rating,timestamp\n", "movielens"),
        ("sample_skeleton_train.csv", "", "aliccp"),
        ("my_ali_ccp_val.csv", "click,purchase,101,205\n", "aliccp"),
        ("log_standard_4_08_to_4_21_1k.csv", "", "kuairand"),
        ("interactions.parquet", "", "parquet"),
    ):
        folder = tmp_path / name.replace(".", "-")
        folder.mkdir()
        (folder / name).write_text(text)
        (folder / "common_features_train.csv").write_text("")  # beside Ali-CCP's, else in nobody's way
        assert detect(folder) == expected


@pytest.mark.parametrize("name", ["movielens", "sequences", "kuairand", "aliccp", "parquet"])
def test_a_format_that_is_not_there_says_what_it_needs(tmp_path: Path, name: str) -> None:
    (tmp_path / "holiday.jpg").write_bytes(b"")
    with pytest.raises(DataError, match=rf"{tmp_path}: no .*; give"):
        prepare(config(tmp_path / "run", format=name, path=tmp_path))


def test_every_format_is_declared_and_read() -> None:
    declared = get_args(DataConfig.model_fields["format"].annotation)
    assert set(declared) == {"auto", "synthetic", *prepare_module._READERS}


def test_the_summary_counts_what_was_read(tmp_path: Path) -> None:
    folder = movielens(tmp_path / "ml")
    with (folder / "ratings.dat").open("a") as file:
        file.write("77::5::5::1000000000\n1::7::5::8\n")  # a user with one event, and a pair that came before
    declared = config(tmp_path / "run", path=folder)
    prepare(declared)
    told = summary.load(declared.paths.data)
    assert told is not None
    assert (told.users, told.events, told.duplicates, told.without_history) == (41, 241, 1, 1)
    assert (told.history_median, told.ordered) == (3.0, True)
    assert (told.first, told.last) == ("1970-01-01T00:00:00+00:00", "2001-09-09T01:46:40+00:00")
    lines = " | ".join(told.lines())
    for words in ("241 events, 1 repeated ones left out", "1 users have none", "time: 1970-01-01"):
        assert words in lines
    prepare(declared)  # reused: the summary stays
    assert summary.load(declared.paths.data) == told


def test_events_without_order_say_so(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    events = {"user_id": np.repeat(np.arange(40), 4), "item_id": rng.integers(20, size=160)}
    pq.write_table(pa.table(events), tmp_path / "interactions.parquet")
    declared = config(tmp_path / "run", path=tmp_path)
    dataset = prepare(declared)
    told = summary.load(declared.paths.data)
    assert told is not None
    assert not dataset.ordered
    assert told.first is None
    assert told.events + told.duplicates == 160
    assert "no order in time: chance parts history and held-out clicks" in told.lines()


def test_a_damaged_summary_is_none(tmp_path: Path) -> None:
    (tmp_path / summary.FILE).write_text('{"users": 1}')
    assert summary.load(tmp_path) is None


def test_progress_never_falls_back_while_a_set_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("greenflow_ray.datasets.reading.BLOCK", 1 << 10)
    folder = tmp_path / "ml"
    folder.mkdir()
    rows = [f"{u},{u * 7 % 31 + k},4.0,{k}" for u in range(1, 200) for k in range(6)]
    (folder / "ratings.csv").write_text("userId,movieId,rating,timestamp\n" + "\n".join(rows) + "\n")
    seen: list[tuple[str, float]] = []
    prepare(config(tmp_path / "run", path=folder), progress=lambda message, share: seen.append((message, share)))
    shares = [share for _, share in seen]
    assert shares == sorted(shares)
    assert len({share for message, share in seen if message == "data: reading ratings.csv"}) > 5
    assert shares[-1] == 1.0


def test_what_cannot_be_read_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such data folder"):
        detect(tmp_path / "missing")
    with pytest.raises(DataError, match="the data folder is empty"):
        detect(tmp_path)
    (tmp_path / "holiday.jpg").write_bytes(b"")
    with pytest.raises(DataError, match="unknown dataset format; expected MovieLens"):
        detect(tmp_path)
    with pytest.raises(DataError, match=r"data\.path is not set"):
        prepare(config(tmp_path / "run", format="movielens"))
    with pytest.raises(DataError, match="give a folder of sequences"):
        prepare(config(tmp_path / "run", format="sequences", path=tmp_path))
    assert not (tmp_path / "run" / "data").exists()


@pytest.mark.skipif(not (SHARED / "ml-1m").is_dir(), reason="MovieLens-1M is not at ../shared/data/ml-1m")
def test_movielens_1m(tmp_path: Path) -> None:
    dataset = prepare(config(tmp_path, path=SHARED / "ml-1m"))
    assert (len(dataset.users), len(dataset.catalog)) == (6040, 3706)
    held = sum(len(storage.load_clicks(tmp_path / "data", s).items.values) for s in Split)
    assert held + len(dataset.users.history.values) == 1_000_209
    assert "genre=Film-Noir" in dataset.catalog.vocabulary
    assert "gender=F" in dataset.users.vocabulary


@pytest.mark.skipif(not (SHARED / "ml-1m").is_dir(), reason="MovieLens-1M is not at ../shared/data/ml-1m")
def test_movielens_sample_with_times(tmp_path: Path) -> None:
    dataset = prepare(config(tmp_path, path=SHARED / "ml-1m" / "sample_ratings_100k.dat"))
    assert (len(dataset.users), len(dataset.catalog)) == (5958, 3312)


@pytest.mark.skipif(not (SHARED / "amazon-beauty").is_dir(), reason="Beauty is not at ../shared/data/amazon-beauty")
def test_amazon_beauty(tmp_path: Path) -> None:
    dataset = prepare(config(tmp_path, path=SHARED / "amazon-beauty"))
    assert (len(dataset.users), len(dataset.catalog)) == (22363, 12101)
    assert dataset.users.vocabulary == ()
    assert dataset.users.history.lengths.min() >= 2
