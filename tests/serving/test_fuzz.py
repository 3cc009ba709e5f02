"""Thousands of generated requests against the HTTP face over a real service: documented answers, never a failure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import schemathesis
from fastapi import FastAPI
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.generation import GenerationMode
from schemathesis.python.asgi import get_client

from greenflow_ray.config import SamplingConfig, ServingConfig
from greenflow_ray.serving.gateway.cascade_path import CascadePath, PathSettings
from greenflow_ray.serving.gateway.receipts import Receipts
from greenflow_ray.serving.gateway.recommender import Recommender
from greenflow_ray.serving.http.routes import build_web
from greenflow_ray.serving.ledger.book import LedgerBook
from greenflow_ray.serving.ledger.order import BudgetOrder
from greenflow_ray.serving.logs.clicks import FeedbackLog
from greenflow_ray.serving.wire import Allocation, AllocationBatch
from tests.benchmarks.fuzz import canonical
from tests.examples import many
from tests.serving.fakes import cascade
from tests.serving.gateway.test_cascade_path import CATALOG, OF, POPULAR, scorers, stage

EXPOSURE = 5


async def allocate(batch: AllocationBatch) -> Allocation:
    """Every chain in turn, at one price."""
    size = len(batch.user_ids)
    rewards = np.ones((size, len(OF)), np.float32) if batch.explain else None
    chains = np.arange(size, dtype=np.int32) % len(OF)
    return Allocation(chains, np.full(size, 0.5), 2, np.zeros(size, np.int16), rewards, 0.001)


class Service:
    """A gateway's service whose ledger is always up: the real book, without its actor."""

    def __init__(self, folder: Path, recommender: Recommender) -> None:
        self.book = LedgerBook(cascade(folder), OF, "s1")
        self.recommend, self.feedback, self.chains = recommender.recommend, recommender.feedback, recommender.chains

    async def budget(self) -> dict[str, Any]:
        return self.book.budget()

    async def set_budget(self, order: BudgetOrder) -> dict[str, Any]:
        self.book.set_budget(order)
        self.book.tick()
        return self.book.budget()

    async def stats(self, since: float) -> dict[str, Any]:
        return self.book.stats(since)

    async def ready(self) -> tuple[bool, dict[str, bool]]:
        return True, {"ledger": True}


def application(folder: Path) -> FastAPI:
    stages: Any = {name: stage(scorer) for name, scorer in scorers(OF).items()}
    path = CascadePath(OF, PathSettings(30.0, 5.0, OF.cheapest), POPULAR, CATALOG.popularity, allocate, stages)
    feedback = FeedbackLog(folder, SamplingConfig(), start=False)
    recommender = Recommender(OF, CATALOG, path, Receipts("g1", OF), feedback, ServingConfig())
    return build_web(Service(folder, recommender), exposure=EXPOSURE, body_limit=1 << 20)


API = schemathesis.openapi.from_asgi("/openapi.json", application(Path("unused")))
GENERATED: Any = settings(
    max_examples=many(150), deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)


def look(answer: Any, good: int = 200) -> int:
    """The status, which must be one of those documented; a refusal must be worded as all are."""
    assert answer.status_code in (good, 413, 422, 429), answer.text
    if answer.status_code != good:
        assert set(answer.json()) == {"error"}
        assert {"code", "message"} <= set(answer.json()["error"]) <= {"code", "message", "field"}
        assert answer.json()["error"]["code"] in ("too_large", "invalid_request", "overloaded")
    for told in ("Traceback", "Error(", ".py"):
        assert told not in answer.text
    return int(answer.status_code)


@API.parametrize()
@GENERATED
def test_every_call_answers_as_documented(case: schemathesis.Case) -> None:
    """Schemathesis's own checks: no 5xx, documented statuses, answers to the schema, bad data refused, good taken."""
    assert case.meta is not None
    if case.meta.generation.mode is GenerationMode.POSITIVE:
        case.body = canonical(case.body)
    with get_client(case.operation.app) as client:
        response = case.call(session=client)
    case.validate_response(response)
    if response.status_code >= 400:
        assert set(response.json()) == {"error"}
        assert response.json()["error"]["code"] != "internal"


@pytest.fixture(scope="module")
def http() -> Iterator[TestClient]:
    with TestClient(application(Path("unused"))) as client:
        yield client


