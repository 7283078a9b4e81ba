"""What a system of features has to offer to be scored, whatever library made it.

A system reads one site of the model and says, for each token, which of its features are active and
how strongly. To score a sparse autoencoder of another library, wrap it in ten lines:

    class Foreign:
        name, site, num_features = "mine", "resid_post.1", 4096

        def encode(self, x):                         # [n, d_model] -> the active entries
            return entries(my_sae.encode(x))         # my_sae gives a dense [n, 4096]

        def direction(self, feature):                # what the feature writes, [d_model]
            return my_sae.W_dec[feature]

    scored = run_documents(model, benchmark_documents(), [Foreign.site])
    matches = match_concepts(scored, encode(scored, Foreign()))

A system that writes another site than it reads (a transcoder, the neurons of an MLP) also has an
attribute `site_out`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from inscape.dictionary import Dictionary

Entries = tuple[Tensor, Tensor, Tensor]
"""(rows, features, values) of the active entries: int64, int64 and floating [entries], each pair
of row and feature at most once, rows ascending, values > 0."""


class Features(Protocol):
    """A system of features over one site of a model."""

    @property
    def name(self) -> str:
        """What the tables call it."""
        ...

    @property
    def site(self) -> str:
        """Where it reads, as in "resid_post.1"."""
        ...

    @property
    def num_features(self) -> int:
        """How many features it has; they are numbered from 0."""
        ...

    def encode(self, x: Float[Tensor, "n d_model"]) -> Entries:
        """The active entries on n tokens (float32)."""
        ...

    def direction(self, feature: int) -> Float[Tensor, " d_model"]:
        """What one unit of the feature adds at `site` (at `site_out`, where there is one)."""
        ...


def written_site(system: Features) -> str:
    """The site at which the system's directions are added."""
    return str(getattr(system, "site_out", system.site))


def entries(values: Float[Tensor, "n features"]) -> Entries:
    """The positive entries of dense activations."""
    rows, features = (values > 0).nonzero(as_tuple=True)
    return rows, features, values[rows, features]


def signed_entries(values: Float[Tensor, "n units"]) -> Entries:
    """Each unit as two features: unit u where it is positive, u + units where it is negative."""
    rows, units = values.nonzero(as_tuple=True)
    kept = values[rows, units]
    return rows, units + values.shape[1] * (kept < 0), kept.abs()


def signed_direction(directions: Float[Tensor, "units d_model"], feature: int) -> Tensor:
    """The direction of a feature that `signed_entries` numbers."""
    count = directions.shape[0]
    return directions[feature] if feature < count else -directions[feature - count]


@dataclass(frozen=True, eq=False)
class DictionaryFeatures:
    """A dictionary of inscape as a system."""

    dictionary: Dictionary

    @property
    def name(self) -> str:
        """The dictionary's name."""
        return self.dictionary.name

    @property
    def site(self) -> str:
        """The site that the dictionary reads."""
        return self.dictionary.config.site_in

    @property
    def site_out(self) -> str:
        """The site that the dictionary writes."""
        return self.dictionary.config.site_out

    @property
    def num_features(self) -> int:
        """d_dict."""
        return self.dictionary.d_dict

    @torch.no_grad()
    def encode(self, x: Float[Tensor, "n d_model"]) -> Entries:
        """The active entries on n tokens."""
        code = self.dictionary.encode(x)
        rows, slots = code.active.nonzero(as_tuple=True)
        return rows, code.indices[rows, slots], code.values[rows, slots]

    def direction(self, feature: int) -> Float[Tensor, " d_model"]:
        """The feature's decoder row."""
        return self.dictionary.W_dec[feature]
