"""Conditions on features, such as "density < 0.001, max > 4"."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inscape.core import InputError

_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
    "=": operator.eq,
}
_PART = re.compile(r"\s*([a-z_]+)\s*(<=|>=|<|>|=)\s*([^\s,]+)\s*")


@dataclass(frozen=True)
class Condition:
    """A figure of a feature compared with a value: a number, or a word for "="."""

    name: str
    sign: str
    value: float | str

    @property
    def rising(self) -> bool:
        """Whether the smallest figures come first where features are listed by it."""
        return self.sign.startswith("<")


def parse(text: str, known: Mapping[str, type]) -> list[Condition]:
    """Conditions divided by commas; known: the figures that there are, float or str.

    Raises:
        InputError: one cannot be read, or names no such figure.
    """
    found = []
    expected = f"such as density<0.001, of {', '.join(known)}"
    for part in text.split(","):
        matched = _PART.fullmatch(part)
        if matched is None or matched[1] not in known:
            raise InputError(f"the condition {part.strip()!r}", expected=expected)
        name, sign, value = matched.groups()
        if known[name] is str:
            if sign != "=":
                raise InputError(f"the condition {part.strip()!r}", expected=f"{name}=WORD")
            found.append(Condition(name, sign, value))
            continue
        try:
            found.append(
                Condition(
                    name, sign, float(value.removesuffix("%")) / (100 if value.endswith("%") else 1)
                )
            )
        except ValueError as error:
            raise InputError(f"the condition {part.strip()!r}", expected=expected) from error
    return found


def holding(conditions: list[Condition], figures: Mapping[str, NDArray[Any]]) -> NDArray[np.bool_]:
    """The features that meet all conditions, [m]; a figure that is not known (NaN) meets none."""
    size = len(next(iter(figures.values())))
    kept = np.ones(size, np.bool_)
    for one in conditions:
        kept &= np.asarray(_OPERATORS[one.sign](figures[one.name], one.value), np.bool_)
    return kept
