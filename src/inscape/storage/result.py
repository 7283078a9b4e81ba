"""What every result is: a schema with a version, JSON both ways, and a picture in notebooks."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, ClassVar, Self, TypeVar

import pydantic

from inscape.core import DataError

T = TypeVar("T")
_PICTURES: dict[type, Callable[[Any], str]] = {}


def draws(kind: type[T]) -> Callable[[Callable[[T], str]], Callable[[T], str]]:
    """Registers the decorated function: it makes the HTML by which a notebook shows a `kind`."""

    def register(function: Callable[[T], str]) -> Callable[[T], str]:
        _PICTURES[kind] = function
        return function

    return register


class Pictured:
    """Shown in notebooks by what the report package has registered for its class."""

    def _repr_html_(self) -> str:
        # By name and late: the report stands above everything that it draws.
        import_module("inscape.report")
        return _PICTURES[type(self)](self)


class Result(Pictured):
    """A dataclass that is saved as versioned JSON (SCHEMA, VERSION), its keys equal to the names of
    its fields that are compared. MADE_BY: the verb that makes such a result."""

    SCHEMA: ClassVar[str]
    VERSION: ClassVar[int] = 1
    MADE_BY: ClassVar[str] = ""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, with schema and version."""
        kept = [f.name for f in dataclasses.fields(self) if f.compare]  # type: ignore[arg-type]
        named = {name: getattr(self, name) for name in kept}
        return {"schema": self.SCHEMA, "version": self.VERSION, **plain(named)}

    @classmethod
    def from_json(cls, data: Any) -> Self:
        """Reads what `to_json` gave.

        Raises:
            DataError: another schema, a newer version, or damaged.
        """
        content = cls.content(data)
        try:
            return pydantic.TypeAdapter(cls).validate_python(content)
        except pydantic.ValidationError as error:
            first = error.errors()[0]
            raise cls.damaged(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error

    @classmethod
    def content(cls, data: Any) -> dict[str, Any]:
        """The JSON without schema and version, which are checked (DataError)."""
        found = data if isinstance(data, dict) else {}
        schema, version = found.get("schema"), found.get("version")
        if schema != cls.SCHEMA or not isinstance(version, int):
            raise DataError(
                f"found schema {schema!r}",
                expected=f"schema {cls.SCHEMA!r}",
                next_step=f"give a file that inscape {cls.MADE_BY} wrote",
            )
        if version > cls.VERSION:
            raise DataError(
                f"found version {version} of {cls.SCHEMA}",
                expected=f"a version up to {cls.VERSION}",
                next_step="upgrade inscape",
            )
        return {key: value for key, value in found.items() if key not in ("schema", "version")}

    @classmethod
    def damaged(cls, what: str) -> DataError:
        """The error for JSON of a known version that cannot be read."""
        return DataError(
            f"the {cls.SCHEMA} is damaged ({what})", next_step=f"run inscape {cls.MADE_BY} again"
        )


def plain(value: Any) -> Any:
    """`value` as JSON can hold it: dataclasses become objects, arrays lists, NaN null."""
    if hasattr(value, "to_json"):
        return plain(value.to_json())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        named = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        return plain(named)
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(entry) for entry in value]
    if isinstance(value, float):
        return value if value - value == 0 else None
    if value is None or isinstance(value, str | int):
        return value
    if hasattr(value, "model_dump"):
        return plain(value.model_dump())
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    return str(value)
