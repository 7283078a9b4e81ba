"""One batch ahead: order, overlap, errors, and the end."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from inscape.core import DataError
from inscape.training.prefetch import from_first, one_ahead, prefetched


def test_values_come_in_order_and_one_is_drawn_while_the_last_is_used() -> None:
    calls: list[int] = []
    started = [threading.Event() for _ in range(6)]

    def draw() -> int:
        calls.append(len(calls))
        started[len(calls) - 1].set()
        return calls[-1]

    with one_ahead(draw) as values:
        for wanted in range(4):
            assert next(values) == wanted
            assert started[wanted + 1].wait(10)  # the next one is drawn without being asked for
    assert len(calls) <= 6


def test_the_end_and_errors_come_when_their_turn_comes() -> None:
    def given() -> Iterator[int]:
        yield 1
        yield 2
        raise DataError("row 7 is not finite")

    source = given()
    with one_ahead(lambda: next(source)) as values:
        assert [next(values), next(values)] == [1, 2]
        with pytest.raises(DataError, match="row 7"):
            next(values)
    short = iter([1, 2])
    with one_ahead(lambda: next(short)) as values:
        assert list(values) == [1, 2]


def test_on_a_processor_batches_are_as_they_come() -> None:
    batches = iter([{"final": torch.ones(2, 3)}])
    with prefetched(batches, "cpu") as found:
        assert found is batches


def test_what_is_made_on_the_device_is_not_drawn_ahead() -> None:
    drawn_so_far: list[int] = []

    def given() -> Iterator[dict[str, torch.Tensor]]:
        for number in range(4):
            drawn_so_far.append(number)
            yield {"final": torch.full((2, 3), number)}

    def ahead() -> Iterator[dict[str, torch.Tensor]]:
        yield {"final": torch.zeros(7)}

    for number, batch in enumerate(from_first(given(), ahead(), "cpu")):
        assert int(batch["final"][0, 0]) == number
        assert drawn_so_far == list(range(number + 1))
    assert number == 3
    drawn_so_far.clear()
    moved, other = from_first(given(), ahead(), "meta")
    assert moved["final"].device.type == "meta"
    assert moved["final"].shape == (2, 3)
    assert other["final"].shape == (7,)
    assert drawn_so_far == [0]


class There:
    """What there is to know of a tensor on a card."""

    def __init__(self, device: str) -> None:
        self.device = torch.device(device)

    def to(self, device: str) -> There:
        return There(device)


def test_what_is_made_on_another_card_is_not_drawn_ahead() -> None:
    given: Any = ({"final": There("cuda:1")} for _ in range(3))
    batches = list(from_first(given, iter([{"final": torch.zeros(7)}]), "cuda:0"))
    assert [str(batch["final"].device) for batch in batches] == ["cuda:0", "cuda:1", "cuda:1"]


def test_where_there_are_no_batches_none_is_drawn() -> None:
    ahead = iter([{"final": torch.zeros(7)}])
    assert list(from_first(iter([]), ahead, "meta")) == []
