"""The base of every configuration."""

from __future__ import annotations

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from inscape.core.errors import InputError


class ConfigError(InputError, ValueError):
    """A setting is unknown, or its value is not usable."""


class Config(BaseModel):
    """A frozen, keyword-only configuration that refuses unknown fields.

    A component's configuration is defined next to the component and checks itself; two equal
    configurations are equal as values, and `model_dump_json` gives their stored form.

    Raises:
        ConfigError: making one with an unknown field, or a value that is not usable.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise _explained(error, type(self).model_fields) from error

    @classmethod
    def model_validate(cls, obj: Any, **options: Any) -> Self:
        """The configuration that a mapping from a file describes; errors as in making one."""
        if not isinstance(obj, dict) or options:
            raise ConfigError(f"settings {obj!r}", expected="an object with settings by name")
        return cls(**obj)


def _explained(error: ValidationError, known: dict[str, Any]) -> ConfigError:
    """The first fault in one line."""
    faults = error.errors(include_url=False)
    first = next((one for one in faults if one["type"] == "extra_forbidden"), faults[0])
    name = ".".join(map(str, first["loc"])) or "the settings"
    if first["type"] == "extra_forbidden":
        return ConfigError(f"setting {name} is unknown", expected=f"one of {', '.join(known)}")
    if first["type"] == "missing":
        return ConfigError(f"setting {name} is missing", expected=", ".join(known))
    reason = first["msg"][:1].lower() + first["msg"][1:]
    return ConfigError(f"setting {name} = {first['input']!r} is not usable: {reason}")
