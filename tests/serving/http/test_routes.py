from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from fastapi.testclient import TestClient

from greenflow_ray.errors import ConfigError, Overloaded, Unavailable
from greenflow_ray.serving.http.messages import MAX_LIST, Feedback, Recommend
from greenflow_ray.serving.http.routes import build_web
from greenflow_ray.serving.ledger.order import BudgetOrder

SECRET = "no caller may read this"


class FakeService:
    """Answers plainly, and fails when a user id asks it to."""

    async def recommend(self, requests: Sequence[Recommend], *, explain: bool) -> list[dict[str, Any]]:
        if requests[0].user_id == -1:
            raise RuntimeError(SECRET)
        if requests[0].user_id == -2:
            raise Overloaded
        return [{"user_id": r.user_id, "k": r.k, "request_id": r.request_id, "explain": explain} for r in requests]

    async def feedback(self, messages: Sequence[Feedback]) -> int:
        return len(messages)

    async def budget(self) -> dict[str, Any]:
        raise Unavailable

    async def set_budget(self, order: BudgetOrder) -> dict[str, Any]:
        if order.fixed_chain == "nonsense":
            raise ConfigError("no chain is called 'nonsense'")
        return order.model_dump()

    def chains(self) -> dict[str, Any]:
        return {"chains": []}

    async def ready(self) -> tuple[bool, dict[str, bool]]:
        return False, {"allocator": False}

    async def stats(self, since: float) -> dict[str, Any]:
        return {"since": since}


@pytest.fixture(scope="module")
def http() -> TestClient:
    return TestClient(build_web(FakeService(), exposure=20, body_limit=4096), raise_server_exceptions=False)


def test_one_request_and_a_list(http: TestClient) -> None:
    one = http.post("/v1/recommend", json={"user_id": 42, "k": 3, "request_id": "a-1"})
    assert one.json() == {"user_id": 42, "k": 3, "request_id": "a-1", "explain": False}
    many = http.post("/v1/recommend?explain=true", json=[{"user_id": 1}, {"user_id": 2, "k": 1}])
    assert [(a["user_id"], a["k"], a["explain"]) for a in many.json()] == [(1, 20, True), (2, 1, True)]


def test_a_body_as_curl_sends_it(http: TestClient) -> None:
    headers = {"content-type": "application/x-www-form-urlencoded"}
    assert http.post("/v1/recommend", content='{"user_id": 42, "k": 20}', headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("recommend", '{"user_id": 1, "k": 21}', "k"),
        ("recommend", '{"user_id": 1, "k": 0}', "k"),
        ("recommend", '{"user_id": 1, "k": NaN}', "k"),
        ("recommend", '{"user_id": 1, "k": 2.5}', "k"),
        ("recommend", '{"user_id": 1, "k": true}', "k"),
        ("recommend", '{"user_id": "1"}', "user_id"),
        ("recommend", '{"user_id": null}', "user_id"),
        ("recommend", '{"user_id": 9223372036854775808}', "user_id"),
        ("recommend", '{"k": 3}', "user_id"),
        ("recommend", '{"user_id": 1, "colour": 3}', "colour"),
        ("recommend", '{"user_id": 1, "request_id": "white space"}', "request_id"),
        ("recommend", '{"user_id": 1, "request_id": "' + "x" * 65 + '"}', "request_id"),
        ("recommend", '[{"user_id": 1}, {"user_id": 2, "k": 99}]', "1.k"),
        ("recommend", "[]", "body"),
        ("recommend", "", "body"),
        ("recommend", "{", "body"),
        ("recommend", "3", "body"),
        ("recommend", "\xff\xfe", "body"),
        ("feedback", '{"request_id": "a"}', "clicks"),
        ("feedback", '{"request_id": "a", "clicks": [1, "2"]}', "clicks.1"),
        ("feedback", '{"request_id": "a", "clicks": [], "k": 1}', "k"),
        ("budget", '{"policy": "greenflow"}', "body"),
        ("budget", '{"watts": 0}', "watts"),
        ("budget", '{"schedule": [{"from_hour": "8"}]}', "schedule.0.from_hour"),
        ("budget", '{"schedule": [{"from_hour": 24}]}', "schedule.0.from_hour"),
        ("budget", '{"schedule": [{"from_hour": 8, "watt": 1}]}', "schedule.0.watt"),
        ("budget", '{"flops_per_second": NaN}', "flops_per_second"),
        ("budget", '{"flops_per_second": -1}', "flops_per_second"),
        ("budget", '{"flops_per_second": Infinity}', "flops_per_second"),
        ("budget", '{"flops_per_second": null, "policy": "free"}', "policy"),
        ("budget", '{"flops_per_second": null, "fixed_chain": "nonsense"}', "fixed_chain"),
    ],
)
def test_bad_input_is_refused_by_the_name_of_its_field(http: TestClient, path: str, body: str, field: str) -> None:
    answer = http.request("PUT" if path == "budget" else "POST", f"/v1/{path}", content=body.encode("latin-1"))
    assert answer.status_code == 422, answer.text
    error = answer.json()["error"]
    assert (error["code"], error["field"]) == ("invalid_request", field)


