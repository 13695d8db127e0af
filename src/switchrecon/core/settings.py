"""The base of all settings."""

from typing import Any

from pydantic import BaseModel, ConfigDict, field_validator


class Settings(BaseModel):
    """Base of all settings: unknown keys are refused and values are immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_values(cls, value: Any) -> Any:
        if isinstance(value, bool):  # YAML's yes and true would otherwise pass as the number 1
            raise ValueError("expected a number or a name")
        return value
