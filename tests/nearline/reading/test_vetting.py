"""Footers that could run code are refused before anything interprets them; damaged pages are found."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from greenflow_ray.nearline.reading.vetting import plain_footer, refuse_extensions, unreadable
from greenflow_ray.serving.logs.clicks import FEEDBACK_SCHEMA
from tests.nearline.reading.test_eligible import COSTS, write


class Payload:
    """Makes a file where it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.marker),)


def hostile(path: Path, payload: bytes, name: bytes) -> Path:
    """A file that would pass for a sample file but for an extension type with pickled metadata."""
    reward = pa.field("reward", pa.list_(pa.field("item", pa.float32(), nullable=False), 3), nullable=False)
    meta = {b"ARROW:extension:name": name, b"ARROW:extension:metadata": payload}
    tensor = pa.field("tensor", pa.list_(pa.float32()), metadata=meta)
    about = {
        b"greenflow.schema": b"1",
        b"greenflow.costs": json.dumps(COSTS).encode(),
        b"greenflow.chains_digest": b"abc",
    }
    table = pa.table([[[1.0, 2.0, 3.0]], [[1.0]]], schema=pa.schema([reward, tensor], metadata=about))
    pq.write_table(table, path)
    return path


@pytest.mark.parametrize("vetted", [True, False], ids=["vetted", "opened as Ray would"])
def test_pickled_metadata_is_never_executed(tmp_path: Path, vetted: bool) -> None:
    marker = tmp_path / "executed"
    folder = tmp_path / "samples"
    folder.mkdir()
    path = hostile(folder / "evil.parquet", pickle.dumps(Payload(marker)), b"ray.data.arrow_tensor")
    look = "from greenflow_ray.nearline.reading.eligible import look\nfrom pathlib import Path\n"
    look += f"(bad,) = look(Path({str(folder)!r}), 0).bad\nassert 'extension type' in bad.reason, bad"
    read = f"import pyarrow.parquet as pq\npq.read_table({str(path)!r})"
    # With this setting, which some need for files of their own, the class that Ray registers unpickles.
    environment = {**os.environ, "RAY_DATA_AUTOLOAD_CLOUDPICKLE_TENSOR_METADATA": "1"}
    code = "import ray.data\nfrom ray.data._internal.tensor_extensions import arrow\n" + (look if vetted else read)
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert marker.exists() is not vetted, done.stderr
    if vetted:
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", [b"arrow.py_extension_type", b"ray.data.arrow_tensor_v2", b"anything"])
def test_every_extension_type_is_refused(tmp_path: Path, name: bytes) -> None:
    with pytest.raises(ValueError, match="Arrow extension type"):
        refuse_extensions(hostile(tmp_path / "a.parquet", b"\x80\x04.", name))


def test_a_schema_that_is_hidden_or_broken_is_refused(tmp_path: Path) -> None:
    path = hostile(tmp_path / "a.parquet", b"payload", b"anything")
    blob = path.read_bytes()
    at = blob.index(b"ARROW:schema") + len(b"ARROW:schema")
    for value in (b"\x19", b"\x18\xff"):  # another field than the string; a string longer than the footer
        path.write_bytes(blob[:at] + value + blob[at + len(value) :])
        with pytest.raises(ValueError, match="Arrow schema"):
            refuse_extensions(path)
    path.write_bytes(blob[: at + 20] + b"\x00" + blob[at + 21 :])
    with pytest.raises(ValueError, match="Arrow schema"):
        refuse_extensions(path)


def test_ordinary_files_pass(tmp_path: Path) -> None:
    refuse_extensions(write(tmp_path / "a.parquet"))
    pq.write_table(pa.table({"x": [1]}), tmp_path / "b.parquet", store_schema=False)
    refuse_extensions(tmp_path / "b.parquet")


def test_feedback_needs_its_columns_and_types(tmp_path: Path) -> None:
    good = pa.table([[1.0], ["r"], [7]], schema=FEEDBACK_SCHEMA)
    pq.write_table(good, tmp_path / "good.parquet")
    plain_footer(tmp_path / "good.parquet", FEEDBACK_SCHEMA)
    pq.write_table(good.drop_columns(["item_id"]), tmp_path / "short.parquet")
    with pytest.raises(KeyError, match="item_id"):
        plain_footer(tmp_path / "short.parquet", FEEDBACK_SCHEMA)
    words = good.set_column(2, "item_id", pa.array(["seven"]))
    pq.write_table(words, tmp_path / "words.parquet")
    with pytest.raises(ValueError, match="'item_id' is string, expected int64"):
        plain_footer(tmp_path / "words.parquet", FEEDBACK_SCHEMA)


def test_damaged_and_missing_files_are_found(tmp_path: Path) -> None:
    paths = [tmp_path / f"{name}.parquet" for name in ("good", "damaged", "gone")]
    for path in paths[:2]:
        pq.write_table(pa.table({"x": list(range(1000))}), path, write_page_checksum=True, compression="zstd")
    blob = bytearray(paths[1].read_bytes())
    blob[100] ^= 4
    paths[1].write_bytes(blob)
    bad = unreadable(paths, ["x"])
    assert [b.path.stem for b in bad] == ["damaged", "gone"]
    assert "CRC" in bad[0].reason