def test_a_list_has_a_longest(http: TestClient) -> None:
    app = build_web(FakeService(), exposure=20, body_limit=1 << 20)
    body = [{"user_id": 1}] * (MAX_LIST + 1)
    answer = TestClient(app).post("/v1/recommend", json=body)
    assert answer.status_code == 422


def test_query_parameters_are_checked_too(http: TestClient) -> None:
    answer = http.post("/v1/recommend?explain=perhaps", json={"user_id": 1})
    assert (answer.status_code, answer.json()["error"]["field"]) == (422, "explain")
    assert http.get("/v1/stats?since=nan").status_code == 422
    assert http.get("/v1/stats?since=3").json() == {"since": 3.0}


def test_a_large_body_is_refused_declared_or_not(http: TestClient) -> None:
    body = b" " * 4097
    assert http.post("/v1/recommend", content=body).status_code == 413
    answer = http.post("/v1/recommend", content=iter([body[:4000], body[4000:]]))
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")
    assert http.put("/v1/budget", content=body).status_code == 413
    assert http.post("/v1/feedback", content=body).status_code == 413


def test_no_exceptions_text_leaves_the_server(http: TestClient) -> None:
    answer = http.post("/v1/recommend", json={"user_id": -1})
    assert answer.status_code == 500
    assert SECRET not in answer.text
    assert answer.json()["error"]["code"] == "internal"


def test_too_many_are_told_when_to_come_back(http: TestClient) -> None:
    answer = http.post("/v1/recommend", json={"user_id": -2})
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")


def test_the_other_calls(http: TestClient) -> None:
    assert http.post("/v1/feedback", json=[{"request_id": "a", "clicks": [1]}] * 2).json() == {"accepted": 2}
    assert http.post("/v1/feedback", json={"request_id": "a", "clicks": []}).status_code == 202
    order = {"flops_per_second": 1e9, "policy": "fixed", "fixed_chain": "fullest"}
    assert order.items() <= http.put("/v1/budget", json=order).json().items()
    assert http.get("/v1/budget").json()["error"]["code"] == "ledger_unavailable"
    assert http.get("/v1/budget").status_code == 503
    assert http.get("/healthz").json() == {"status": "ok"}
    assert (http.get("/readyz").status_code, http.get("/readyz").json()["ready"]) == (503, False)
    assert http.get("/v1/chains").json() == {"chains": []}
    assert http.get("/nowhere").json()["error"]["code"] == "not_found"
    assert http.get("/v1/recommend").status_code == 405


def test_the_openapi_document_knows_bodies_and_bounds(http: TestClient) -> None:
    document = http.get("/openapi.json").json()
    schema = document["paths"]["/v1/recommend"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    one, many = schema["anyOf"]
    assert (one["properties"]["k"]["maximum"], one["additionalProperties"]) == (20, False)
    assert many["type"] == "array"
    assert set(document["paths"]) == {
        "/v1/recommend", "/v1/feedback", "/v1/budget", "/v1/chains", "/v1/stats", "/healthz", "/readyz",
    }  # fmt: skip
    assert {"200", "413", "422", "429"} <= set(document["paths"]["/v1/recommend"]["post"]["responses"])
    json.dumps(document)


def test_a_refusal_does_not_repeat_whatever_it_is_sent(http: TestClient) -> None:
    answer = http.post("/v1/recommend", json={"user_id": 1, "x" * 2000: 3})
    assert answer.status_code == 422
    assert len(answer.content) < 500
