"""The exception tree: every error a user can meet, each naming what was wrong, where, and the cure.

GreenFlowError                 base; printed on one line by the command line, exit code 1
├── InvalidInput               what the operator gave us cannot be used (exit code 2)
│   ├── ConfigError            a key, value or path in the cascade's YAML
│   ├── DataError              a data folder, file, row or column
│   ├── ArtifactError          weights or manifests: missing, foreign, or a SHA-256 that does not match
│   ├── PricingInputError      an array, budget or blob handed to the pricing engine
│   └── Refused                a call that an application refuses: HTTP status, code, message, field
├── InfeasibleBudget           the budget does not cover the cheapest chain for every request
├── StoreError                 the price store cannot be read or written
│   ├── CorruptRecord          a record whose checksum or shape is wrong; the last good one stays
│   ├── VersionConflict        somebody published first; read again and retry
│   └── LeaseLost              the publisher's lease expired or is another's; its publication is refused
└── ResourceProblem            the machine: port in use, no memory for Ray, a service that did not start
    ├── PortInUse
    ├── Overloaded             more requests wait than are allowed; when to come back
    └── Unavailable            a part that the call cannot do without does not answer
"""

from __future__ import annotations

__all__ = [
    "ArtifactError", "ConfigError", "CorruptRecord", "DataError", "GreenFlowError", "InfeasibleBudget", "InvalidInput",
    "LeaseLost", "Overloaded", "PortInUse", "PricingInputError", "Refused", "ResourceProblem", "StoreError",
    "Unavailable", "VersionConflict",
]  # fmt: skip


class GreenFlowError(Exception):
    """Base of all errors raised on purpose; its text is one line a user can act on."""

    exit_code = 1


class InvalidInput(GreenFlowError):
    """Something the operator supplied cannot be used."""

    exit_code = 2


class ConfigError(InvalidInput):
    """A key, value or path of the cascade's configuration is wrong."""


class DataError(InvalidInput):
    """A data folder, file, row or column is missing or malformed."""


class ArtifactError(InvalidInput):
    """A model artifact is missing, foreign, or fails its checksum."""


class PricingInputError(InvalidInput):
    """An argument of the pricing engine is malformed; the text names which and why."""


class Refused(InvalidInput):
    """A call that a serving application refuses: a stable ``code``, the field at fault if there is one, what to do."""

    def __init__(
        self, status: int, code: str, message: str, field: str | None = None, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.field = status, code, message, field
        self.headers = headers or {}


class InfeasibleBudget(GreenFlowError):
    """The budget lies below the cost of serving every request with its cheapest chain."""

    def __init__(self, budget: float, minimum: float) -> None:
        super().__init__(
            f"budget {budget:.6g} is below {minimum:.6g}, the cost of the cheapest chain for every request; "
            "raise the budget or add a cheaper chain"
        )
        self.budget = budget
        self.minimum = minimum


class StoreError(GreenFlowError):
    """The price store cannot be read or written."""


class CorruptRecord(StoreError):
    """A stored record fails its checksum or has the wrong shape; it is refused."""


class VersionConflict(StoreError):
    """A compare-and-swap lost: another publisher was first."""

    def __init__(self, expected: int, found: int) -> None:
        super().__init__(f"price store holds version {found}, expected {expected}; read the latest and publish again")
        self.expected = expected
        self.found = found


class LeaseLost(StoreError):
    """A publisher worked for longer than its lease, or another took it over: what it found may be out of date."""

    def __init__(self, owner: str) -> None:
        super().__init__(f"{owner} no longer holds the lease on the price store; nothing published, start again")
        self.owner = owner


class ResourceProblem(GreenFlowError):
    """The machine cannot give what is needed: a port, memory, a running service."""

    exit_code = 3


class PortInUse(ResourceProblem):
    """A port that a server was to listen on is taken."""

    def __init__(self, port: int) -> None:
        super().__init__(f"port {port} is in use; stop what listens there or choose another port")
        self.port = port


class Overloaded(ResourceProblem):
    """More requests wait than are allowed; the caller is told when to come back."""

    def __init__(self, retry_after_s: int = 1) -> None:
        super().__init__(f"too many requests wait; try again in {retry_after_s} s")
        self.retry_after_s = retry_after_s


class Unavailable(ResourceProblem):
    """A part that a call cannot do without does not answer."""

    def __init__(self, text: str = "the ledger does not answer; try again") -> None:
        super().__init__(text)
