"""An append-only log of immutable Parquet files, written by a thread so that no request ever waits for the disk.

A file appears whole or not at all (temporary name, then rename). When the buffer is full or the disk refuses, rows are
dropped and counted; requests go on.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from greenflow_ray.config import SamplingConfig

log = logging.getLogger(__name__)


class ParquetLog:
    """Buffers batches of rows and writes them as one file every ``flush_s`` seconds.

    Attributes:
        written: rows that lie in files.
        dropped: rows lost to a full buffer or a failing disk.
    """

    def __init__(
        self,
        folder: Path,
        schema: pa.Schema,
        settings: SamplingConfig,
        *,
        name: str,
        clock: Callable[[], float] = time.time,
        start: bool = True,
    ) -> None:
        """``name`` begins every file's name; ``clock`` gives Unix seconds; ``start=False``: no thread (tests)."""
        self._folder = folder
        self._schema = schema
        self._name = name
        self._settings = settings
        self._clock = clock
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._batches: list[tuple[Mapping[str, Any], int]] = []
        self._rows = 0
        self._failing = False
        self._serial = 0
        self._tag = secrets.token_hex(4)  # two replicas, or one restarted within a millisecond, never share a name
        self.written = 0
        self.dropped = 0
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._loop, name=f"{name}-log", daemon=True)
        if start:
            self._thread.start()

    def append(self, columns: Mapping[str, Any], rows: int) -> int:
        """Take over ``rows`` rows (one array or list a column, not to be changed later); returns how many it took.

        Never blocks on the disk; whole batches are dropped while the buffer is full.
        """
        with self._lock:
            if self._rows + rows > self._settings.buffer_rows or self._closing.is_set():
                self.dropped += rows
                return 0
            self._batches.append((columns, rows))
            self._rows += rows
        return rows

    def flush(self) -> Path | None:
        """Write what is buffered now; returns the file, or None if there was nothing or the disk refused."""
        with self._writing:
            with self._lock:
                # They stay counted in the buffer until written, so that a slow disk bounds memory too.
                batches, self._batches = self._batches, []
            rows = sum(count for _, count in batches)
            if not rows:
                return None
            try:
                path = self._write([columns for columns, _ in batches])
            except (OSError, pa.ArrowException) as error:
                with self._lock:
                    self._rows -= rows
                    self.dropped += rows
                if not self._failing:
                    log.warning(
                        "%s log: %d rows dropped, %s cannot be written: %s", self._name, rows, self._folder, error
                    )
                self._failing = True
                return None
            with self._lock:
                self._rows -= rows
                self.written += rows
            self._failing = False
            return path

    def close(self) -> None:
        """Stop the thread and write what is left."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join(timeout=10)
        self.flush()

    def _loop(self) -> None:
        while not self._closing.wait(self._settings.flush_s):
            self.flush()

    def _write(self, batches: list[Mapping[str, Any]]) -> Path:
        columns = [_array(_joined([batch[field.name] for batch in batches]), field.type) for field in self._schema]
        self._folder.mkdir(parents=True, exist_ok=True)
        stem = f"{self._name}-{int(self._clock() * 1000):013d}-{self._tag}-{self._serial:06d}"
        self._serial += 1
        partial = self._folder / f".{stem}.partial"
        try:
            table = pa.Table.from_arrays(columns, schema=self._schema)
            pq.write_table(table, partial, compression="zstd", write_page_checksum=True)
            path = self._folder / f"{stem}.parquet"
            partial.rename(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        return path


def _joined(parts: list[Any]) -> Any:
    """One array or list of all batches' rows: many small Arrow arrays would cost more than writing them."""
    return np.concatenate(parts) if isinstance(parts[0], np.ndarray) else list(chain.from_iterable(parts))


def _array(values: Any, kind: Any) -> Any:
    """An Arrow array of ``kind``; a 2-D numpy array becomes fixed-size lists."""
    if pa.types.is_fixed_size_list(kind):
        return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1), kind.value_type), kind.list_size)
    return pa.array(values, kind)
