"""Replaces what a site holds by a dictionary's reconstruction, by zero, or by a constant.

Positions that do not count keep the model's own activations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from inscape.core import InputError, all_of
from inscape.dictionary import Dictionary
from inscape.intervention.hooks import Intervention, hooks
from inscape.model import Model, Pass, PositionEdit, Site


def splice(
    model: Model, dictionaries: Dictionary | Sequence[Dictionary]
) -> dict[Site, PositionEdit]:
    """Edits that put reconstructions in place of what the model writes.

    Several dictionaries are spliced in together; a later one reads what the earlier ones left.
    The result holds state of the pass that it is in: use it for one pass at a time.
    Raises InputError when two dictionaries write one site.
    """
    chosen = as_list(dictionaries)
    written = [model.site(site) for d in chosen for site in d.writes]
    for site in written:
        if written.count(site) > 1:
            raise InputError(f"two dictionaries write {site}", expected="one for each site")
    return hooks(model, map(_Reconstruction, chosen))


def replace_by(
    model: Model, values: Mapping[Site, Float[Tensor, " d_model"] | float]
) -> dict[Site, PositionEdit]:
    """Edits that put a constant at each site (0.0: zero ablation; the mean: mean ablation)."""

    def edit(value: Tensor | float) -> PositionEdit:
        def apply(x: Float[Tensor, "batch pos d_model"], now: Pass) -> Tensor:
            new = torch.as_tensor(value, dtype=x.dtype, device=x.device).expand_as(x)
            return torch.where(now.here.to(x.device)[..., None], new, x)

        return PositionEdit(apply)

    return {site: edit(value) for site, value in values.items()}


def as_list(dictionaries: Dictionary | Sequence[Dictionary]) -> list[Dictionary]:
    """One dictionary or several, as a list; InputError for none."""
    chosen = all_of(Dictionary, dictionaries, "a dictionary")
    if not chosen:
        raise InputError("no dictionary was given", expected="one or more")
    return chosen


class _Reconstruction(Intervention):
    def rows(self, x: Tensor, now: Pass) -> Tensor:
        return x[now.here.to(x.device)]

    def change(self, site: str, x: Tensor, now: Pass) -> Tensor:
        x = x.clone()
        found = self.dictionary.write(site, self.code(now), self.read(site, now))
        x[now.here.to(x.device)] = found.to(x)
        return x
