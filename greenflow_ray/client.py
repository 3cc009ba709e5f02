"""A typed client of a running application: :class:`Client` waits for each answer, :class:`AsyncClient` is awaited.

Both raise :class:`~greenflow_ray.errors.Refused` (what was sent is wrong; names the field),
:class:`~greenflow_ray.errors.Overloaded` (come back after ``retry_after_s``) and
:class:`~greenflow_ray.errors.Unavailable` (nothing answers, or a part that the call cannot do without does not).
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar

import httpx
from pydantic import TypeAdapter

from greenflow_ray.errors import Overloaded, Refused, Unavailable
from greenflow_ray.serving.http.messages import Accepted, Answer, Criticality, Receipt
from greenflow_ray.serving.ledger.order import BudgetOrder

__all__ = ["Answer", "AsyncClient", "BudgetOrder", "Client", "Receipt"]

P = ParamSpec("P")
T = TypeVar("T")
TIMEOUT_S = 30.0
_ONE: TypeAdapter[Answer] = TypeAdapter(Answer)
_MANY: TypeAdapter[list[Answer]] = TypeAdapter(list[Answer])
_DOCUMENT: TypeAdapter[dict[str, Any]] = TypeAdapter(dict[str, Any])


@dataclass(frozen=True)
class Call(Generic[T]):
    """One HTTP call and how its answer is read; nothing is sent yet."""

    method: str
    path: str
    read: Callable[[bytes], T]
    json: Any = None
    params: dict[str, Any] | None = None
    fine: tuple[int, ...] = ()

    def answer(self, response: httpx.Response) -> T:
        """The answer. Raises Refused, Overloaded, Unavailable."""
        if response.is_success or response.status_code in self.fine:
            return self.read(response.content)
        try:
            problem = response.json()["error"]
            code, message, field = str(problem["code"]), str(problem["message"]), problem.get("field")
        except (ValueError, KeyError, TypeError, AttributeError):  # not ours: a proxy before it
            code, message, field = "unknown", response.text[:200] or response.reason_phrase, None
        if response.status_code == 429:
            after = response.headers.get("retry-after", "")
            raise Overloaded(int(after) if after.isdecimal() else 1)
        if response.status_code >= 500:
            raise Unavailable(f"{response.status_code} {code}: {message}")
        raise Refused(response.status_code, code, message, field)


def recommend(
    user_id: int,
    k: int | None = None,
    *,
    request_id: str | None = None,
    criticality: Criticality = "default",
    explain: bool = False,
) -> Call[Answer]:
    """``k`` items for a user, best first (None: as many as the cascade exposes), and what they cost.

    ``request_id`` is what feedback refers to; ``criticality`` says who is refused first under overload; ``explain``
    adds every chain's reward and cost.
    """
    body = _ask(user_id, k, request_id, criticality)
    return Call("POST", "/v1/recommend", _ONE.validate_json, body, {"explain": True} if explain else None)


def recommend_many(
    user_ids: Sequence[int], k: int | None = None, *, criticality: Criticality = "default"
) -> Call[list[Answer]]:
    """Answers for up to 1,000 users, in order, from one call."""
    body = [_ask(int(user_id), k, None, criticality) for user_id in user_ids]
    return Call("POST", "/v1/recommend", _MANY.validate_json, body)


def feedback(request_id: str, clicks: Sequence[int]) -> Call[int]:
    """Report clicked item ids of one answer; returns how many messages were taken in."""
    body = {"request_id": request_id, "clicks": [int(item) for item in clicks]}
    return Call("POST", "/v1/feedback", lambda told: Accepted.model_validate_json(told).accepted, body)


def budget() -> Call[dict[str, Any]]:
    """Budget, policy and price in force."""
    return Call("GET", "/v1/budget", _DOCUMENT.validate_json)


def set_budget(order: BudgetOrder) -> Call[dict[str, Any]]:
    """Change budget and policy while serving; answered when every allocator has heard of it."""
    return Call("PUT", "/v1/budget", _DOCUMENT.validate_json, order.model_dump(mode="json", exclude_unset=True))


def chains() -> Call[dict[str, Any]]:
    """Every chain and its FLOPs."""
    return Call("GET", "/v1/chains", _DOCUMENT.validate_json)


def stats(since: float = 0.0) -> Call[dict[str, Any]]:
    """What was answered, spent and charged; the price's course from ``since``, Unix seconds, on."""
    return Call("GET", "/v1/stats", _DOCUMENT.validate_json, params={"since": since})


def ready() -> Call[dict[str, Any]]:
    """Whether requests can be served in full, and by part."""
    return Call("GET", "/readyz", _DOCUMENT.validate_json, fine=(503,))


def _ask(user_id: int, k: int | None, request_id: str | None, criticality: Criticality) -> dict[str, Any]:
    said = {"user_id": int(user_id), "k": k, "request_id": request_id, "criticality": criticality}
    return {name: value for name, value in said.items() if value is not None}


def _waiting(make: Callable[P, Call[T]]) -> Callable[Concatenate[Client, P], T]:
    @wraps(make)
    def method(self: Client, /, *args: P.args, **kwargs: P.kwargs) -> T:
        call = make(*args, **kwargs)
        with _reached(self._http.base_url):
            response = self._http.request(call.method, call.path, json=call.json, params=call.params)
        return call.answer(response)

    return method


def _awaited(make: Callable[P, Call[T]]) -> Callable[Concatenate[AsyncClient, P], Coroutine[Any, Any, T]]:
    @wraps(make)
    async def method(self: AsyncClient, /, *args: P.args, **kwargs: P.kwargs) -> T:
        call = make(*args, **kwargs)
        with _reached(self._http.base_url):
            response = await self._http.request(call.method, call.path, json=call.json, params=call.params)
        return call.answer(response)

    return method


@contextmanager
def _reached(url: httpx.URL) -> Iterator[None]:
    try:
        yield
    except httpx.TransportError as error:
        raise Unavailable(f"{url} does not answer ({type(error).__name__}); is the application running?") from error


class Client:
    """Keeps its connections: make one, use it from any thread, close it or leave its ``with`` block."""

    def __init__(self, url: str, *, timeout_s: float = TIMEOUT_S, transport: httpx.BaseTransport | None = None) -> None:
        self._http = httpx.Client(base_url=url, timeout=timeout_s, transport=transport, trust_env=False)

    recommend = _waiting(recommend)
    recommend_many = _waiting(recommend_many)
    feedback = _waiting(feedback)
    budget = _waiting(budget)
    set_budget = _waiting(set_budget)
    chains = _waiting(chains)
    stats = _waiting(stats)
    ready = _waiting(ready)

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncClient:
    """The same calls, awaited; for one event loop."""

    def __init__(
        self, url: str, *, timeout_s: float = TIMEOUT_S, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self._http = httpx.AsyncClient(base_url=url, timeout=timeout_s, transport=transport, trust_env=False)

    recommend = _awaited(recommend)
    recommend_many = _awaited(recommend_many)
    feedback = _awaited(feedback)
    budget = _awaited(budget)
    set_budget = _awaited(set_budget)
    chains = _awaited(chains)
    stats = _awaited(stats)
    ready = _awaited(ready)

    async def close(self) -> None:
        """Close its connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
