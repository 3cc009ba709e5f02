"""The prepared set on disk: round trip, checksums, atomic replacement."""

import json
from pathlib import Path

import numpy as np
import pytest

from greenflow_ray.config import DataConfig
from greenflow_ray.datasets import storage
from greenflow_ray.datasets.formats.synthetic import generate
from greenflow_ray.datasets.schema import Clicks, Dataset, Split
from greenflow_ray.errors import ArtifactError, DataError

Prepared = tuple[Dataset, dict[Split, Clicks]]


@pytest.fixture(scope="module")
def prepared() -> Prepared:
    dataset, clicks, _ = generate(DataConfig(users=100, items=100), 0, "digest-1")
    return dataset, clicks


def test_what_was_saved_is_loaded(prepared: Prepared, tmp_path: Path) -> None:
    dataset, clicks = prepared
    storage.write(tmp_path / "data", dataset, clicks)
    back = storage.load(tmp_path / "data")
    assert (back.name, back.synthetic, back.seed, back.digest) == ("synthetic", True, 0, "digest-1")
    assert back.catalog.vocabulary == dataset.catalog.vocabulary
    assert back.users.vocabulary == dataset.users.vocabulary
    for ours, theirs in (
        (dataset.catalog.popularity, back.catalog.popularity),
        (dataset.catalog.tokens.values, back.catalog.tokens.values),
        (dataset.users.history.offsets, back.users.history.offsets),
        (dataset.users.history.values, back.users.history.values),
        (dataset.users.split, back.users.split),
    ):
        np.testing.assert_array_equal(ours, theirs)
        assert ours.dtype == theirs.dtype
    for split in Split:
        held = storage.load_clicks(tmp_path / "data", split)
        np.testing.assert_array_equal(held.users, clicks[split].users)
        np.testing.assert_array_equal(held.items.values, clicks[split].items.values)
        np.testing.assert_array_equal(held.items.offsets, clicks[split].items.offsets)


def test_final_clicks_leave_no_trace_in_other_files(prepared: Prepared, tmp_path: Path) -> None:
    dataset, clicks = prepared
    final = clicks[Split.FINAL]
    rows = np.roll(np.arange(len(final.users)), 1)
    other = {**clicks, Split.FINAL: Clicks(final.users, final.items.take(rows))}
    storage.write(tmp_path / "a", dataset, clicks)
    storage.write(tmp_path / "b", dataset, other)
    same = {p.name: p.read_bytes() == (tmp_path / "b" / p.name).read_bytes() for p in (tmp_path / "a").iterdir()}
    assert [name for name, equal in same.items() if not equal] == ["clicks-final.parquet"]
    assert len(same) == 7


def test_an_altered_table_is_refused(prepared: Prepared, tmp_path: Path) -> None:
    storage.write(tmp_path, *prepared)
    with (tmp_path / "items.parquet").open("ab") as file:
        file.write(b"x")
    with pytest.raises(ArtifactError, match=r"items\.parquet: missing, or its SHA-256 differs.*greenflow prepare"):
        storage.load(tmp_path)


def test_clicks_of_another_set_are_refused(prepared: Prepared, tmp_path: Path) -> None:
    storage.write(tmp_path, *prepared)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    (tmp_path / "manifest.json").write_text(json.dumps({**manifest, "digest": "other"}))
    with pytest.raises(ArtifactError, match=r"clicks-train\.parquet: belongs to another data set"):
        storage.load_clicks(tmp_path, Split.TRAIN)


@pytest.mark.parametrize(("text", "message"), [("{", "not a manifest"), ('{"schema": 99}', "schema 99")])
def test_a_foreign_manifest_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(ArtifactError, match=message):
        storage.load(tmp_path)


def test_a_folder_without_data_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no prepared data here.*greenflow prepare"):
        storage.load(tmp_path)


def test_a_failed_write_leaves_the_earlier_set_intact(prepared: Prepared, tmp_path: Path) -> None:
    storage.write(tmp_path / "data", *prepared)

    def fail_halfway() -> None:
        with storage.replacing(tmp_path / "data") as fresh:
            (fresh / "users.parquet").write_bytes(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_halfway()
    assert storage.load(tmp_path / "data").digest == "digest-1"
    assert [p.name for p in tmp_path.iterdir()] == ["data"]
