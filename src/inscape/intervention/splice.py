"""Replaces what a site holds by a dictionary's reconstruction, by zero, or by a constant."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from inscape.core import InputError
from inscape.dictionary import Dictionary
from inscape.intervention.edits import SiteEdit, default_keep
from inscape.model import Model, Site


def splice(
    model: Model,
    dictionaries: Dictionary | Sequence[Dictionary],
    *,
    keep: Bool[Tensor, "batch pos"] | None = None,
) -> dict[Site, SiteEdit]:
    """Edits that put reconstructions in place of what the model writes.

    Several dictionaries are spliced in together; a later one reads what the earlier ones left.
    keep: tokens whose activations stay the model's own (default: the first position of a model
        with a beginning-of-text token).
    The result holds state of the pass that it is in: use it for one pass at a time.
    Raises InputError when two dictionaries write one site.
    """
    chosen = as_list(dictionaries)
    steps: dict[Site, list[SiteEdit]] = defaultdict(list)
    written: set[Site] = set()
    for dictionary in chosen:
        site_in = model.site(dictionary.config.site_in)
        site_out = model.site(dictionary.config.site_out)
        if site_out in written:
            raise InputError(f"two dictionaries write {site_out}", expected="one for each site")
        written.add(site_out)
        step = _Reconstruct(model, dictionary, keep)
        steps[site_in].insert(0, step.capture)
        steps[site_out].append(step.write)
    return {site: _chain(functions) for site, functions in steps.items()}


def replace_by(
    model: Model,
    values: Mapping[Site, Float[Tensor, " d_model"] | float],
    *,
    keep: Bool[Tensor, "batch pos"] | None = None,
) -> dict[Site, SiteEdit]:
    """Edits that put a constant at each site (0.0: zero ablation; the mean: mean ablation)."""

    def edit(value: Tensor | float) -> SiteEdit:
        def apply(x: Float[Tensor, "batch pos d_model"]) -> Tensor:
            new = torch.as_tensor(value, dtype=x.dtype, device=x.device).expand_as(x)
            return kept(model, x, new, keep)

        return apply

    return {site: edit(value) for site, value in values.items()}


def as_list(dictionaries: Dictionary | Sequence[Dictionary]) -> list[Dictionary]:
    """One dictionary or several, as a list; InputError for none."""
    chosen = [dictionaries] if isinstance(dictionaries, Dictionary) else list(dictionaries)
    if not chosen:
        raise InputError("no dictionary was given", expected="one or more")
    return chosen


def kept(model: Model, old: Tensor, new: Tensor, keep: Tensor | None) -> Tensor:
    """`new`, but `old` where `keep` [batch, pos] says so."""
    if keep is None:
        first = default_keep(model)
        return torch.cat([old[:, :first], new[:, first:]], 1)
    return torch.where(keep.to(old.device)[..., None], old, new)


def _chain(functions: Sequence[Callable[[Tensor], Tensor]]) -> SiteEdit:
    def apply(x: Tensor) -> Tensor:
        for function in functions:
            x = function(x)
        return x

    return apply


class _Reconstruct:
    def __init__(self, model: Model, dictionary: Dictionary, keep: Tensor | None) -> None:
        self.model, self.dictionary, self.keep = model, dictionary, keep
        self.read: Tensor | None = None

    def capture(self, x: Float[Tensor, "batch pos d_in"]) -> Tensor:
        self.read = x
        return x

    def write(self, x: Float[Tensor, "batch pos d_out"]) -> Tensor:
        if self.read is None:
            raise RuntimeError("site_out was reached before site_in")
        read, self.read = self.read, None
        if self.keep is None:
            new = self.dictionary(read).to(device=x.device, dtype=x.dtype)
            return kept(self.model, x, new, None)
        at = ~self.keep
        x = x.clone()
        x[at.to(x.device)] = self.dictionary(read[at.to(read.device)]).to(x)
        return x
