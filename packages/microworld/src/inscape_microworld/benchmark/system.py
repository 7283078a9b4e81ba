"""What is scored: a model with its dictionaries. Dictionaries of other origin fit in as well."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from inscape.core import LabelOf, no_label
from inscape.dictionary import Dictionary
from inscape.features import FeatureIndex
from inscape.model import Model


@dataclass(frozen=True)
class System:
    """A model, a dictionary of its residual stream with its index, and transcoders by layer."""

    model: Model
    residual: Dictionary
    index: FeatureIndex
    transcoders: Mapping[int, Dictionary] = field(default_factory=dict)
    label: LabelOf = no_label

    @property
    def dictionaries(self) -> list[Dictionary]:
        """All dictionaries, the residual one first."""
        return [self.residual, *self.transcoders.values()]

    @property
    def site(self) -> str:
        """The site of the residual dictionary."""
        return self.residual.config.site_in
