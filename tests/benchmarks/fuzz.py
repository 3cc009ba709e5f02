"""Generated requests against the real application over loopback HTTP: `python -m tests.benchmarks.fuzz --out FILE`.

Schemathesis generates cases for every documented operation, good and bad data alike. That takes it milliseconds a case,
so beyond `--generated` cases the rest are those again, renumbered or damaged; the JSON says how many were distinct. It
asserts nothing: it counts statuses by operation, and shows the first answers that nobody has documented.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import math
import random
import re
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aiohttp
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis.generation import GenerationMode
from yarl import URL

from greenflow_ray.config import CascadeConfig
from greenflow_ray.serving.local.launch import free_port, start
from tests.benchmarks import figures
from tests.serving.fakes import cascade

CONNECTIONS = 32
SHOWN = 20
SHARES = {"POST /v1/recommend": 0.55, "POST /v1/feedback": 0.2, "PUT /v1/budget": 0.15, "GET /v1/stats": 0.1}
"""Of the cases; the other operations have no input, and are called a few times each."""


@dataclass(frozen=True)
class Sent:
    """One request as it goes over the wire."""

    operation: str
    method: str
    url: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    @property
    def key(self) -> bytes:
        return hashlib.blake2b(repr((self.method, self.url, self.headers, self.body)).encode()).digest()


def noop_pool(*names: str) -> list[dict[str, str]]:
    return [{"name": name, "factory": "tests.serving.fakes:noop"} for name in names]


def noops(run: Path) -> CascadeConfig:
    stages = [
        {"name": "recall", "pool": noop_pool("one"), "scales": "corpus"},
        {"name": "pre-ranking", "pool": noop_pool("two"), "scales": [10, 20, 40]},
        {"name": "ranking", "pool": noop_pool("three", "four"), "scales": [5, 10, 20]},
    ]
    return cascade(run, free_port(), stages=stages)


def generate(document: dict[str, Any], url: str, count: int, number: int) -> list[Sent]:
    """About ``count`` cases, half with good and half with bad data where an operation takes any."""
    out: list[Sent] = []
    for found in schemathesis.openapi.from_dict(document).get_all_operations():
        operation = found.ok()
        each = round(count * SHARES.get(operation.label, 0.0) / 2)
        for mode in GenerationMode if each else ():
            for row, case in enumerate(drawn(operation.as_strategy(generation_mode=mode), each, number)):
                if mode is GenerationMode.POSITIVE and row % 2:
                    case.body = canonical(case.body)
                out.append(prepared(case, operation.label, url))
        if not each:
            out += [Sent(operation.label, operation.method.upper(), url + operation.path, (), b"")] * 10
    return out


def drawn(strategy: Any, count: int, number: int) -> list[schemathesis.Case]:
    """``count`` draws, fewer if there are not as many."""
    out: list[schemathesis.Case] = []

    @seed(number)
    @settings(
        max_examples=count,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def collect(case: schemathesis.Case) -> None:
        out.append(case)

    collect()
    return out


def prepared(case: schemathesis.Case, label: str, url: str) -> Sent:
    ready = requests.Request(**case.as_transport_kwargs(base_url=url)).prepare()
    body = ready.body if isinstance(ready.body, bytes) else (ready.body or "").encode()
    skipped = ("content-length", "user-agent", "x-schemathesis-testcaseid")
    headers = tuple((name, value) for name, value in ready.headers.items() if name.lower() not in skipped)
    return Sent(label, str(ready.method), str(ready.url), headers, body)


def canonical(value: Any) -> Any:
    """The same body as a typed client sends it: an integer is 1, not 1.0, and fits into 64 bits; a chain exists."""
    if isinstance(value, dict):
        known = {"fixed_chain": "cheapest", "mix": {"cheapest": 1.0, "fullest": 2.0}, "cores": None}
        chain = {name: fit for name, fit in known.items() if name in value}
        return {key: canonical(part) for key, part in value.items()} | chain
    if isinstance(value, list):
        return [canonical(part) for part in value]
    if isinstance(value, bool) or not isinstance(value, int | float) or value != math.trunc(value):
        return value
    return min(max(int(value), -(2**63)), 2**63 - 1)


def changed(cases: list[Sent], rng: random.Random) -> Iterator[Sent]:
    """The same cases endlessly, in turn with other numbers in them and damaged."""
    cases = [case for case in cases if case.body] or cases
    while True:
        case = rng.choice(cases)
        yield replace(case, body=renumbered(case.body, rng))
        yield replace(case, body=damaged(rng.choice(cases).body, rng))


def renumbered(body: bytes, rng: random.Random) -> bytes:
    """Every number after a colon, comma or bracket replaced by another, which may be in bounds or not."""

    def other(found: re.Match[bytes]) -> bytes:
        drawn = rng.choice((rng.randint(1, 5), rng.randint(1, 5), rng.randrange(60), rng.randint(-(2**63), 2**63 - 1)))
        return found[1] + str(drawn).encode()

    return re.sub(rb"((?:[:,] |\[))-?\d[\d.e+-]*", other, body)


def damaged(body: bytes, rng: random.Random) -> bytes:
    """A few bytes changed, cut out, doubled or put in."""
    out = bytearray(body)
    for _ in range(rng.randint(1, 4)):
        at, end = sorted((rng.randrange(len(out) + 1), rng.randrange(len(out) + 1)))
        match rng.randrange(4):
            case 0:
                out[at : at + 1] = bytes([rng.randrange(256)])
            case 1:
                del out[at : min(end, at + 8)]
            case 2:
                out[at:at] = out[at : min(end, at + 64)]
            case 3:
                out[at : at + 1] = rng.choice([b"9", b"-", b"e", b"[", b"}", b'"', b"\\", b"null", b"0.0", b","])
    return bytes(out)


async def send(cases: list[Sent], statuses: dict[str, Counter[str]], documented: dict[str, set[str]]) -> list[Any]:
    """Send all over a few connections; returns the first answers that are not documented."""
    odd: list[Any] = []
    queue = iter(cases)
    timeout, connector = aiohttp.ClientTimeout(total=30), aiohttp.TCPConnector(limit=CONNECTIONS)

    async def work(session: aiohttp.ClientSession) -> None:
        for case in queue:
            try:
                call = session.request(
                    case.method, URL(case.url, encoded=True), data=case.body or None, headers=case.headers
                )
                async with call as answer:
                    status, text = str(answer.status), await answer.text(errors="replace")
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
                status, text = type(error).__name__, str(error)
            statuses.setdefault(case.operation, Counter())[status] += 1
            if status not in documented[case.operation] and len(odd) < SHOWN:
                request = {"url": case.url, "headers": case.headers, "body": case.body[:500].decode(errors="replace")}
                odd.append({"operation": case.operation, "status": status, "answer": text[:500], "request": request})

    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        await asyncio.gather(*(work(session) for _ in range(CONNECTIONS)))
    return odd


def run(total: int, generated: int, number: int) -> dict[str, Any]:
    rng = random.Random(number)
    with tempfile.TemporaryDirectory() as folder, start(noops(Path(folder))) as server:
        document = requests.get(f"{server.url}/openapi.json", timeout=10).json()
        documented = {
            f"{method.upper()} {path}": set(operation["responses"])
            for path, methods in document["paths"].items()
            for method, operation in methods.items()
        }
        began = time.perf_counter()
        cases = generate(document, server.url, min(generated, total), number)
        took = time.perf_counter() - began
        print(f"{len(cases):,} cases generated in {took:.0f} s", flush=True)
        more = changed(cases, rng)
        everything = cases + [next(more) for _ in range(total - len(cases))]
        rng.shuffle(everything)
        statuses: dict[str, Counter[str]] = {}
        odd: list[Any] = []
        began = time.perf_counter()
        for at in range(0, len(everything), 10_000):
            odd += asyncio.run(send(everything[at : at + 10_000], statuses, documented))
            so_far = sum(counts.total() for counts in statuses.values())
            print(f"{so_far:,} sent in {time.perf_counter() - began:.0f} s", flush=True)
        sending = time.perf_counter() - began
        alive = requests.post(f"{server.url}/v1/recommend", json={"user_id": 3}, timeout=10).status_code
    by_class: Counter[str] = Counter()
    for counts in statuses.values():
        for status, n in counts.items():
            by_class[f"{status[0]}xx" if status.isdecimal() else "no answer"] += n
    return {
        "schemathesis": schemathesis.__version__,
        "seed": number,
        "requests": len(everything),
        "generated": len(cases),
        "changed": len(everything) - len(cases),
        "distinct": len({case.key for case in everything}),
        "distinct_generated": len({case.key for case in cases}),
        "seconds": {"generating": took, "sending": sending},
        "by_class": dict(sorted(by_class.items())),
        "statuses": {operation: dict(sorted(counts.items())) for operation, counts in sorted(statuses.items())},
        "status_of_a_good_request_afterwards": alive,
        "undocumented": odd[:SHOWN],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/bench/fuzz.json"))
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument(
        "--generated", type=int, default=20_000, help="cases that schemathesis makes; the rest: changed"
    )
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    result = run(options.requests, options.generated, options.seed)
    figures.save(options.out, result)
    print(json.dumps({key: result[key] for key in ("requests", "distinct", "by_class", "statuses")}, indent=1))


if __name__ == "__main__":
    main()
