"""Numbers for people: three figures, fractions as percentages, thousands set apart."""

from __future__ import annotations

import math
from typing import Any, Literal

Unit = Literal["", "share", "nats", "logits", "tokens", "seconds", "count"]

EN_DASH = "–"
MINUS = "−"
GROUP = "\u202f"  # a narrow space that does not break, between thousands


def finite(value: Any) -> float | None:
    """The number; None for None, NaN and infinity."""
    return None if value is None or not math.isfinite(value) else float(value)


def show(value: float | int | None, unit: str = "") -> str:
    """A number for people: three figures, a share as a percentage, thousands set apart."""
    if value is None:
        return EN_DASH
    if unit == "share":
        return _percent(value)
    text = _integer(value) if isinstance(value, int) else _three_figures(value)
    return text + show_unit(unit)


def show_unit(unit: str) -> str:
    """What stands behind a number of this unit."""
    if unit == "share":
        return "\u00a0%"
    return {"seconds": "\u00a0s", "": "", "count": ""}.get(unit, f"\u00a0{unit}")


def _percent(value: float) -> str:
    scaled = 100 * value
    for digits in (1, 2, 3):  # so that 99.97 % is not shown as 100 %
        text = f"{scaled:.{digits}f}"
        if not (float(text) in (0.0, 100.0) and scaled not in (0.0, 100.0)):
            break
    text = text.rstrip("0").rstrip(".") if float(text) in (0.0, 100.0) else text
    return _signed(text) + "\u00a0%"


def _integer(value: int) -> str:
    return _signed(f"{value:,}".replace(",", GROUP))


def _three_figures(value: float) -> str:
    if value == 0:
        return "0"
    if abs(value) >= 1000:
        return _integer(round(value))
    if abs(value) < 1e-4:
        mantissa, exponent = f"{value:.1e}".split("e")
        return _signed(f"{mantissa}e{int(exponent)}")
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    while digits < 6 and abs(value) < 1 == abs(float(f"{value:.{digits}f}")):
        digits += 1  # so that 0.9997 is not shown as 1
    return _signed(f"{value:.{digits}f}")


def _signed(text: str) -> str:
    return MINUS + text[1:] if text.startswith("-") else text
