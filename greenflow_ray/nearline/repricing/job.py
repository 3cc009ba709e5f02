"""Repricing as a Ray job: joins the cluster, asks the ledger for the live budget, repeats on a period."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator
from typing import Any

import ray

from greenflow_ray.config import CascadeConfig
from greenflow_ray.errors import GreenFlowError
from greenflow_ray.nearline.cluster import joined
from greenflow_ray.nearline.repricing.aggregate import window_frontier
from greenflow_ray.nearline.repricing.once import Repriced, reprice_once
from greenflow_ray.pricing.store.base import open_store
from greenflow_ray.support.terminal import Terminal


def reprice_job(
    config: CascadeConfig, *, every: float | None, address: str | None, terminal: Terminal
) -> Iterator[dict[str, object]]:
    """Reprice once, or every ``every`` seconds until stopped; yields what each repricing did.

    On a period a failure is reported and the next period tries again; the last published price stays meanwhile.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # how Ray stops a job; leave in order
    with joined(address):
        store = open_store(config.paths.prices)
        while True:
            began = time.monotonic()
            try:
                outcome = reprice_once(config, store, window_frontier, time.time, live_budget(config))
                terminal.say(say(outcome))
                yield outcome.as_dict()
            except GreenFlowError as error:
                if every is None:
                    raise
                terminal.error(str(error))
            if every is None:
                return
            time.sleep(max(0.0, every - (time.monotonic() - began)))


def say(outcome: Repriced) -> str:
    """What a repricing did, on one line."""
    if not outcome.files and outcome.reason:
        return f"not published: {outcome.reason}; version {outcome.version} stays"
    refused = f", {outcome.bad_files} set aside" if outcome.bad_files else ""
    return (
        f"version {outcome.version}"
        + (f", price {outcome.price:.4g} per FLOP" if outcome.price is not None else "")
        + f", {outcome.requests:.0f} requests from {outcome.files} files{refused}, {outcome.seconds:.1f} s"
        + (f" (not published: {outcome.reason})" if outcome.reason else "")
    )


def live_budget(config: CascadeConfig) -> float | None:
    """The budget now in force, FLOP/s, whatever its unit: the ledger's, or the configuration's if none answers."""
    if not ray.is_initialized():
        return config.budget.flops_per_second
    try:
        ledger = ray.get_actor("greenflow-ledger", namespace="greenflow")
        answer: dict[str, Any] = ray.get(ledger.budget.remote(), timeout=5)
    except (ValueError, ray.exceptions.RayError):
        return config.budget.flops_per_second
    value = answer["in_force"]["binding"]["flops_per_second"]
    return None if value is None else float(value)
