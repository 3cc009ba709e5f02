"""What the operator orders: limits in any unit, perhaps by hour of the day, and the policy that keeps them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Self

from pydantic import ConfigDict, Field, TypeAdapter, model_validator
from pydantic_core import to_json

from greenflow_ray.config import BudgetConfig, BudgetFields, Limits, Section
from greenflow_ray.config.budget import Mix, Policy
from greenflow_ray.energy.carbon.intensity import HOUR_S
from greenflow_ray.energy.limits import DAY_S


class BudgetOrder(Section, BudgetFields):
    """What the operator allows and how it is kept. It replaces the whole order: name at least one limit."""

    model_config = ConfigDict(
        strict=True,
        title="Budget",
        json_schema_extra={"anyOf": [{"required": [name]} for name in BudgetFields.model_fields]},
    )

    policy: Policy = "greenflow"
    fixed_chain: str | None = Field(default=None, description="fullest, cheapest or a chain's name")
    mix: Mix = Field(default={}, description="of the 'fixed' policy, instead of one chain: several, by weight")

    @model_validator(mode="after")
    def _check_named(self) -> Self:
        if not self.model_fields_set & set(BudgetFields.model_fields):
            raise ValueError(f"name at least one of {', '.join(BudgetFields.model_fields)}; null is no limit")
        return self

    @classmethod
    def declared(cls, budget: BudgetConfig) -> BudgetOrder:
        """The order that holds until another is sent."""
        return cls(**{name: getattr(budget, name) for name in cls.model_fields})

    @classmethod
    def read(cls, told: Mapping[str, Any]) -> BudgetOrder:
        """What :meth:`told` said. Raises ValueError on anything else."""
        return TypeAdapter(cls).validate_json(to_json(told))

    @property
    def chain(self) -> str:
        """Chain of the fixed policy; the fullest if none was named."""
        return self.fixed_chain or "fullest"

    def told(self) -> dict[str, Any]:
        """JSON-able, as ``GET /v1/budget`` and the audit show it."""
        return self.model_dump(mode="json")

    def limits_at(self, time: float) -> Limits:
        """The limits that hold at ``time``, Unix seconds: of each unit the tightest.

        An entry of the schedule holds beside the limits at all hours until the schedule's next hour, the last one past
        midnight; entries of the same hour hold together.
        """
        now = time % DAY_S / HOUR_S
        hours = [entry.from_hour for entry in self.schedule]
        since = max((hour for hour in hours if hour <= now), default=max(hours, default=0.0))
        held: list[Limits] = [self, *(entry for entry in self.schedule if entry.from_hour == since)]
        return Limits(**{name: _tightest(getattr(limits, name) for limits in held) for name in Limits.model_fields})


def _tightest(values: Iterable[float | None]) -> float | None:
    return min((value for value in values if value is not None), default=None)
