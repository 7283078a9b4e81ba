"""Opens language models; reads and edits their sites; stops early; linearises."""

from inscape.model.adapters import Adapter, adapter_for
from inscape.model.forward import Edit, PositionEdit
from inscape.model.images import Inputs
from inscape.model.model import Model, Run
from inscape.model.sites import KINDS, Site
from inscape.model.structure import Block, Structure

__all__ = [
    "KINDS",
    "Adapter",
    "Block",
    "Edit",
    "Inputs",
    "Model",
    "PositionEdit",
    "Run",
    "Site",
    "Structure",
    "adapter_for",
]
