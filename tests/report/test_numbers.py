"""Numbers are shown so that nobody is misled."""

from __future__ import annotations

import pytest

from inscape.report.numbers import finite, show


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [
        (0.9731, "share", "97.3\u00a0%"),
        (0.99970, "share", "99.97\u00a0%"),
        (0.0001, "share", "0.01\u00a0%"),
        (1.0, "share", "100\u00a0%"),
        (0.0, "share", "0\u00a0%"),
        (-0.012, "share", "−1.2\u00a0%"),
        (0.046123, "nats", "0.0461\u00a0nats"),
        (12.345, "seconds", "12.3\u00a0s"),
        (0.9, "", "0.900"),
        (0.99961, "", "0.9996"),
        (-0.99999, "nats", "−0.99999\u00a0nats"),
        (1.0, "", "1.00"),
        (-2.5, "", "−2.50"),
        (3.1e-6, "", "3.1e−6"),
        (1_250_432, "tokens", "1\u202f250\u202f432\u00a0tokens"),
        (12345.6, "", "12\u202f346"),
        (0.0, "", "0"),
        (None, "share", "–"),
    ],
)
def test_numbers_for_people(value: float | None, unit: str, shown: str) -> None:
    assert show(value, unit).replace("e-", "e−") == shown


def test_what_is_not_finite_was_not_measured() -> None:
    assert [finite(v) for v in (float("nan"), float("inf"), None, 0.25)] == [None, None, None, 0.25]
