"""Log files as a Ray data set: every page is checked, and no metadata is interpreted by anything but pyarrow."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
import ray
import ray.data
import ray.exceptions

from greenflow_ray.errors import DataError, ResourceProblem

T = TypeVar("T")

TASK_BYTES = 32 << 20
"""Bytes on disk that one task reads."""

_NAMED = re.compile(r"^(?:[a-z_]+\.)*([A-Z]\w*: .+)$", re.MULTILINE)
"""A line of a stack trace such as ``pyarrow.lib.ArrowInvalid: the file is …``."""


def scan(files: Sequence[Path], columns: Sequence[str]) -> ray.data.Dataset:
    """Rows of vetted ``files``, ``columns`` only, read when they are needed; a file becomes at least one block.

    ``ray.data.read_parquet`` offers no way to verify the checksums of pages, and bits that fell over would become
    rewards.
    """
    wanted = list(columns)

    def read(batch: pa.Table) -> Iterator[pa.Table]:
        for path in batch.column("item").to_pylist():
            # The schema's metadata differs from file to file, which Ray would take for different schemas.
            table = pq.read_table(path, columns=wanted, page_checksum_verification=True, partitioning=None)
            yield table.replace_schema_metadata(None)

    paths = ray.data.from_items([str(f) for f in files], override_num_blocks=tasks_for(files))
    return paths.map_batches(read, batch_format="pyarrow", batch_size=None)


def tasks_for(files: Sequence[Path]) -> int:
    """Tasks that read ``files``: as many as the bytes are worth, for each needs a worker, which costs when idle too."""
    tasks = min(len(files), -(-sum(path.stat().st_size for path in files) // TASK_BYTES))
    return max(1, min(tasks, 2 * int(ray.cluster_resources().get("CPU", 1))))


def run(work: Callable[[], T]) -> T:
    """What ``work`` returns. Raises DataError where a task failed, ResourceProblem where Ray itself did."""
    try:
        return work()
    except ray.exceptions.RayTaskError as error:
        raise DataError(f"the logs cannot be read: {_cause(error)}") from error
    except ray.exceptions.RayError as error:
        raise ResourceProblem(f"Ray could not finish the nearline job: {_cause(error)}; try again") from error


def _cause(error: BaseException) -> str:
    """The last exception that the text of a Ray error names."""
    named: list[str] = _NAMED.findall(str(error))
    return named[-1] if named else type(error).__name__
