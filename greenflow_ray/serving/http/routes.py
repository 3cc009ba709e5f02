"""The HTTP face: routes, limits and refusals over a service; knows nothing of Ray."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any, Protocol

from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from greenflow_ray import __version__
from greenflow_ray.errors import InvalidInput, Overloaded, Refused, Unavailable
from greenflow_ray.serving.http.messages import (
    Accepted,
    Answer,
    Feedback,
    Problem,
    Reader,
    Recommend,
    Refusal,
    invalid,
    recommend_model,
)  # fmt: skip
from greenflow_ray.serving.ledger.order import BudgetOrder

log = logging.getLogger(__name__)

Responses = dict[int | str, dict[str, Any]]


class Service(Protocol):
    """What the routes call."""

    async def recommend(self, requests: Sequence[Recommend], *, explain: bool) -> list[dict[str, Any]]:
        """Answers, in order. Raises Overloaded."""
        ...

    async def feedback(self, messages: Sequence[Feedback]) -> int:
        """Log clicks; returns how many messages were taken in. Raises Overloaded if the log's buffer is full."""
        ...

    async def budget(self) -> dict[str, Any]:
        """The order in force and the price. Raises Unavailable."""
        ...

    async def set_budget(self, order: BudgetOrder) -> dict[str, Any]:
        """Follow a new order. Raises InvalidInput if the chain is unknown, Unavailable."""
        ...

    def chains(self) -> dict[str, Any]:
        """The chain space."""
        ...

    async def ready(self) -> tuple[bool, dict[str, bool]]:
        """Whether requests can be served in full, and by part."""
        ...

    async def stats(self, since: float) -> dict[str, Any]:
        """The ledger's account. Raises Unavailable."""
        ...


class _Web(FastAPI):
    """Hands plain calls of one path straight to ``direct``: FastAPI's layers would cost them half of their time."""

    direct_path = "/v1/recommend"
    direct: Callable[[Request, bool], Awaitable[Response]]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        plain = scope["type"] == "http" and scope["method"] == "POST" and not scope["query_string"]
        if not plain or scope["path"] != self.direct_path:
            await super().__call__(scope, receive, send)
            return
        try:
            response = await self.direct(Request(scope, receive), False)
        except ClientDisconnect:
            return
        except Exception as error:
            response = _refusal(error)
        await response(scope, receive, send)


def build_web(service: Service, *, exposure: int, body_limit: int) -> FastAPI:
    """The ASGI application; bodies above ``body_limit`` bytes are refused."""
    app = _Web(
        title="GreenFlow on Ray",
        version=__version__,
        description="Recommendations under a compute budget; every answer carries its receipt.",
    )
    recommend_reader = Reader(recommend_model(exposure), lists=True)
    feedback_reader = Reader(Feedback, lists=True)
    budget_reader = Reader(BudgetOrder, lists=False)
    errors: Responses = {
        413: {"model": Refusal, "description": f"Body above {body_limit} bytes"},
        422: {"model": Refusal, "description": "Invalid; names the field"},
        429: {"model": Refusal, "description": "Too many requests wait; see Retry-After"},
    }
    ledger_down: Responses = {503: {"model": Refusal, "description": "The ledger does not answer"}}

    @app.post(
        "/v1/recommend",
        summary="Recommend items for one request or a list",
        openapi_extra=_body(recommend_reader),
        responses={200: {"model": Answer | list[Answer]}, **errors},
        response_class=Response,
    )
    async def recommend(
        request: Request, explain: Annotated[bool, Query(description="add every chain's reward and hop times")] = False
    ) -> Response:
        messages, many = recommend_reader(await _read(request, body_limit))
        answers = await service.recommend(messages, explain=explain)
        return _json(answers if many else answers[0])

    app.direct = recommend

    @app.post(
        "/v1/feedback",
        status_code=202,
        summary="Report clicks on answered items",
        openapi_extra=_body(feedback_reader),
        responses={202: {"model": Accepted}, **errors},
        response_class=Response,
    )
    async def feedback(request: Request) -> Response:
        messages, _ = feedback_reader(await _read(request, body_limit))
        return _json({"accepted": await service.feedback(messages)}, 202)

    @app.get("/v1/budget", summary="Budget, policy and price in force", responses=ledger_down, response_class=Response)
    async def budget() -> Response:
        return _json(await service.budget())

    @app.put(
        "/v1/budget",
        summary="Change budget and policy while serving",
        openapi_extra=_body(budget_reader),
        responses={413: errors[413], 422: errors[422], **ledger_down},
        response_class=Response,
    )
    async def set_budget(request: Request) -> Response:
        (order,), _ = budget_reader(await _read(request, body_limit))
        try:
            return _json(await service.set_budget(order))
        except Refused:
            raise
        except InvalidInput as error:
            raise Refused(422, "invalid_request", f"fixed_chain: {error}", "fixed_chain") from None

    @app.get("/v1/chains", summary="Every chain and its FLOPs", response_class=Response)
    async def chains() -> Response:
        return _json(service.chains())

    @app.get(
        "/v1/stats", summary="What was answered, spent and charged", responses=ledger_down, response_class=Response
    )
    async def stats(since: Annotated[float, Query(description="Unix seconds", allow_inf_nan=False)] = 0.0) -> Response:
        return _json(await service.stats(since))

    @app.get("/healthz", summary="The gateway lives", response_class=Response)
    async def healthz() -> Response:
        return _json({"status": "ok"})

    @app.get("/readyz", summary="Every part answers", response_class=Response)
    async def readyz() -> Response:
        ready, parts = await service.ready()
        return _json({"ready": ready, "parts": parts}, 200 if ready else 503)

    _refusals(app)
    return app


