"""How labels of features are looked up wherever they are shown."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeAlias

LabelOf: TypeAlias = Callable[[str, int], str | None]
"""From a dictionary's name and a feature's number to its label, None without one. Asked when a
result is shown, so that a new label shows in old results too (`Atlas.feature_label`)."""


def no_label(dictionary: str, feature: int) -> str | None:
    """Where there are no labels."""
    return None


def tokens_as_label(tokens: Iterable[str]) -> str | None:
    """What is shown in place of a missing label: the tokens that a feature is most active on, said
    to be tokens, so that they do not pass for a name; None without any."""
    listed = ", ".join(map(repr, tokens))
    return f"tokens: {listed}" if listed else None
