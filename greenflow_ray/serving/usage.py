"""What this process has used: CPU-seconds and the node they were spent on, as every replica reports them."""

from __future__ import annotations

import time
from functools import cache

import ray

from greenflow_ray.serving.wire import Usage


def usage(deployment: str, replica: str) -> Usage:
    """CPU-seconds of the calling process."""
    return Usage(deployment, replica, time.process_time(), this_node())


@cache
def this_node() -> str:
    """Id of the node that this process runs on."""
    return str(ray.get_runtime_context().get_node_id())
