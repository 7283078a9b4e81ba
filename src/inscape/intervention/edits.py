"""Edits of features and directions while a model runs.

1. Capture what the dictionary reads (`site_in`) in this very pass, so that what earlier edits
   changed is seen.
2. Encode it; the old value of a feature is its value there (0 where it is not among the active).
3. The new value follows from the mode: ablate 0; clamp v·u; add old + v·u; scale old·v, with v
   the edit's value and u its unit (the feature's observed maximum, or 1).
4. At `site_out`: x + Σ (new − old)·W_dec[f]. The dictionary's error term stays as it is.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from inscape.core import InputError
from inscape.dictionary import Code, Dictionary
from inscape.model import Model, PositionEdit, Site

SiteEdit = Callable[[Tensor], Tensor]
_Step = Callable[[Tensor, int], Tensor]
FeatureMode = Literal["ablate", "clamp", "add", "scale"]
DirectionMode = Literal["add", "ablate", "clamp"]


@dataclass(frozen=True)
class FeatureEdit:
    """A change to one feature of a dictionary.

    mode: ablate (to 0), clamp (to value·unit), add (value·unit), scale (times value).
    unit: what `value` counts in: pass the feature's observed maximum for strengths in units of
        it (1: raw activations; without effect on ablate and scale).
    positions: token positions to edit (negative ones count from the end of the sequence at hand);
        None: all but the beginning-of-text token of a model that has one.
    """

    dictionary: Dictionary
    feature: int
    mode: FeatureMode
    value: float = 0.0
    positions: Sequence[int] | None = None
    unit: float = 1.0

    def __post_init__(self) -> None:
        if self.mode not in ("ablate", "clamp", "add", "scale"):
            raise InputError(f"mode {self.mode!r}", expected="ablate, clamp, add or scale")
        if not math.isfinite(self.value):
            raise InputError(f"a strength of {self.value}", expected="a finite number")
        if not 0 <= self.feature < self.dictionary.config.d_dict:
            raise InputError(
                f"feature {self.feature} of {self.dictionary.name}",
                expected=f"0 to {self.dictionary.config.d_dict - 1}",
            )

    def with_strength(self, value: float) -> FeatureEdit:
        """The same edit at another value (for a sweep)."""
        return replace(self, value=value)

    def new(self, old: Tensor) -> Tensor:
        """The feature's new activations from its old ones (any shape)."""
        if self.mode == "ablate":
            return torch.zeros_like(old)
        if self.mode == "clamp":
            return torch.full_like(old, self.value * self.unit)
        return old + self.value * self.unit if self.mode == "add" else old * self.value


@dataclass(frozen=True, eq=False)
class DirectionEdit:
    """A change along one direction of a site: the plain baseline beside feature edits.

    mode: add (value·vector to every position), ablate (projects the direction out), clamp (sets
    the component along vector/‖vector‖ to value·‖vector‖).
    """

    site: str
    vector: Float[Tensor, " d_model"]
    value: float = 1.0
    mode: DirectionMode = "add"
    positions: Sequence[int] | None = None

    def with_strength(self, value: float) -> DirectionEdit:
        """The same edit at another value (for a sweep)."""
        return replace(self, value=value)


Edit = FeatureEdit | DirectionEdit


def edits(model: Model, changes: Sequence[Edit]) -> dict[Site, SiteEdit]:
    """What `Model.run` and `Model.generate` take as `edits`, for these changes together.

    Changes of several dictionaries and directions may be mixed; those of one dictionary share one
    encoding, several changes of one feature are applied in their order. The functions hold state
    of the pass that they are in: use one result for one pass at a time.
    Raises InputError for a direction of the wrong width, SiteError for an unknown site.
    """
    by_dictionary: dict[int, list[FeatureEdit]] = defaultdict(list)
    steps: dict[Site, list[_Step]] = defaultdict(list)
    for change in changes:
        if isinstance(change, FeatureEdit):
            by_dictionary[id(change.dictionary)].append(change)
        else:
            steps[model.site(change.site)].append(_direction(model, change))
    for group in by_dictionary.values():
        config = group[0].dictionary.config
        site_in, site_out = model.site(config.site_in), model.site(config.site_out)
        step = _FeatureStep(group, default_keep(model))
        # Reads come first: a dictionary at an edited site reads what the site held before.
        steps[site_in].insert(0, step.capture)
        steps[site_out].append(step.write)
    # Positions from the end move with every new token: such edits see the whole text each time.
    fixed = all(position >= 0 for change in changes for position in change.positions or ())
    chains = {site: PositionEdit(_chain(functions)) for site, functions in steps.items()}
    return dict(chains) if fixed else {site: partial(chain) for site, chain in chains.items()}


