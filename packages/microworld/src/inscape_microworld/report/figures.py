"""Measured figures: a value with its interval, and the threshold that it is compared with.

A figure that was not measured is None and is shown as a dash; NaN and infinity become None, so
that a report is always valid JSON.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, model_validator

from inscape.core import Share
from inscape.report.numbers import MINUS, Unit, show_unit


def finite(value: Any) -> Any:
    """None for NaN and infinity; everything else as it is."""
    if value is None or isinstance(value, str | bool):
        return value
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def readable(value: Any) -> Any:
    """The text with halves of surrogate pairs, which no file can hold, replaced."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


Number = Annotated[float | None, BeforeValidator(finite)]
Text = Annotated[str, BeforeValidator(readable)]


class Part(BaseModel):
    """A part of the report: frozen, keyword-only, unknown fields refused (ValidationError)."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Figure(Part):
    """A value with its 95 % interval; `count` of `total` where it is a share of cases."""

    value: Number
    low: Number = None
    high: Number = None
    unit: Unit = ""
    count: int | None = None
    total: int | None = None

    @classmethod
    def of(cls, value: float | None, unit: Unit = "", *, interval: Any = None) -> Figure:
        """A value, with its (low, high) where it was measured."""
        low, high = interval if interval is not None else (None, None)
        return cls(value=value, low=low, high=high, unit=unit)

    @classmethod
    def share(cls, share: Share | dict[str, Any]) -> Figure:
        """A share of cases, or its JSON form, with its interval; of no cases: not measured."""
        plain: Any = share.to_json() if isinstance(share, Share) else share
        low, high = plain["interval"] if plain["total"] else (None, None)
        return cls(
            value=plain["share"],
            low=low,
            high=high,
            unit="share",
            count=plain["count"],
            total=plain["total"],
        )


class Bar(Part):
    """What a figure must reach. `text` tells a bar that is no single number."""

    relation: Literal["at least", "at most", "as told"] = "as told"
    value: Number = None
    text: Text = ""

    def met(self, figure: Figure) -> bool | None:
        """Whether the figure reaches the bar; None where that cannot be computed."""
        if self.value is None or figure.value is None or self.relation == "as told":
            return None
        if self.relation == "at least":
            return figure.value >= self.value
        return figure.value <= self.value


def at_least(value: float, text: str = "") -> Bar:
    """The bar value or more."""
    return Bar(relation="at least", value=value, text=text)


def at_most(value: float, text: str = "") -> Bar:
    """The bar value or less."""
    return Bar(relation="at most", value=value, text=text)


class Measure(Part):
    """A figure beside its bar.

    passed: computed from figure and bar where they decide it; a claim that contradicts them is
        refused (ValueError). None: there is no bar, or nothing was measured.
    samples: what the figure rests on, such as 12000 of `sample_unit` "tokens".
    """

    figure: Figure
    bar: Bar | None = None
    passed: bool | None = None
    samples: int | None = None
    sample_unit: Text = ""
    note: Text = ""

    @model_validator(mode="before")
    @classmethod
    def _judge(cls, data: Any) -> Any:
        if not isinstance(data, dict) or data.get("bar") is None:
            return data
        computed = Bar.model_validate(data["bar"]).met(Figure.model_validate(data["figure"]))
        if computed is None:
            return data
        if data.get("passed") not in (None, computed):
            raise ValueError(f"passed={data['passed']} contradicts the figure and its bar")
        return {**data, "passed": computed}


class Check(Measure):
    """A named row of the validation table."""

    name: Text
    seed: int | None = None


def show_bar(bar: Bar, unit: str = "") -> str:
    """The bar in words, such as "≥ 97 %"."""
    if bar.value is None or bar.relation == "as told":
        return bar.text
    sign = "≥" if bar.relation == "at least" else "≤"
    told = f"{sign}\u00a0{_as_set(bar.value, unit)}"
    return f"{told} ({bar.text})" if bar.text else told


def _as_set(value: float, unit: str) -> str:
    """A number that people chose, without the zeros that would make it look measured."""
    scaled = 100 * value if unit == "share" else value
    text = f"{scaled:.6g}".replace("-", MINUS)
    return text + show_unit(unit)
