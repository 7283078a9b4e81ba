"""What is said by name of model families; whatever is not said is found by inspection.

Another package adds a family by an entry point of the group `inscape.adapters`, whose
name is the `model_type` and which loads to an `Adapter`.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import entry_points

from inscape.core import ModelError
from inscape.model.adapters.base import Adapter

ENTRY_POINT_GROUP = "inscape.adapters"

_OWN = {adapter.model_type: adapter for adapter in (Adapter(model_type="llava", images=True),)}


@cache
def _foreign(model_type: str) -> Adapter | None:
    for point in entry_points(group=ENTRY_POINT_GROUP, name=model_type):
        adapter = point.load()
        if not isinstance(adapter, Adapter):
            raise ModelError(
                f"the entry point {point.value!r} for {model_type!r} is no adapter",
                expected="an inscape.model.adapters.Adapter",
            )
        return adapter
    return None


def adapter_for(model_type: str) -> Adapter:
    """The adapter of the family `model_type`: another package's, else ours, else one that
    leaves everything to inspection."""
    return _foreign(model_type) or _OWN.get(model_type) or Adapter(model_type=model_type)


__all__ = ["ENTRY_POINT_GROUP", "Adapter", "adapter_for"]
