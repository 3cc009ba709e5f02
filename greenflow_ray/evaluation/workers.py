"""Processes that share the machine's cores: a list of tasks, run in any order, with one bar."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from typing import Any

from greenflow_ray.support.progress import Progress
from greenflow_ray.support.terminal import Terminal

Task = tuple[Callable[..., Any], tuple[Any, ...]]
"""A function that can be pickled, and its arguments; what it makes, it leaves on disk."""


class Workers:
    """Processes that share the cores, each with one thread: on two cores two tasks beat one task with two threads."""

    def __init__(self, count: int | None) -> None:
        self._count = count or len(os.sched_getaffinity(0))
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Workers:
        if self._count > 1:
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(self._count, mp_context=context, initializer=_one_thread)
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def run(self, terminal: Terminal, tasks: list[Task], label: str) -> None:
        """Run all tasks, in any order, with a bar."""
        with terminal.progress() as progress:
            if self._pool is None:
                for done, (function, arguments) in enumerate(tasks):
                    function(*arguments)
                    _show(progress, label, done + 1, len(tasks))
                return
            futures: list[Future[Any]] = [self._pool.submit(_quietly, function, *a) for function, a in tasks]
            try:
                for done, future in enumerate(as_completed(futures)):
                    future.result()
                    _show(progress, label, done + 1, len(tasks))
            except BaseException:
                for future in futures:
                    future.cancel()
                raise


def _show(progress: Progress, label: str, done: int, of: int) -> None:
    progress(f"{label}: {done} of {of}", done / of)


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def _quietly(function: Callable[..., Any], *arguments: Any) -> None:
    """Run a task for what it leaves on disk; its result is not sent back."""
    function(*arguments)
