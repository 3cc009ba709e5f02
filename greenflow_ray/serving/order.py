"""What the operator orders: limits in any unit, perhaps by hour of the day, and the policy that keeps them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from greenflow_ray.config import BudgetFields, LimitFields
from greenflow_ray.energy.carbon import HOUR_S
from greenflow_ray.energy.limits import DAY_S, Limits


@dataclass(frozen=True)
class BudgetOrder:
    """An order, as declared or as put by ``PUT /v1/budget``.

    Attributes:
        limits: at all hours, if there is no schedule.
        schedule: ``(from_hour, limits)``, hours of the UTC day, increasing; each holds until the next one's hour, the
            last one past midnight.
        policy: ``greenflow`` or ``fixed``.
        fixed_chain: chain of the fixed policy.
    """

    limits: Limits
    schedule: tuple[tuple[float, Limits], ...]
    policy: str
    fixed_chain: str

    @classmethod
    def of(cls, fields: BudgetFields, policy: str, fixed_chain: str) -> BudgetOrder:
        """From what was declared or sent."""
        schedule = tuple((entry.from_hour, _limits(entry)) for entry in fields.schedule)
        return cls(_limits(fields), schedule, policy, fixed_chain)

    def limits_at(self, time: float) -> Limits:
        """The limits that hold at ``time``, Unix seconds."""
        if not self.schedule:
            return self.limits
        hour = time % DAY_S / HOUR_S
        begun = [limits for from_hour, limits in self.schedule if from_hour <= hour]
        return begun[-1] if begun else self.schedule[-1][1]

    def told(self) -> dict[str, Any]:
        """JSON-able, as ``GET /v1/budget`` and the audit show it."""
        schedule = [{"from_hour": hour, **asdict(limits)} for hour, limits in self.schedule]
        return {**asdict(self.limits), "schedule": schedule, "policy": self.policy, "fixed_chain": self.fixed_chain}

    @classmethod
    def read(cls, told: Mapping[str, Any]) -> BudgetOrder:
        """What :meth:`told` said. Raises KeyError, TypeError on anything else."""
        entries = [dict(entry) for entry in told["schedule"]]
        schedule = tuple((float(entry.pop("from_hour")), Limits(**entry)) for entry in entries)
        limits = Limits(**{name: told[name] for name in LimitFields.model_fields})
        return cls(limits, schedule, str(told["policy"]), str(told["fixed_chain"]))


def _limits(fields: LimitFields) -> Limits:
    return Limits(**{name: getattr(fields, name) for name in LimitFields.model_fields})
