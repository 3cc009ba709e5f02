"""Open-loop client: sends every request when it is due, whatever the server does, and counts latency from then."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import aiohttp

from greenflow_ray.datasets.schema import I64, Clicks
from greenflow_ray.energy.metering import processes
from greenflow_ray.energy.metering.meter import EnergyMeter
from greenflow_ray.errors import ResourceProblem
from greenflow_ray.loadtest.judge import Judge
from greenflow_ray.loadtest.player import ClientOptions, Player, Progress
from greenflow_ray.loadtest.result import ArmResult
from greenflow_ray.loadtest.trace import Trace

Criticality = Literal["critical", "default", "sheddable"]
"""How dear an answer is to the caller: an overloaded server sheds the least critical first."""

_HEADERS = {"content-type": "application/json"}


def play(
    base_url: str,
    trace: Trace,
    clicks: Clicks | None = None,
    user_ids: I64 | None = None,
    *,
    item_ids: I64 | None = None,
    name: str = "arm",
    k: int | None = 20,
    criticality: Criticality | None = None,
    options: ClientOptions | None = None,
    meter: EnergyMeter | None = None,
    watch_processes: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
) -> ArmResult:
    """Play ``trace`` against the server at ``base_url`` and return what it saw. Call it where no event loop runs.

    ``clicks`` are held-out clicks as rows; ``user_ids`` (``dataset.users.user_ids``) and ``item_ids``
    (``dataset.catalog.item_ids``, if the server answers in outside ids) translate them. ``k`` and ``criticality`` go
    into every request unless they are None, which leaves them to the server. ``meter`` and ``watch_processes`` add the
    node's energy and Serve's CPU-seconds over the same window.
    Raises ResourceProblem if the server does not answer ``GET /v1/chains``.
    """
    run = play_async(
        base_url, trace, Judge(clicks, user_ids, item_ids), name=name, k=k, criticality=criticality, options=options,
        on_progress=on_progress,
    )  # fmt: skip
    if meter is not None:
        meter.start()  # first, for it may look at hardware for a second or two before its window opens
    try:
        look = processes.own_or_all() if watch_processes else None
        before = look() if look else None
        result = asyncio.run(run)
        after = look() if look else None
    finally:
        energy = meter.stop() if meter is not None else None
    result = replace(result, energy=energy)
    if before is None or after is None:
        return result
    use = processes.between(before, after)
    return replace(result, cpu_seconds=use.by_deployment, processes_lost=use.lost)


async def play_async(
    base_url: str,
    trace: Trace,
    judge: Judge,
    *,
    name: str = "arm",
    k: int | None = 20,
    criticality: Criticality | None = None,
    options: ClientOptions | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> ArmResult:
    """The same inside a running event loop, without energy and CPU-seconds."""
    options = options or ClientOptions()
    connector = aiohttp.TCPConnector(limit=options.connections)
    timeout = aiohttp.ClientTimeout(total=options.timeout_s)
    # Proxies of the environment are ignored on purpose (trust_env stays off): the server is the one named.
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, headers=_HEADERS) as session:
        base_url = base_url.rstrip("/")
        chains = await _chains(session, base_url)
        asked: dict[str, Any] = {"k": k, "criticality": criticality}
        body = {field: value for field, value in asked.items() if value is not None}
        return await Player(session, base_url, trace, judge, chains, name, body, options, on_progress).run()


async def _chains(session: aiohttp.ClientSession, base_url: str) -> dict[str, int]:
    """FLOPs of every chain by name, in the server's order."""
    url = base_url + "/v1/chains"
    try:
        async with session.get(url) as response:
            content = await response.json()
            return {str(chain["name"]): int(chain["flops"]) for chain in content["chains"]}
    except (aiohttp.ClientError, OSError, ValueError) as error:
        words = f"does not answer ({type(error).__name__}); start `greenflow serve` or correct the address"
        raise ResourceProblem(f"{url} {words}") from error
    except (KeyError, TypeError) as error:
        raise ResourceProblem(f"{url} answers, but not with a list of chains; is it GreenFlow's server?") from error
