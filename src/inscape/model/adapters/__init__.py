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

_POWERS = ("pow", "__pow__", "sqrt")
_OWN = (
    Adapter(model_type="llava", images=True),
    # Four streams mixed by tanh gates, brought to one magnitude at the end; gates of per-layer
    # embeddings (gelu) add a part that is no MLP.
    Adapter(
        model_type="gemma3n_text",
        adds=False,
        lane="altup_active_idx",
        held=("tanh", "gelu", *_POWERS),
    ),
    Adapter(model_type="gemma4_text", adds=False, held=("gelu",)),
)


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


def adapter_for(model_type: str, text_type: str | None = None) -> Adapter:
    """The adapter of the family `model_type`, or of its language model's (`text_type`): another
    package's, else ours, else one that leaves everything to inspection."""
    own = {adapter.model_type: adapter for adapter in _OWN}
    for name in (model_type, text_type):
        if name is not None and (found := _foreign(name) or own.get(name)):
            return found
    return Adapter(model_type=model_type)


__all__ = ["ENTRY_POINT_GROUP", "Adapter", "adapter_for"]
