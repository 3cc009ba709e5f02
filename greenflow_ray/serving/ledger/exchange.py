"""The thread in which a replica talks to the ledger, so that no request ever waits for it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError

from greenflow_ray.chains import ChainSpace
from greenflow_ray.config import CascadeConfig
from greenflow_ray.serving.ledger import actor

log = logging.getLogger(__name__)

TIMEOUT_S = 2.0


class Exchange:
    """Every ``period_s`` seconds: sends what ``report`` says by ledger method ``method``, hears the reply.

    A ledger that does not answer is looked up, if need be created, anew; meanwhile the replica acts on what it knows.
    """

    def __init__(
        self,
        session: str,
        config: CascadeConfig,
        space: ChainSpace,
        method: str,
        report: Callable[[], Any],
        hear: Callable[[Any], None],
        *,
        period_s: float,
    ) -> None:
        self._introduction = (session, config, space)
        self._method = method
        self._report = report
        self._hear = hear
        self._period_s = period_s
        self._handle: Any = None
        self._lock = threading.Lock()
        self._silent = False
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._loop, name=f"{method}-exchange", daemon=True)

    def start(self) -> None:
        """Exchange once, so that the replica starts with orders if there is a ledger, then go on in the background."""
        self.once()
        self._thread.start()

    def close(self) -> None:
        """Say the last word and stop."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join(timeout=TIMEOUT_S)
        self.once()

    @property
    def handle(self) -> Any:
        """The ledger's actor handle."""
        if self._handle is None:
            self._handle = actor.connect(*self._introduction)
        return self._handle

    def once(self) -> bool:
        """One exchange; False if the ledger did not answer."""
        with self._lock:  # accounts are cumulative: an older one must not overtake a newer
            try:
                reply = self._call()
                if reply is None:  # another session is in force, or the ledger lost ours
                    ray.get(self.handle.begin.remote(*self._introduction), timeout=TIMEOUT_S)
                    reply = self._call()
            except (RayError, GetTimeoutError, ValueError) as error:
                if not self._silent:
                    log.warning("the ledger does not answer (%s); going on with the last orders", type(error).__name__)
                self._silent = True
                self._handle = None
                return False
        self._silent = False
        if reply is not None:
            self._hear(reply)
        return True

    def _call(self) -> Any:
        session = self._introduction[0]
        return ray.get(getattr(self.handle, self._method).remote(session, self._report()), timeout=TIMEOUT_S)

    def _loop(self) -> None:
        while not self._closing.wait(self._period_s):
            self.once()
