"""A report in which every field is filled and no two values are equal, made from the schema."""

from __future__ import annotations

import itertools
import types
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from inscape_microworld.report import Report
from inscape_microworld.report.figures import Part

# What cannot be any value, and what inscape itself renders (tests/report).
FIXED: dict[str, Callable[[int], Any]] = {
    "passed": lambda i: None,
    "traces": lambda i: (),
    "diagnoses": lambda i: (),
}


class Filler:
    """Makes values that occur once: texts, whole numbers, and fractions."""

    def __init__(self) -> None:
        self.numbers: Iterator[int] = itertools.count(1)

    def of(self, kind: Any) -> Any:
        origin, arguments = get_origin(kind), get_args(kind)
        number = next(self.numbers)
        if origin is Annotated:
            return self.of(arguments[0])
        if origin in (Union, types.UnionType):
            return self.of(arguments[0])
        if origin is Literal:
            return arguments[0]
        if origin is tuple:
            return tuple(self.of(arguments[0]) for _ in range(2))
        if isinstance(kind, type) and issubclass(kind, Part):
            return self.model(kind)
        return {str: f"text {number}", int: 700_000 + number, float: 0.1 + number / 7e5}[kind]

    def model(self, kind: type[Part]) -> Part:
        values: dict[str, Any] = {}
        for name, field in kind.model_fields.items():
            if name in FIXED:
                values[name] = FIXED[name](next(self.numbers))
            else:
                values[name] = self.of(field.annotation)
        return kind.model_validate(values)


def filled_report() -> Report:
    """Every field of the schema, with a value of its own."""
    made = Filler().model(Report)
    assert isinstance(made, Report)
    return made
