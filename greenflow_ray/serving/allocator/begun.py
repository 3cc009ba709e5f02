"""Work in a thread that is either not done at all or done to its end, whenever its caller gives up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TypeVar

R = TypeVar("R")
A = TypeVar("A")


async def finished(pool: Executor, function: Callable[[A], R], argument: A) -> R:
    """``function(argument)`` in ``pool``. Cancelled while it waits there, it is not done; once begun, its result comes.

    So what nobody waits for any more does not hold others up, and what was done anyway can be accounted for.
    """
    work = pool.submit(function, argument)
    try:
        return await asyncio.wrap_future(work)
    except asyncio.CancelledError:
        if work.cancelled():
            raise
        return await asyncio.wrap_future(work)
