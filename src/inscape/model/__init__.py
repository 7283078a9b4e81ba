"""Opens language models; reads and edits their sites; stops early; linearises."""

from inscape.model.adapters import Adapter, adapter_for
from inscape.model.answers import Answer
from inscape.model.forward import Edit, PositionEdit
from inscape.model.inputs import Inputs, Pass, Run
from inscape.model.linear import Looking
from inscape.model.model import Model
from inscape.model.prompt import Prompt, Source, counterparts, find_sinks
from inscape.model.sites import KINDS, Site
from inscape.model.structure import Block

__all__ = [
    "KINDS",
    "Adapter",
    "Answer",
    "Block",
    "Edit",
    "Inputs",
    "Looking",
    "Model",
    "Pass",
    "PositionEdit",
    "Prompt",
    "Run",
    "Site",
    "Source",
    "adapter_for",
    "counterparts",
    "find_sinks",
]