CALLS = st.sampled_from([("POST", "/v1/recommend", 200), ("POST", "/v1/feedback", 202), ("PUT", "/v1/budget", 200)])
NUMBERS = st.one_of(
    st.integers(), st.floats(), st.sampled_from([2**63, -(2**63) - 1, 10**400, 1e308, -0.0, 5e-324, True, 1.0])
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, st.text()),
    lambda inner: st.one_of(st.lists(inner, max_size=5), st.dictionaries(st.text(max_size=8), inner, max_size=5)),
    max_leaves=20,
)
FIELDS = ("user_id", "k", "request_id", "criticality", "clicks", "flops_per_second", "policy", "fixed_chain", "\0")
ALMOST = st.dictionaries(st.sampled_from(FIELDS), st.one_of(VALUES, NUMBERS, st.just("a")), max_size=5)
RAW = st.one_of(
    st.binary(max_size=300),
    st.one_of(VALUES, ALMOST, st.lists(ALMOST, max_size=4)).map(lambda value: json.dumps(value).encode()),
    st.tuples(ALMOST, st.binary(max_size=3)).map(lambda pair: json.dumps(pair[0]).encode() + pair[1]),
    st.builds(lambda n, mark: mark * n, st.integers(1, 100_000), st.sampled_from([b"[", b'{"a":', b"[{}", b"-", b"9"])),
    st.builds(lambda n: b"[" * n + b"]" * n, st.integers(1, 100_000)),
    st.sampled_from(
        [
            b'{"user_id": 1, "user_id": 2}', b'{"user_id": 1, "request_id": "\\ud800"}', b'{"\\ud800": 1}',
            b'\xef\xbb\xbf{"user_id": 1}', b'{"user_id": 1}\x00', b'{"user_id": 01}', b'{"user_id": 1e0}',
            b'{"user_id": ' + b"9" * 5000 + b"}", b'{"user_id": 1, "request_id": "a\\n"}', b'{"user_id": 1,}',
            b'{"flops_per_second": 1e400}', b'{"flops_per_second": 1e-400}', b'{"flops_per_second": -0.0}',
            b'{"request_id": "a", "clicks": [-9223372036854775809]}', b'\xff\xfe{\x00}\x00', b"null", b'"', b"",
        ]
    ),
)  # fmt: skip


@settings(GENERATED, max_examples=many(1500))
@given(call=CALLS, body=RAW)
def test_no_body_breaks_it(http: TestClient, call: tuple[str, str, int], body: bytes) -> None:
    method, path, good = call
    look(http.request(method, path, content=body), good)


@settings(GENERATED, max_examples=many(300))
@given(
    call=CALLS,
    names=st.dictionaries(
        st.sampled_from(["content-type", "content-length", "content-encoding", "accept", "expect", "x-request-id"]),
        st.one_of(st.binary(max_size=40), st.sampled_from([b"-1", b"1e9", b"+5", b"9" * 30, b"\xb2", b"text/xml"])),
        max_size=4,
    ),
    explain=st.one_of(st.none(), st.text(max_size=20)),
)
def test_no_header_and_no_query_breaks_it(
    http: TestClient, call: tuple[str, str, int], names: dict[str, bytes], explain: str | None
) -> None:
    method, path, good = call
    query = {} if explain is None else {"explain": explain}
    headers = {name.encode(): value for name, value in names.items()}
    body = {"/v1/recommend": {"user_id": 1}, "/v1/feedback": {"request_id": "a", "clicks": []}}.get(
        path, {"flops_per_second": None}
    )
    look(http.request(method, path, content=json.dumps(body), headers=headers, params=query), good)


@settings(GENERATED, max_examples=many(300))
@given(since=st.one_of(st.floats().map(str), st.text(max_size=20), st.integers().map(str)))
def test_no_instant_breaks_the_account(http: TestClient, since: str) -> None:
    look(http.get("/v1/stats", params={"since": since}))


@settings(GENERATED, max_examples=many(200))
@given(user=st.integers(-(2**63), 2**63 - 1), k=st.integers(-2, EXPOSURE + 2))
def test_k_has_bounds_and_users_have_none(http: TestClient, user: int, k: int) -> None:
    answer = http.post("/v1/recommend", json={"user_id": user, "k": k})
    assert look(answer) == (200 if 1 <= k <= EXPOSURE else 422)
    if answer.status_code == 200:
        assert (answer.json()["user_id"], len(answer.json()["items"])) == (user, k)


@pytest.mark.parametrize(("length", "status"), [(0, 422), (1, 200), (1000, 200), (1001, 422)])
def test_lists_have_bounds(http: TestClient, length: int, status: int) -> None:
    answer = http.post("/v1/recommend", json=[{"user_id": user} for user in range(length)])
    assert look(answer) == status
    if status == 200:
        assert [a["user_id"] for a in answer.json()] == list(range(length))
        assert not any(a["receipt"]["degraded"] for a in answer.json())
    feedback = [{"request_id": "a", "clicks": []}] * length
    assert look(http.post("/v1/feedback", json=feedback), 202) == (202 if status == 200 else 422)


@pytest.mark.parametrize("chunk", [None, 1, 65_536, (1 << 20) - 1])
@pytest.mark.parametrize(("size", "status"), [((1 << 20) - 1, 200), (1 << 20, 200), ((1 << 20) + 1, 413)])
def test_bodies_have_a_bound(http: TestClient, size: int, status: int, chunk: int | None) -> None:
    """The same in one piece and in chunks, whose number is not declared; the first chunks are small ones."""
    body = b'{"user_id": 3}'.ljust(size)
    pieces: Any = body
    if chunk is not None:
        starts = range(0, min(size, 50 * chunk), chunk)
        rest = min(size, 50 * chunk)
        pieces = iter([*(body[start : min(start + chunk, rest)] for start in starts), body[rest:]])
    assert look(http.post("/v1/recommend", content=pieces)) == status
