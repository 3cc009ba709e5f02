"""Work under the price store's lease: taken before, renewed meanwhile by a thread, given up after."""

from __future__ import annotations

import os
import secrets
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from greenflow_ray.errors import LeaseLost, StoreError
from greenflow_ray.pricing.store.base import PriceStore

LEASE_S = 30.0
"""A few times what a repricing takes: one that died blocks the next for no longer; one that is slower renews it."""


def new_owner() -> str:
    """A name that nobody else has, and that says where to look."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"


@contextmanager
def renewed(store: PriceStore, owner: str, seconds: float = LEASE_S) -> Iterator[None]:
    """Keep a lease that ``owner`` holds alive while the block runs, and give it up at its end.

    A lease that is lost is not taken again: the publication checks it, and refuses.
    """
    done = threading.Event()

    def renew() -> None:
        while not done.wait(seconds / 3):
            try:
                store.renew(owner, seconds)
            except LeaseLost:
                return
            except StoreError:
                continue  # the store may answer again before the lease expires

    thread = threading.Thread(target=renew, name="lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        with suppress(StoreError):  # it frees itself by expiry
            store.release(owner)
