from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from greenflow_ray.config import SamplingConfig
from greenflow_ray.nearline.reading import eligible
from greenflow_ray.serving.logs.clicks import FeedbackLog
from greenflow_ray.serving.logs.samples import SampleLog
from tests.worlds import make_world

SPACE = make_world().space
SETTINGS = SamplingConfig(buffer_rows=10)


def batch(n: int, first: int = 0) -> dict[str, Any]:
    chains = np.arange(n, dtype=np.int32) % len(SPACE)
    return {
        "time": 1000.0,
        "request_ids": tuple(f"r{first + i}" for i in range(n)),
        "user_ids": np.arange(n, dtype=np.int64),
        "hashes": np.arange(n, dtype=np.uint64) << np.uint64(32 - 4),
        "rewards": np.arange(n * len(SPACE), dtype=np.float32).reshape(n, len(SPACE)),
        "chains": chains,
        "costs": SPACE.costs[chains],
        "prices": np.full(n, 0.25),
        "version": 3,
        "propensities": np.full(n, 0.5, dtype=np.float32),
    }


def written(folder: Path) -> Any:
    return pq.read_table(sorted(folder.glob("*.parquet")))


def test_repricing_accepts_what_was_logged(tmp_path: Path) -> None:
    log = SampleLog(tmp_path, SPACE, SETTINGS, start=False)
    log.add(**batch(4))
    log.add(**batch(2, first=4))
    log.close()
    found = eligible.look(tmp_path, since=0.0)
    rows = sum(pq.read_metadata(file).num_rows for file in found.files)
    assert (rows, found.bad, found.chains) == (6, (), SPACE.digest)
    np.testing.assert_array_equal(found.costs, SPACE.costs)
    table = written(tmp_path)
    assert table.column("request_id").to_pylist() == [f"r{i}" for i in range(6)]
    assert table.column("reward").to_pylist()[1] == list(map(float, range(len(SPACE), 2 * len(SPACE))))
    assert table.column("cost").to_pylist() == [SPACE.costs[i] for i in (0, 1, 2, 3, 0, 1)]
    assert set(table.column("propensity").to_pylist()) == {0.5}
    assert log.written == 6


def test_a_full_buffer_drops_and_counts(tmp_path: Path) -> None:
    log = SampleLog(tmp_path, SPACE, SETTINGS, start=False)
    for _ in range(3):
        log.add(**batch(4))
    assert log.dropped == 4
    log.close()
    assert log.written == 8


def test_a_failing_disk_drops_counts_and_recovers(tmp_path: Path) -> None:
    folder = tmp_path / "samples"
    folder.write_text("not a folder")
    log = SampleLog(folder, SPACE, SETTINGS, start=False)
    log.add(**batch(4))
    assert log.flush() is None
    assert (log.dropped, log.written) == (4, 0)
    folder.unlink()
    log.add(**batch(10))
    log.close()
    assert (log.dropped, log.written) == (4, 10)
    assert not list(folder.glob("*.partial"))


def test_sampling_keeps_the_requests_of_low_hash(tmp_path: Path) -> None:
    log = SampleLog(tmp_path, SPACE, SamplingConfig(rate=0.25), start=False)
    log.add(**batch(16))  # hashes step through the low 32 bits in sixteenths
    log.close()
    table = written(tmp_path)
    assert table.column("request_id").to_pylist() == ["r0", "r1", "r2", "r3"]
    assert set(table.column("sampling_rate").to_pylist()) == {0.25}


def test_the_thread_writes_without_being_asked(tmp_path: Path) -> None:
    log = SampleLog(tmp_path, SPACE, SamplingConfig(flush_s=0.01))
    log.add(**batch(3))
    log.close()
    assert log.written == 3
    log.add(**batch(3))
    assert log.dropped == 3, "a closed log takes nothing in"


def test_feedback_has_one_row_a_click(tmp_path: Path) -> None:
    log = FeedbackLog(tmp_path, SETTINGS, start=False)
    assert log.add(5.0, [("a", [1, 2]), ("b", []), ("c", [3])])
    assert log.add(5.0, [("d", [])])
    assert not log.add(5.0, [("e", list(range(9)))])
    log.close()
    assert written(tmp_path).to_pydict() == {
        "time": [5.0, 5.0, 5.0],
        "request_id": ["a", "a", "c"],
        "item_id": [1, 2, 3],
    }
    assert log.dropped == 9


def test_two_logs_of_one_folder_never_share_a_file(tmp_path: Path) -> None:
    logs = [SampleLog(tmp_path, SPACE, SETTINGS, start=False) for _ in range(2)]
    for log in logs:
        log.add(**batch(1))
        log.close()
    assert len(list(tmp_path.glob("*.parquet"))) == 2


def test_nothing_to_write_writes_nothing(tmp_path: Path) -> None:
    log = SampleLog(tmp_path, SPACE, SETTINGS, start=False)
    log.add(**batch(0))
    log.close()
    assert not list(tmp_path.iterdir())
