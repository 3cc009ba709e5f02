"""Locust user for teams that use Locust; GreenFlow does not need it: `greenflow loadtest` is its own open loop.

``pip install locust``, then, with the server running,
``locust -f greenflow_ray/loadtest/locustfile.py --host http://127.0.0.1:8000``.
Environment: ``GREENFLOW_TRACE`` (a trace saved as Parquet or CSV, whose users are asked for in turn; without it, users
0 to 999), ``GREENFLOW_K`` (items asked for, default 20), ``GREENFLOW_CRITICALITY`` (critical, default or sheddable).
Locust's users wait for each answer (a closed loop), so an overloaded server slows its own load down: believe the
latencies of `greenflow loadtest` instead.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from typing import Any

from greenflow_ray.loadtest import trace

try:
    import locust  # type: ignore[import-not-found,unused-ignore]
except ImportError:  # the module stays importable, for tools that walk the package
    locust = None


def users(path: str | None) -> Iterator[int]:
    """User ids to ask for, endlessly: those of the trace at ``path``, or 0 to 999."""
    return itertools.cycle(trace.replay(path).user_ids.tolist() if path else range(1000))


if locust is not None:
    _USERS = users(os.environ.get("GREENFLOW_TRACE"))
    _K = int(os.environ.get("GREENFLOW_K", "20"))
    _CRITICALITY = os.environ.get("GREENFLOW_CRITICALITY", "default")

    class GreenFlowUser(locust.HttpUser):  # type: ignore[misc,name-defined,unused-ignore]
        """Asks for recommendations; an answer without a receipt counts as a failure."""

        wait_time = locust.between(0.05, 0.5)

        @locust.task  # type: ignore[untyped-decorator,misc,unused-ignore]
        def recommend(self) -> None:
            """One request for the next user of the trace."""
            body = {"user_id": next(_USERS), "k": _K, "criticality": _CRITICALITY}
            with self.client.post("/v1/recommend", json=body, catch_response=True) as response:
                answer: Any = response.json() if response.ok else {}
                if response.ok and "receipt" not in answer:
                    response.failure("the answer has no receipt")
