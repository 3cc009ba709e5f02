"""Starts the application on this machine and stops everything it started, whatever happens in between."""

from __future__ import annotations

import logging
import os
import secrets
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import ray
from ray import serve

from greenflow_ray.config import CascadeConfig
from greenflow_ray.errors import PortInUse, ResourceProblem
from greenflow_ray.serving import app as application
from greenflow_ray.serving.ledger import actor
from greenflow_ray.serving.local import haproxy

log = logging.getLogger(__name__)

MEMORY = 2 << 30
"""Bytes that Ray and the replicas of a laptop need at least."""

OBJECT_STORE = 256 << 20
"""Bytes of Ray's shared memory; batches are small, and repricing reads samples block by block."""

PORTS = range(20_000, 32_768)
"""Above those that Ray gives its workers, below those that the kernel gives to whoever asks for any."""

# Usage statistics are sent over the network: off. Serve's request log would cost more than a small model. Gateway and
# stages keep their event loops free themselves, so Serve need not give user code and router threads of their own.
ENVIRONMENT = {
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
    "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "0",
    "RAY_SERVE_FREEZE_GC_ON_STARTUP": "1",
    # A proxy that is not ready after 5 s is killed by default, and the start fails with it: too soon on a busy machine.
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",
    # Serve's controller looks after its replicas ten times a second by default, which costs 4 % of a core.
    "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.3",
    # A replica hands its counts on ten times a second by default, a third of what it costs when idle; at longer
    # intervals than this, handing on a busy second's counts would hold up its event loop.
    "RAY_SERVE_METRICS_EXPORT_INTERVAL_MS": "500",
    # Prometheus sees new figures this often; every 10 s would be 3 % of what an idle cluster costs.
    "RAY_metrics_report_interval_ms": "30000",
    # The dashboard's figures of nodes and processes; every 5 s would be 2 % of it.
    "REPORTER_UPDATE_INTERVAL_MS": "15000",
    # Every Ray worker wakes 100 times a second; keeping statistics of that is a fifth of what an idle one costs.
    "RAY_event_stats": "0",
    # New log files are looked for once a second, not ten times: from this many files on it is so.
    "RAY_LOG_MONITOR_MANY_FILES_THRESHOLD": "0",
    "LOG_NAME_UPDATE_INTERVAL_S": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_SERVE_LOG_TO_STDERR": "0",
    "RAY_SERVE_REQUEST_PATH_LOG_BUFFER_SIZE": "1000",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    # Repricing comes every few seconds: workers kept idle cost memory, workers started anew cost both cores.
    "RAY_idle_worker_killing_time_threshold_ms": "600000",
    # Above 0 it also lets Ray start a spare worker beside the one that a lone task asks for, prestart or not.
    "RAY_num_workers_soft_limit": "0",
    # Workers are started when they are needed: an idle one takes half a per cent of a core.
    "RAY_enable_worker_prestart": "0",
    "RAY_prestart_worker_first_driver": "0",
    # More workers at once than cores, by design: without this Ray warns of it in the terminal.
    "RAY_worker_maximum_startup_concurrency": "16",
    # Replicas run at normal priority, so that jobs beside them can be nicer.
    "RAY_worker_niceness": "0",
}


@dataclass(frozen=True)
class Server:
    """A running application: where it answers, where Ray's jobs are submitted, and the cluster's address."""

    url: str
    dashboard_url: str
    address: str


@contextmanager
def start(config: CascadeConfig, *, cpus: int | None = None, ready_s: float = 120.0) -> Iterator[Server]:
    """Serve a trained run over HTTP until the block ends, in a Ray instance of its own.

    ``cpus`` are those that Ray may use (default: all); ``ready_s`` bounds the wait until every part answers.
    Raises PortInUse, ResourceProblem (no memory, Ray already initialised, not ready in time), and what
    ``serving.app.check`` raises for data, models and configuration.
    """
    debug = bool(os.environ.get("GREENFLOW_DEBUG"))
    serving = config.serving
    ensure_port_free(serving.host, serving.port)
    ensure_memory()
    if ray.is_initialized():
        raise ResourceProblem("this process is already connected to a Ray cluster; call ray.shutdown() first")
    target = application.build({"config": config.model_dump(mode="json")})
    with _proxy(serving.proxy) as proxy, _environment(ENVIRONMENT | proxy), _quiet(debug):
        before = set(psutil.Process().children())
        roots: set[psutil.Process] | None = None
        try:
            server = _start(config, target, cpus, debug)
            _wait_ready(server.url, ready_s)
            roots = set(psutil.Process().children()) - before
            with _orderly_sigterm():
                yield server
        finally:
            # What the caller starts inside the block is the caller's; until then every new child is Ray's.
            _stop(roots if roots is not None else set(psutil.Process().children()) - before)
            _wait_port(serving.host, serving.port)


