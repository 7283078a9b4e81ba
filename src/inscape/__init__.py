"""inscape shows what a language model is thinking, where it goes wrong, and what to change.

Importing this package loads nothing heavy; each public name is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from inscape.activations.harvest import harvest
    from inscape.atlas import Atlas, BuildConfig, Feature, build
    from inscape.atlas.quality import quality
    from inscape.attribution import Graph
    from inscape.attribution.attention import explain_attention
    from inscape.attribution.trace import trace
    from inscape.attribution.trajectory import trajectory
    from inscape.circuits import read_set
    from inscape.circuits.circuit import circuit
    from inscape.diagnosis import Case
    from inscape.diagnosis.diagnose import diagnose
    from inscape.dictionary import Dictionary
    from inscape.exchange import export_dictionary, import_dictionary
    from inscape.features import FeatureIndex
    from inscape.intervention import DirectionEdit, FeatureEdit, Repair, edited, steer
    from inscape.labels import label
    from inscape.model import Model
    from inscape.training import TrainConfig, train
    from inscape.training.sweep import sweep

__version__ = "0.1.0"

__all__ = [
    "Atlas",
    "BuildConfig",
    "Case",
    "Dictionary",
    "DirectionEdit",
    "Feature",
    "FeatureEdit",
    "FeatureIndex",
    "Graph",
    "Model",
    "Repair",
    "TrainConfig",
    "__version__",
    "build",
    "circuit",
    "diagnose",
    "edited",
    "explain_attention",
    "export_dictionary",
    "harvest",
    "import_dictionary",
    "label",
    "quality",
    "read_set",
    "steer",
    "sweep",
    "trace",
    "train",
    "trajectory",
]

_ROOMS = {
    "activations": "harvest",
    "atlas": "Atlas BuildConfig Feature build quality",
    "attribution": "Graph explain_attention trace trajectory",
    "circuits": "circuit read_set",
    "diagnosis": "Case diagnose",
    "exchange": "Dictionary export_dictionary import_dictionary",  # it opens published ones too
    "features": "FeatureIndex",
    "intervention": "DirectionEdit FeatureEdit Repair edited steer",
    "labels": "label",
    "model": "Model",
    "training": "TrainConfig sweep train",
}
_ROOM_OF = {name: room for room, names in _ROOMS.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    if name not in _ROOM_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_ROOM_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
