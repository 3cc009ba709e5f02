"""What documents the project writes have in common: immutable, strict, and JSON by anyone's reading."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Part(BaseModel):
    """Base of all parts: frozen, no unknown keys, no NaN or infinity (what is unknown is null)."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, populate_by_name=True)
