"""Which kernels serve a call: the fastest that can, or plain torch where that was asked for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from inscape.core import InputError

Choice = Literal["auto", "plain"]
CHOICES: tuple[Choice, ...] = ("auto", "plain")
_asked: list[str] = ["auto"]


@contextmanager
def use_kernels(choice: str) -> Iterator[None]:
    """Within it, "auto" takes the fastest kernels that can serve, "plain" the references alone.

    Raises:
        InputError: another word.
    """
    if choice not in CHOICES:
        raise InputError(f"kernels {choice!r}", expected=" or ".join(CHOICES))
    _asked.append(choice)
    try:
        yield
    finally:
        _asked.pop()


def fast() -> bool:
    """Whether fast kernels may be used."""
    return _asked[-1] == "auto"