def _start(config: CascadeConfig, target: Any, cpus: int | None, debug: bool) -> Server:
    """A Ray instance and the application on it, HTTP and dashboard on loopback or where the configuration says."""
    try:
        context = ray.init(
            address="local",  # never somebody else's cluster
            num_cpus=cpus,
            object_store_memory=OBJECT_STORE,
            include_dashboard=True,
            dashboard_host="127.0.0.1",
            dashboard_port=free_port(),
            _node_ip_address=loopback_address(),
            log_to_driver=debug,
            logging_level=logging.INFO if debug else logging.ERROR,
            namespace=actor.NAMESPACE,
        )
    except Exception as error:
        if debug:
            raise
        text = " ".join(str(error).split())[:200]
        raise ResourceProblem(f"Ray did not start ({type(error).__name__}: {text}); see `greenflow --debug`") from error
    serving = config.serving
    http = {"host": serving.host, "port": serving.port, "request_timeout_s": 2 * serving.deadline_s + 6.0}
    try:
        serve.start(http_options=http, logging_config={"enable_access_log": False, "log_level": "WARNING"})
        serve.run(target, name=application.APP, route_prefix="/")
    except RuntimeError as error:
        if debug:
            raise
        raise ResourceProblem(
            f"the application did not start ({' '.join(str(error).split())[:200]}); see `greenflow --debug`"
        ) from error
    return Server(
        f"http://{serving.host}:{serving.port}", f"http://{context.dashboard_url}", context.address_info["address"]
    )


def _stop(roots: set[psutil.Process]) -> None:
    """Stop application, ledger and Ray, then wait until ``roots`` (children of ours) and theirs are gone."""
    started = set(roots)
    for root in roots:
        try:
            started.update(root.children(recursive=True))
        except psutil.NoSuchProcess:
            continue
    if ray.is_initialized():
        for step in (_stop_serve, _stop_ledger, ray.shutdown):
            try:
                step()
            except Exception as error:
                log.warning("while stopping: %s", error)
    _, alive = psutil.wait_procs(started, timeout=10)
    for process in alive:  # what has not ended by itself hangs
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(alive, timeout=5)


def _wait_port(host: str, port: int) -> None:
    deadline = time.monotonic() + 5
    while not port_free(host, port) and time.monotonic() < deadline:
        time.sleep(0.05)


def _stop_serve() -> None:
    # Not serve.shutdown(): it makes Ray print to standard output that its own controller died. The controller and the
    # proxies end with the Ray instance.
    serve.delete(application.APP)


def _stop_ledger() -> None:
    try:
        ray.kill(ray.get_actor(actor.NAME, namespace=actor.NAMESPACE), no_restart=True)
    except ValueError:
        return


def _wait_ready(url: str, seconds: float) -> None:
    """Wait until ``/readyz`` says yes. Raises ResourceProblem, naming the parts that do not answer."""
    deadline = time.monotonic() + seconds
    said = "nothing yet"
    with httpx.Client(trust_env=False, timeout=5.0) as http:
        while time.monotonic() < deadline:
            try:
                answer = http.get(f"{url}/readyz")
                if answer.status_code == 200:
                    return
                said = answer.text[:200]
            except httpx.HTTPError as error:
                said = type(error).__name__
            time.sleep(0.1)
    raise ResourceProblem(f"{url} was not ready after {seconds:.0f} s ({said}); see `greenflow --debug`")


def ensure_port_free(host: str, port: int) -> None:
    """Raise PortInUse if something listens on the port already."""
    if not port_free(host, port):
        raise PortInUse(port)


def port_free(host: str, port: int) -> bool:
    """Whether a server could listen there now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on; one of ``PORTS``, so that nobody is given it before it is used."""
    while not port_free("127.0.0.1", port := secrets.choice(PORTS)):
        pass
    return port


def ensure_memory(needed: int = MEMORY) -> None:
    """Raise ResourceProblem if less than ``needed`` bytes of memory are to be had."""
    available = int(psutil.virtual_memory().available)
    if available < needed:
        raise ResourceProblem(
            f"{available / 2**30:.1f} GiB of memory are free, Ray and the replicas need {needed / 2**30:.1f} GiB; "
            "close other programs"
        )


@contextmanager
def _proxy(kind: str) -> Iterator[dict[str, str]]:
    """Environment variables of the HTTP proxy that Ray is to start, whose files are removed afterwards."""
    if kind != "haproxy":
        yield {}
        return
    with tempfile.TemporaryDirectory(prefix="greenflow-", ignore_cleanup_errors=True) as folder:
        try:
            yield haproxy.environment(Path(folder), free_port)
        finally:
            haproxy.end(Path(folder))


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Environment variables that Ray's processes inherit; the caller's own values win and are put back."""
    before = {name: os.environ.get(name) for name in values}
    # Replicas import what the caller can import (its own scorers, say), wherever Ray starts them.
    before["PYTHONPATH"] = os.environ.get("PYTHONPATH")
    paths = [path for path in sys.path if path and not path.startswith((sys.prefix, sys.base_prefix))] + [os.getcwd()]
    for name, value in values.items():
        os.environ.setdefault(name, value)
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(paths))
    try:
        yield
    finally:
        for name, old in before.items():
            if old is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = old


def loopback_address() -> str:
    """A random address of 127/8: Ray's node stays on loopback, and its fixed agent port meets no other cluster's."""
    return "127." + ".".join(str(secrets.randbelow(254) + 1) for _ in range(3))


@contextmanager
def _orderly_sigterm() -> Iterator[None]:
    """Inside, SIGTERM ends the block like Ctrl-C does; Ray's own handler would abort this process first."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(signum: int, _: Any) -> None:
        raise SystemExit(128 + signum)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before if before is not None else signal.SIG_DFL)


@contextmanager
def _quiet(debug: bool) -> Iterator[None]:
    """Keep Ray's and Serve's progress out of the terminal unless debugging."""
    loggers = [logging.getLogger(name) for name in ("ray", "ray.serve", "ray.data", "httpx")]
    levels = [logger.level for logger in loggers]
    if not debug:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
