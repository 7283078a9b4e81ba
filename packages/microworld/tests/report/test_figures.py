"""Figures are told so that nobody is misled, and verdicts follow from them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from inscape.core import Share
from inscape_microworld.report.figures import (
    Bar,
    Check,
    Figure,
    Measure,
    at_least,
    at_most,
    show_bar,
)


def test_bars_are_told_as_they_were_set() -> None:
    assert show_bar(at_least(0.97), "share") == "≥\u00a097\u00a0%"
    assert show_bar(at_most(1e-4)) == "≤\u00a00.0001"
    assert show_bar(at_most(0.1, "at L0 16"), "nats") == "≤\u00a00.1\u00a0nats (at L0 16)"
    assert show_bar(Bar(text="unchanged within 2 points")) == "unchanged within 2 points"


def test_the_verdict_follows_from_figure_and_bar() -> None:
    assert Measure(figure=Figure.of(0.97), bar=at_least(0.97)).passed is True
    assert Measure(figure=Figure.of(0.9699), bar=at_least(0.97)).passed is False
    assert Measure(figure=Figure.of(0.11), bar=at_most(0.10)).passed is False
    assert Measure(figure=Figure.of(None), bar=at_most(0.10)).passed is None
    assert Measure(figure=Figure.of(0.5)).passed is None
    assert Check(name="told", figure=Figure.of(1), bar=Bar(text="all"), passed=True).passed
    with pytest.raises(ValueError, match="contradicts"):
        Measure(figure=Figure.of(0.5), bar=at_least(0.97), passed=True)


def test_what_is_not_finite_was_not_measured() -> None:
    for value in (math.nan, math.inf, -math.inf, np.float32("nan")):
        assert Figure.of(value).value is None  # type: ignore[arg-type]
    assert Figure.of(np.float64(0.25)).value == 0.25
    nothing = Figure.share(Share(0, 0))
    assert (nothing.value, nothing.low, nothing.total) == (None, None, 0)


def test_a_share_has_its_interval_and_counts() -> None:
    figure = Figure.share(Share(36, 40))
    assert (figure.value, figure.count, figure.total) == (0.9, 36, 40)
    assert figure.low is not None
    assert figure.high is not None
    assert figure.low < 0.9 < figure.high
    assert Figure.share(Share(36, 40).to_json()) == figure


def test_text_that_no_file_can_hold_is_replaced() -> None:
    assert Check(name="a\ud800b", figure=Figure.of(1)).name == "a?b"
