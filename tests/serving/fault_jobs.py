"""Repricing jobs as real processes that can be paused and set to another time, and what they may be fed."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from greenflow_ray.nearline.reading import eligible
from tests.serving.fakes import PATIENCE_S
from tests.serving.fault_site import Clock, Site, wait_for
from tests.serving.test_application import GOOD_USERS

_PAUSE_HOOK = """
import functools, os, pathlib, sqlite3, time
class Pausing(sqlite3.Connection):
    def execute(self, sql, *rest):
        if sql.startswith({at!r}) and "prices.sqlite" in str(self.file) and not os.path.exists({go!r}):
            pathlib.Path({paused!r}).touch()
            while not os.path.exists({go!r}):
                time.sleep(0.01)
        return super().execute(sql, *rest)
def connect(path, *rest, **options):
    found = real(path, *rest, factory=Pausing, **options)
    found.file = path
    return found
real, sqlite3.connect = sqlite3.connect, connect
"""


@dataclass(frozen=True)
class Job:
    """A running ``greenflow reprice``, which may pause before a statement to the price store until ``go`` exists."""

    process: subprocess.Popen[str]
    paused: Path
    go: Path

    def reaches_pause(self) -> bool:
        """Wait for its pause; False if it ended without one, or never got there."""
        wait_for(lambda: self.paused.exists() or self.process.poll() is not None)
        return self.paused.exists()

    def outcome(self) -> dict[str, Any]:
        """Wait for its end: exit code, what it printed as JSON, and its errors."""
        out, errors = self.process.communicate(timeout=PATIENCE_S)
        return {"exit_code": self.process.returncode, "errors": errors, **(json.loads(out) if out else {})}


@contextmanager
def repricing(site: Site, *, pause_at: str | None = None, later_s: float = 0.0) -> Iterator[Job]:
    """Start ``python -m greenflow_ray reprice`` on the application's cluster; it does not outlive the block.

    ``pause_at`` is the beginning of an SQL statement; ``later_s`` puts its clock forward.
    """
    hooks = site.folder / f"job-{time.monotonic_ns()}"
    hooks.mkdir()
    paused, go = hooks / "paused", hooks / "go"
    if pause_at is not None:
        hook = _PAUSE_HOOK.format(at=pause_at, paused=str(paused), go=str(go))
        (hooks / "sitecustomize.py").write_text(hook)
    else:
        Clock(hooks).back(-later_s)
    command = [sys.executable, "-m", "greenflow_ray", "reprice", "--run", str(site.config.run), "--json"]
    with subprocess.Popen(
        [*command, "--address", site.server.address],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(hooks), os.getcwd()])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield Job(process, paused, go)
        finally:
            if process.poll() is None:
                process.kill()


def gather_samples(site: Site, files: int = 1) -> list[Path]:
    """At least so many good sample files in the window, copies among them if need be; oldest first."""

    def good() -> list[Path]:
        return list(eligible.look(site.config.paths.samples, time.time() - 100.0).files)

    if not good():
        site.recommend({"user_id": GOOD_USERS[0]})
        assert wait_for(lambda: bool(good())) is not None
    found = good()
    for i in range(files - len(found)):
        shutil.copyfile(found[0], found[0].with_name(f"samples-copy-{i}.parquet"))
    return good()


def with_pickle(good: Path, marker: Path) -> bytes:
    """A sample file's bytes, with a column whose type is a pickle that would create ``marker`` if it were loaded."""
    table = pq.read_table(good)
    poison = pickle.dumps(_Touch(str(marker)))
    pickle.loads(poison)
    assert marker.exists(), "the pickle is harmless, so the test proves nothing"
    marker.unlink()
    meta = {"ARROW:extension:name": "ray.data.arrow_tensor_v2", "ARROW:extension:metadata": poison}
    column = pa.field("payload", pa.large_list(pa.float32()), metadata=meta)
    schema = table.schema.append(column)
    columns = [*table.columns, pa.nulls(len(table), column.type)]
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns, schema=schema), sink)
    return bytes(sink.getvalue())


@dataclass(frozen=True)
class _Touch:
    """Unpickles by creating a file."""

    path: str

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (self.path, "w")
