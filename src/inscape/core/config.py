"""The base of every configuration."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Config(BaseModel):
    """A frozen, keyword-only configuration that refuses unknown fields.

    A component's configuration sits beside the component and checks itself; two equal
    configurations are equal as values, and `model_dump_json` gives their stored form.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)