def default_keep(model: Model) -> int:
    """How many first positions are left alone by default: 1 with a beginning-of-text token."""
    return 0 if model.bos_id is None else 1


def position_mask(
    num_positions: int,
    positions: Sequence[int] | None,
    keep: int,
    device: torch.device,
    offset: int = 0,
) -> Bool[Tensor, " pos"]:
    """Which of the positions from `offset` on an edit touches; others than these are passed over.

    Negative positions count from the end, and need the whole sequence (offset 0).
    """
    mask = torch.zeros(num_positions, dtype=torch.bool, device=device)
    if positions is None:
        mask[max(keep - offset, 0) :] = True
        return mask
    for position in positions:
        at = position - offset if position >= 0 else position + num_positions
        if 0 <= at < num_positions:
            mask[at] = True
    return mask


def _chain(functions: Sequence[_Step]) -> _Step:
    def apply(x: Tensor, offset: int) -> Tensor:
        for function in functions:
            x = function(x, offset)
        return x

    return apply


class _FeatureStep:
    """The edits of one dictionary: `capture` at its site_in, `write` at its site_out."""

    def __init__(self, changes: Sequence[FeatureEdit], keep: int) -> None:
        self.changes, self.keep = list(changes), keep
        self.dictionary = changes[0].dictionary
        self.code: Code | None = None
        self.needs_code = any(change.mode != "add" for change in changes)

    def capture(self, x: Float[Tensor, "batch pos d_in"], offset: int = 0) -> Tensor:
        if self.needs_code:
            self.code = self.dictionary.encode(x.detach().float())
        return x

    def write(self, x: Float[Tensor, "batch pos d_out"], offset: int = 0) -> Tensor:
        batch, num_pos = int(x.shape[0]), int(x.shape[1])
        values: dict[int, tuple[Tensor, Tensor]] = {}
        for change in self.changes:
            if change.feature not in values:
                old = self._old(change.feature, batch, num_pos, x.device)
                values[change.feature] = (old, old)
            old, now = values[change.feature]
            mask = position_mask(num_pos, change.positions, self.keep, x.device, offset)
            values[change.feature] = (old, torch.where(mask, change.new(now), now))
        self.code = None
        decoder = self.dictionary.W_dec[list(values)].to(x.device, torch.float32)
        delta = torch.stack([now - old for old, now in values.values()], -1)
        return x + (delta @ decoder).to(x.dtype)

    def _old(self, feature: int, batch: int, num_pos: int, device: torch.device) -> Tensor:
        if not self.needs_code:
            return torch.zeros(batch, num_pos, device=device)
        if self.code is None:
            raise RuntimeError("site_out was reached before site_in")
        return self.code.of(feature).reshape(batch, num_pos).to(device, torch.float32)


def _direction(model: Model, change: DirectionEdit) -> _Step:
    keep = default_keep(model)
    if tuple(change.vector.shape) != (model.d_model,):
        raise InputError(
            f"a direction of shape {tuple(change.vector.shape)} at {change.site}",
            expected=f"a vector of width {model.d_model}",
        )
    norm = float(change.vector.float().norm())
    if norm == 0 and change.mode != "add":
        raise InputError("a direction of length zero", expected="a vector that is not zero")

    def apply(x: Float[Tensor, "batch pos d_model"], offset: int) -> Tensor:
        vector = change.vector.to(device=x.device, dtype=torch.float32)
        mask = position_mask(int(x.shape[1]), change.positions, keep, x.device, offset)
        if change.mode == "add":
            delta = (change.value * vector).expand(x.shape)
        else:
            wanted = 0.0 if change.mode == "ablate" else change.value * norm
            delta = (wanted - x.float() @ vector / norm)[..., None] * vector / norm
        return x + (delta * mask[:, None]).to(x.dtype)

    return apply
