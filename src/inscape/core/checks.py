"""Checks of arguments: a value of the wrong type ends in one line that names it."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, SupportsFloat, SupportsIndex, TypeVar

from inscape.core.errors import InputError

T = TypeVar("T")


def instance_of(kind: type | tuple[type, ...], value: Any, what: str, expected: str) -> None:
    """InputError unless a value, which is named with `what` it stands for, is of a kind."""
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise InputError(f"{what} {short(value)}", expected=expected)


def all_of(kind: type[T], values: Any, what: str) -> list[T]:
    """One value, or several, of a kind as a list.

    Raises:
        InputError: one is of another kind.
    """
    several = isinstance(values, Iterable) and not isinstance(values, kind | str)
    found = list(values) if several else [values]
    for value in found:
        if not isinstance(value, kind):
            name = "text" if kind is str else kind.__name__
            raise InputError(f"{what}: {short(value)}", expected=f"one {name}, or a list of them")
    return found


def whole(value: Any, what: str, least: float = -math.inf, most: float = math.inf) -> int:
    """A whole number between two bounds; InputError for anything else."""
    if isinstance(value, SupportsIndex) and not isinstance(value, bool):
        with suppress(TypeError):  # tensors of any type have the method
            if least <= (number := operator.index(value)) <= most:
                return number
    if most < math.inf:
        bounds = f"{least} to {most}"
    else:
        bounds = "a whole number" + f", {least} or more" * (least > -math.inf)
    raise InputError(f"{what} {short(value)}", expected=bounds)


def finite_number(value: Any, what: str) -> float:
    """A finite number; InputError for anything else."""
    if isinstance(value, SupportsFloat):
        with suppress(TypeError, ValueError, RuntimeError, OverflowError):
            if math.isfinite(number := float(value)):
                return number
    raise InputError(f"{what} of {short(value)}", expected="a finite number")


def short(value: Any) -> str:
    """A value as an error names it."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
