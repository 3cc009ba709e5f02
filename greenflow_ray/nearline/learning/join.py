"""Clicks joined to samples by request id with Ray Data: shuffled by a hash of the id, matched part by part."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from greenflow_ray.config import CascadeConfig
from greenflow_ray.errors import DataError
from greenflow_ray.nearline.cluster import connected
from greenflow_ray.nearline.learning.dataset import Manifest, Summary, write_manifest
from greenflow_ray.nearline.learning.match import (
    CLICK_COLUMNS,
    PART,
    SAMPLE_COLUMNS,
    Counts,
    click_rows,
    joined_schema,
    match,
    sample_rows,
)
from greenflow_ray.nearline.reading.eligible import Vetted, Window, look, set_aside, vetted
from greenflow_ray.nearline.reading.scan import run, scan
from greenflow_ray.nearline.reading.vetting import plain_footer, unreadable
from greenflow_ray.serving.logs.clicks import FEEDBACK_SCHEMA
from greenflow_ray.support.files import whole
from greenflow_ray.support.progress import Progress, silent
from greenflow_ray.support.terminal import Terminal

HORIZON_S = 3600.0
"""Clicks of this many seconds after the answer count, unless told otherwise."""
PARTITION_BYTES = 64 << 20
"""Rows that are matched at once take about this much memory; one task holds a few copies."""


def join_run(config: CascadeConfig, terminal: Terminal, *, horizon_s: float, address: str | None) -> dict[str, Any]:
    """`greenflow join`: joins and says what came of it; returns the summary as JSON-able values."""
    with terminal.progress() as progress:
        summary = join_logs(config, horizon_s=horizon_s, address=address, progress=progress)
    terminal.say(summary.line())
    if not summary.feedback_files:
        terminal.say(f"warning: {config.paths.feedback} holds no feedback; every sample counts as one without a click")
    terminal.say(f"written to {config.paths.joined}")
    return summary.model_dump(mode="json")


def join_logs(
    config: CascadeConfig,
    *,
    horizon_s: float = HORIZON_S,
    address: str | None = None,
    clock: Callable[[], float] = time.time,
    progress: Progress = silent,
) -> Summary:
    """Join all samples that are still kept to all feedback, and write ``joined/`` anew.

    Rows of the newest sample file's chain space are joined. Memory is bounded by ``PARTITION_BYTES`` a task, whatever
    the logs hold. Files that cannot be read are set aside. Raises DataError if there is no sample, or more than 5 % of
    the sample or feedback files are bad; the join before stays then.
    """
    if not horizon_s > 0:
        raise DataError(f"horizon: {horizon_s:g} s; give the seconds after an answer in which a click counts, above 0")
    began, now = time.monotonic(), clock()
    paths = config.paths
    progress("looking at files", 0.0)
    samples = look(paths.samples, float("-inf"), SAMPLE_COLUMNS)
    clicked, bad = vetted(paths.feedback, lambda path: plain_footer(path, FEEDBACK_SCHEMA))
    feedback = Vetted(tuple(path for path, _, _ in clicked), tuple(bad))
    _refuse(config, samples, feedback)
    stem = f"joined-{int(1000 * now):013d}-{secrets.token_hex(4)}"
    try:
        with connected(address):
            try:
                counts, files, twice = _join(paths.joined, stem, samples, feedback, horizon_s, now, progress)
            except DataError:
                bad_samples = unreadable(samples.files, SAMPLE_COLUMNS)
                bad_feedback = unreadable(feedback.files, CLICK_COLUMNS)
                if not (bad_samples or bad_feedback):
                    raise
                samples, feedback = samples.without(bad_samples), feedback.without(bad_feedback)
                _refuse(config, samples, feedback)
                counts, files, twice = _join(paths.joined, stem, samples, feedback, horizon_s, now, progress)
        set_aside(samples.bad, paths.samples)
        set_aside(feedback.bad, paths.feedback)
        summary = Summary(
            **asdict(counts),
            **twice,
            sample_files=len(samples.files),
            feedback_files=len(feedback.files),
            bad_files=len(samples.bad) + len(feedback.bad),
            other_files=samples.other,
            horizon_s=horizon_s,
            joined_at=now,
            seconds=time.monotonic() - began,
        )
        costs = tuple(samples.costs.tolist())
        manifest = Manifest(chains=samples.chains, costs=costs, names=samples.names, files=files, summary=summary)
        write_manifest(paths.joined, manifest)
    except BaseException:
        for half in paths.joined.glob(f"{stem}-*.parquet"):
            with suppress(OSError):
                half.unlink()
        raise
    return summary


def _refuse(config: CascadeConfig, samples: Window, feedback: Vetted) -> None:
    samples.refuse_many(config.paths.samples)
    feedback.refuse_many(config.paths.feedback, "feedback")
    if not samples.files:
        raise DataError(f"{config.paths.samples}: no sample files; serve traffic first, then join within retention_s")


def _join(
    folder: Path, stem: str, samples: Window, feedback: Vetted, horizon_s: float, now: float, progress: Progress
) -> tuple[Counts, tuple[str, ...], dict[str, int]]:
    """Shuffle, match, write the parts; returns their counts and names, and how many rows were seen more than once.

    Raises DataError if a file cannot be read.
    """
    width = len(samples.costs)
    sampled, clicked = _rows(samples.files), _rows(feedback.files)
    parts = 1 + (sampled * (4 * width + 120) + clicked * 80) // PARTITION_BYTES
    schema = joined_schema(samples.chains, tuple(samples.costs.tolist()), samples.names)

    def write(rows: pa.Table) -> pa.Table:
        table, counts = match(rows, schema, horizon_s, now)
        name = f"{stem}-{rows[PART][0].as_py():05d}.parquet"
        if len(table):
            with whole(folder / name) as part:
                pq.write_table(table, part, compression="zstd", write_page_checksum=True)
        return pa.table({"file": [name if len(table) else ""], **{k: [v] for k, v in asdict(counts).items()}})

    def work() -> tuple[Counts, tuple[str, ...]]:
        total, names = Counts(), []
        rows = scan(samples.files, SAMPLE_COLUMNS).map_batches(
            sample_rows, batch_format="pyarrow", batch_size=None, fn_kwargs={"parts": parts}
        )
        if feedback.files:
            clicks = scan(feedback.files, CLICK_COLUMNS)
            rows = rows.union(
                clicks.map_batches(click_rows, batch_format="pyarrow", batch_size=None, fn_kwargs={"parts": parts})
            )
        grouped = rows.groupby(PART, num_partitions=parts).map_groups(write, batch_format="pyarrow")
        progress("joining clicks to samples", 0.1)
        for done, row in enumerate(grouped.iter_rows(), 1):
            name = row.pop("file")
            total += Counts(**row)
            if name:
                names.append(name)
            progress("joining clicks to samples", 0.1 + 0.9 * min(done / parts, 1.0))
        return total, tuple(sorted(names))

    counts, names = run(work)
    once = counts.clicks + counts.late_clicks + counts.orphan_clicks
    return counts, names, {"duplicate_samples": sampled - counts.samples, "duplicate_clicks": clicked - once}


def _rows(files: Sequence[Path]) -> int:
    """Rows of vetted files by their footers; a file that is gone by now has none."""
    total = 0
    for path in files:
        with suppress(FileNotFoundError):
            total += pq.read_metadata(path).num_rows
    return total
