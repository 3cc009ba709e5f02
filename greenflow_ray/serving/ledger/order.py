"""What the operator orders: limits in any unit, perhaps by hour of the day, and the policy that keeps them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from greenflow_ray.config import BudgetFields, LimitFields
from greenflow_ray.energy.carbon.intensity import HOUR_S
from greenflow_ray.energy.limits import DAY_S, Limits


@dataclass(frozen=True)
class BudgetOrder:
    """An order, as declared or as put by ``PUT /v1/budget``.

    Attributes:
        limits: at all hours.
        schedule: ``(from_hour, limits)``, hours of the UTC day in any order; each holds beside ``limits`` until the
            next hour of the schedule, the last one past midnight. Entries of the same hour hold together.
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
        """The limits that hold at ``time``, Unix seconds: of each unit the tightest."""
        if not self.schedule:
            return self.limits
        now = time % DAY_S / HOUR_S
        hours = [hour for hour, _ in self.schedule]
        since = max((hour for hour in hours if hour <= now), default=max(hours))
        held = [self.limits, *(limits for hour, limits in self.schedule if hour == since)]
        return Limits(
            **{name: _tightest(getattr(limits, name) for limits in held) for name in LimitFields.model_fields}
        )

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


def _tightest(values: Iterable[float | None]) -> float | None:
    return min((value for value in values if value is not None), default=None)