def _refusal(error: Exception) -> Response:
    """The answer to an exception. What nobody foresaw is logged, and answered without its text."""
    if isinstance(error, Overloaded):
        error = Refused(429, "overloaded", str(error), headers={"Retry-After": str(error.retry_after_s)})
    elif isinstance(error, Unavailable):
        error = Refused(503, "ledger_unavailable", str(error))
    elif not isinstance(error, Refused):
        log.error("a request failed", exc_info=error)
        error = Refused(500, "internal", "the server failed; see its log")
    problem = Problem(code=error.code, message=error.message, field=error.field)
    return _json({"error": problem.model_dump(exclude_none=True)}, error.status, error.headers)


def _refusals(app: FastAPI) -> None:
    """One wording for every refusal."""

    async def refused(_: Request, error: Exception) -> Response:
        return _refusal(error)

    async def bad_query(_: Request, error: Any) -> Response:
        return _refusal(invalid([{**e, "loc": e["loc"][1:]} for e in error.errors()]))

    async def plain(request: Request, error: Any) -> Response:
        code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "refused")
        headers = dict(error.headers or {})
        if "Allow" in headers:  # Starlette names the methods of the first route alone, where a path has several
            here = (route for route in app.routes if getattr(route, "path", None) == request.url.path)
            headers["Allow"] = ", ".join(sorted({method for route in here for method in getattr(route, "methods", ())}))
        return _refusal(Refused(error.status_code, code, "see /docs for the documented calls", headers=headers))

    for kind in (Refused, Overloaded, Unavailable):
        app.add_exception_handler(kind, refused)
    app.add_exception_handler(RequestValidationError, bad_query)
    app.add_exception_handler(HTTPException, plain)
    app.add_middleware(_Scrub)


class _Scrub:
    """Answers whatever a handler raises unforeseen."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def watched(message: Any) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except ClientDisconnect:
            return
        except Exception as error:
            if scope["type"] != "http" or started:
                raise
            await _refusal(error)(scope, receive, send)


async def _read(request: Request, limit: int) -> bytes:
    """The body. Raises Refused (413) as soon as it is known to be too large."""
    too_large = Refused(413, "too_large", f"the body exceeds {limit} bytes; send fewer requests at once")
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit:
        raise too_large
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise too_large
        chunks.append(chunk)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _json(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(to_json(content, inf_nan_mode="null"), status, headers, media_type="application/json")


def _body(reader: Reader) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": reader.schema}}}}
