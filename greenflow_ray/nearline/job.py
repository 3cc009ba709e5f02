"""Repricing as a Ray job: connects to the cluster, asks the ledger for the live budget, repeats on a period."""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from collections.abc import Iterator
from typing import Any

import ray

from greenflow_ray.config import CascadeConfig
from greenflow_ray.console import Terminal
from greenflow_ray.errors import GreenFlowError
from greenflow_ray.nearline.reprice import reprice_once
from greenflow_ray.pricing.store import open_store


def reprice_job(
    config: CascadeConfig, *, every: float | None, address: str | None, terminal: Terminal
) -> Iterator[dict[str, object]]:
    """Reprice once, or every ``every`` seconds until stopped; yields what each repricing did.

    On a period a failure is reported and the next period tries again; the last published price stays meanwhile.
    """
    from greenflow_ray.nearline.aggregate import RaySamples

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # how Ray stops a job; leave in order
    started_here = _connect(address)
    try:
        store = open_store(config.paths.prices)
        while True:
            began = time.monotonic()
            try:
                outcome = reprice_once(config, store, RaySamples, time.time, live_budget(config))
                terminal.say(
                    f"version {outcome.version}"
                    + (f", price {outcome.price:.4g} per FLOP" if outcome.price is not None else "")
                    + f", {outcome.requests:.0f} requests from {outcome.files} files, {outcome.seconds:.1f} s"
                    + (f" (not published: {outcome.reason})" if outcome.reason else "")
                )
                yield outcome.as_dict()
            except GreenFlowError as error:
                if every is None:
                    raise
                terminal.error(str(error))
            if every is None:
                return
            time.sleep(max(0.0, every - (time.monotonic() - began)))
    finally:
        if started_here:
            ray.shutdown()


def live_budget(config: CascadeConfig) -> float | None:
    """The budget now in force, FLOP/s: the running ledger's, or the configuration's if none answers."""
    try:
        ledger = ray.get_actor("greenflow-ledger", namespace="greenflow")
        answer: dict[str, Any] = ray.get(ledger.budget.remote(), timeout=5)
    except (ValueError, ray.exceptions.RayError):
        return config.budget.flops_per_second
    value = answer.get("flops_per_second")
    return None if value is None else float(value)


def _connect(address: str | None) -> bool:
    """Join the cluster of this job, or ``address``; start a small one here if there is neither."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if ray.is_initialized():
        return False
    in_job = "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ or "RAY_ADDRESS" in os.environ
    ray.init(
        address=address or ("auto" if in_job else None),
        namespace="greenflow",
        logging_level=logging.WARNING,
        log_to_driver=False,
        **({} if address or in_job else {"include_dashboard": False, "num_cpus": os.cpu_count()}),
    )
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    return True
