"""HTTP messages: what callers may send, checked strictly, and how a refusal is worded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, create_model

from greenflow_ray.config import Section
from greenflow_ray.errors import Refused

MAX_LIST = 1000
"""Requests or feedback messages in one call."""
LONGEST_NAME = 100
"""Characters of a field's name that a refusal repeats."""

RequestId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:-]{1,64}$")]
Criticality = Literal["critical", "default", "sheddable"]
Int64 = Annotated[int, Field(ge=-(2**63), le=2**63 - 1)]


class Message(Section):
    """Base of what callers send: no unknown fields, no coercion, no NaN."""

    model_config = ConfigDict(strict=True)


class Recommend(Message):
    """One request for recommendations; :func:`recommend_model` narrows ``k`` to the cascade's exposure."""

    user_id: Int64
    k: int
    request_id: RequestId | None = None
    criticality: Criticality = Field(default="default", description="who is refused first when too many requests wait")


class Feedback(Message):
    """Clicks on the items of one answer."""

    request_id: RequestId
    clicks: list[Int64] = Field(max_length=MAX_LIST)


class Receipt(BaseModel):
    """What an answer cost and why: ``flops`` are those of the stages that ran; ``price`` is reward per FLOP.

    Where costs are timed, ``cpu_seconds`` says the same in the models' CPU time.
    """

    chain: str
    flops: int
    cpu_seconds: float | None = None
    price: float
    price_version: int
    degraded: bool
    reason: str | None


class Answer(BaseModel):
    """Items, best first, and the receipt."""

    request_id: str
    user_id: int
    items: list[int]
    scores: list[float]
    receipt: Receipt
    explain: dict[str, Any] | None = Field(default=None, description="if asked for: chains' rewards, seconds by hop")


class Accepted(BaseModel):
    """How many feedback messages were taken in."""

    accepted: int


class Problem(BaseModel):
    """A refusal: a stable code, the field at fault if there is one, and what to do."""

    code: str
    message: str
    field: str | None = None


class Refusal(BaseModel):
    """Body of every answer outside 2xx."""

    error: Problem


def recommend_model(exposure: int) -> type[Recommend]:
    """:class:`Recommend` with ``k`` from 1 to ``exposure``, which is also its default."""
    k: Any = (int, Field(default=exposure, ge=1, le=exposure, description="items wanted"))
    model: type[Recommend] = create_model("RecommendRequest", __base__=Recommend, k=k)
    return model


class Reader:
    """Reads a body that holds one message or a list of them."""

    def __init__(self, model: type[BaseModel], *, lists: bool) -> None:
        self._one: TypeAdapter[Any] = TypeAdapter(model)
        self._many: TypeAdapter[Any] | None = None
        schema = _inlined(model.model_json_schema())
        self.schema: dict[str, Any] = schema
        if lists:
            self._many = TypeAdapter(Annotated[list[model], Field(min_length=1, max_length=MAX_LIST)])  # type: ignore[valid-type,arg-type,unused-ignore]
            many = {"type": "array", "items": schema, "minItems": 1, "maxItems": MAX_LIST}
            self.schema = {"anyOf": [schema, many]}

    def __call__(self, body: bytes) -> tuple[Sequence[Any], bool]:
        """Messages, and whether they came as a list. Raises Refused (422), naming the field."""
        many = self._many is not None and body.lstrip(b" \t\r\n")[:1] == b"["
        try:
            if many and self._many is not None:
                return self._many.validate_json(body), True
            return [self._one.validate_json(body)], False
        except ValidationError as error:
            raise invalid(error.errors(include_url=False, include_input=False, include_context=False)) from None


def _inlined(schema: dict[str, Any]) -> dict[str, Any]:
    """A JSON schema without definitions of its own: those of a part of an OpenAPI document would not be found."""
    definitions = schema.pop("$defs", {})

    def put(value: Any) -> Any:
        if isinstance(value, dict):
            if "$ref" in value:
                return put(definitions[value["$ref"].rsplit("/", 1)[-1]])
            return {name: put(part) for name, part in value.items()}
        return [put(part) for part in value] if isinstance(value, list) else value

    out: dict[str, Any] = put(schema)
    return out


def invalid(errors: Sequence[Any]) -> Refused:
    """The first of pydantic's errors as a 422."""
    first = errors[0]
    place = (".".join(str(part) for part in first["loc"]) or "body")[:LONGEST_NAME]  # callers choose unknown names
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    message = "Invalid JSON" if first["type"] == "json_invalid" else str(first["msg"]).removeprefix("Value error, ")
    return Refused(422, "invalid_request", f"{place}: {message}{more}", place)
