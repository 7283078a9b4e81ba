from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch

from inscape.core import (
    InputError,
    InscapeError,
    SiteError,
    StorageError,
    all_of,
    finite_number,
    whole,
)


def test_an_error_is_one_line_with_what_was_expected_and_what_to_do() -> None:
    error = SiteError("site 'x.9'\nis unknown", expected="one of a, b", next_step="look again")
    assert str(error) == "site 'x.9' is unknown; expected one of a, b; look again"
    assert (error.expected, error.next_step) == ("one of a, b", "look again")


@pytest.mark.parametrize("kind", [InputError, SiteError, StorageError])
def test_every_kind_is_an_inscape_error(kind: type[InscapeError]) -> None:
    assert issubclass(kind, InscapeError)
    assert str(kind("only what")) == "only what"


@pytest.mark.parametrize("value", [3, np.int64(3), torch.tensor(3)])
def test_whole_numbers_of_every_kind_are_taken(value: Any) -> None:
    assert (whole(value, "count", 0, 3), type(whole(value, "count"))) == (3, int)


@pytest.mark.parametrize("value", [4, -1, 2.0, True, None, "3", torch.tensor(3.0), [3]])
def test_what_is_no_whole_number_between_the_bounds_is_refused(value: Any) -> None:
    with pytest.raises(InputError, match="^count .*; expected 0 to 3$"):
        whole(value, "count", 0, 3)


@pytest.mark.parametrize("value", [2, 0.5, np.float32(0.5), torch.tensor(0.5), Fraction(1, 2)])
def test_finite_numbers_of_every_kind_are_taken(value: Any) -> None:
    assert finite_number(value, "a strength") in (2.0, 0.5)


@pytest.mark.parametrize("value", [math.nan, math.inf, None, "2", [1], 10**400, torch.ones(2), 1j])
def test_what_is_no_finite_number_is_refused(value: Any) -> None:
    with pytest.raises(InputError, match="^a strength of .*; expected a finite number$"):
        finite_number(value, "a strength")


def test_one_value_or_several_of_a_kind() -> None:
    assert (all_of(str, "ab", "x"), all_of(int, iter([1, 2]), "x"), all_of(int, (), "x")) == (
        ["ab"],
        [1, 2],
        [],
    )
    for wrong in (None, "ab", [1, "a" * 200], {"a": 1}):
        with pytest.raises(InputError, match="^x: .*; expected one int, or a list of them$") as e:
            all_of(int, wrong, "x")
        assert len(str(e.value)) < 120
