"""The Ray cluster that nearline work runs on: the job's own, one by address, or a small one started here."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import ray
import ray.data


def running(address: str | None) -> str | None:
    """The cluster to join: ``address``, else that of the Ray job this is; None if there is none."""
    in_job = "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ or "RAY_ADDRESS" in os.environ
    return address or ("auto" if in_job else None)


@contextmanager
def joined(address: str | None = None) -> Iterator[None]:
    """Join the cluster of this job, or ``address``, where there is one; work without Ray else."""
    with connected(address) if running(address) else nullcontext():
        yield


@contextmanager
def connected(address: str | None = None) -> Iterator[None]:
    """Join the cluster of this job, or ``address``; start one here if there is neither, and stop it at the end."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    started_here = not ray.is_initialized()
    if started_here:
        there = running(address)
        ray.init(
            address=there,
            namespace="greenflow",
            logging_level=logging.WARNING,
            log_to_driver=False,
            **({} if there else {"include_dashboard": False, "num_cpus": os.cpu_count()}),
        )
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # it logs a failed task's stack besides raising it
    try:
        yield
    finally:
        if started_here:
            ray.shutdown()
