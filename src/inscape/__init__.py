"""inscape shows what a language model is thinking, where it goes wrong, and what to change.

Importing this package loads nothing heavy; each public name is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from inscape.activations.harvest import harvest
    from inscape.atlas import Atlas
    from inscape.attribution.trace import trace
    from inscape.diagnosis.diagnose import diagnose
    from inscape.dictionary import Dictionary
    from inscape.features import FeatureIndex
    from inscape.intervention import steer
    from inscape.labels import label
    from inscape.model import Model
    from inscape.training import train

__version__ = "0.1.0"

__all__ = [
    "Atlas",
    "Dictionary",
    "FeatureIndex",
    "Model",
    "__version__",
    "diagnose",
    "harvest",
    "label",
    "steer",
    "trace",
    "train",
]

_ROOM_OF = {
    "Atlas": "atlas",
    "Dictionary": "exchange",  # which opens published formats too
    "FeatureIndex": "features",
    "Model": "model",
    "diagnose": "diagnosis",
    "harvest": "activations",
    "label": "labels",
    "steer": "intervention",
    "trace": "attribution",
    "train": "training",
}


def __getattr__(name: str) -> Any:
    if name not in _ROOM_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_ROOM_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
