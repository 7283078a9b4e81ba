"""How labels of features are looked up wherever they are shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

LabelOf: TypeAlias = Callable[[str, int], str | None]
"""From a dictionary's name and a feature's number to its label, None without one. Asked when a
result is shown, so that a new label shows in old results too (`Atlas.feature_label`)."""


def no_label(dictionary: str, feature: int) -> str | None:
    """Where there are no labels."""
    return None
