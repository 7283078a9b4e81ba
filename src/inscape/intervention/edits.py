"""Edits of features and directions while a model runs.

1. Capture what the dictionary reads in this very pass, so that what earlier edits changed is seen
   (a crosscoder, whose code rests on later sites too, is read in a pass without edits).
2. Encode it; the old value of a feature is its value there (0 where it is not among the active).
3. The new value follows from the mode: ablate 0; clamp v·u; add old + v·u; scale old·v, with v
   the edit's value and u its unit (the feature's observed maximum, or 1).
4. At each site that is written: x + Σ (new − old)·W_dec[f]. The dictionary's error term stays as it
   is. Since W_enc[f]·W_dec[f] is rarely 1, encoding the result again need not give the new value:
   an ablated feature may still read as active.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from inscape.core import InputError, all_of, finite_number, short, whole
from inscape.dictionary import Dictionary
from inscape.intervention.hooks import Intervention, Step, hooks
from inscape.model import Model, Pass, PositionEdit, Site

FeatureMode = Literal["ablate", "clamp", "add", "scale"]
DirectionMode = Literal["add", "ablate", "clamp"]


class Edit:
    """A change while a model runs; `str(edit)` says it, as in "clamp resid_post.14/692 to 30"."""

    mode: str
    value: float
    positions: Sequence[int] | None

    def _check(self, modes: tuple[str, ...], unit: float = 1.0) -> None:
        """InputError for another mode, a strength that is no finite number, odd positions."""
        if self.mode not in modes:
            raise InputError(f"mode {short(self.mode)}", expected=" or ".join(modes))
        strength = finite_number(self.value, "a strength") * finite_number(unit, "a unit")
        finite_number(strength, "a strength")
        if not isinstance(self.positions, Iterable | None):
            raise InputError(f"positions {short(self.positions)}", expected="a list of them")
        for position in self.positions or ():
            whole(position, "position")


@dataclass(frozen=True)
class FeatureEdit(Edit):
    """A change to one feature of a dictionary.

    mode: ablate (to 0), clamp (to value·unit), add (value·unit), scale (times value).
    unit: what `value` counts in: pass the feature's observed maximum for strengths in units of
        it (1: raw activations; without effect on ablate and scale).
    positions: token positions to edit (negative ones count from the end of the sequence);
        None: all that count (no special or template tokens, no attention sinks).
    """

    dictionary: Dictionary
    feature: int
    mode: FeatureMode
    value: float = 0.0
    positions: Sequence[int] | None = None
    unit: float = 1.0

    def __post_init__(self) -> None:
        all_of(Dictionary, [self.dictionary], "the dictionary of an edit")
        self._check(get_args(FeatureMode), self.unit)
        name = self.dictionary.name
        whole(self.feature, f"{name} has no feature", 0, self.dictionary.d_dict - 1)
        if self.unit == 0 and self.mode in ("clamp", "add"):
            raise InputError(
                f"{name}/{self.feature} never fired in the text that it was "
                "measured on: a strength in units of its maximum, 0, changes nothing",
                next_step="choose a feature that fires; in Python, unit=1 takes plain activations",
            )

    def __str__(self) -> str:
        name = f"{self.dictionary.name}/{self.feature}"
        return {
            "ablate": f"ablate {name}",
            "clamp": f"clamp {name} to {self.value * self.unit:.3g}",
            "add": f"add {self.value * self.unit:.3g} of {name}",
            "scale": f"scale {name} by {self.value:.3g}",
        }[self.mode]

    def new(self, old: Tensor) -> Tensor:
        """The feature's new activations from its old ones (any shape)."""
        if self.mode == "ablate":
            return torch.zeros_like(old)
        if self.mode == "clamp":
            return torch.full_like(old, self.value * self.unit)
        return old + self.value * self.unit if self.mode == "add" else old * self.value


@dataclass(frozen=True, eq=False)
class DirectionEdit(Edit):
    """A change along one direction of a site: the plain baseline for feature edits.

    mode: add (value·vector to every position), ablate (projects the direction out), clamp (sets
    the component along vector/‖vector‖ to value·‖vector‖).
    """

    site: str
    vector: Float[Tensor, " d_model"]
    value: float = 1.0
    mode: DirectionMode = "add"
    positions: Sequence[int] | None = None

    def __post_init__(self) -> None:
        all_of(Tensor, [self.vector], "the vector of a direction")
        self._check(get_args(DirectionMode))

    def __str__(self) -> str:
        return f"{self.mode} a direction at {self.site}, strength {self.value:.3g}"


def edits(model: Model, changes: Sequence[Edit]) -> dict[Site, PositionEdit]:
    """What `Model.run` and `Model.generate` take as `edits`, for these changes together.

    Changes of several dictionaries and directions may be mixed; those of one dictionary share one
    encoding, several changes of one feature are applied in their order. The functions hold state
    of the pass that they are in: use one result for one pass at a time.
    Raises InputError for what is no edit and for a direction of the wrong width, SiteError for an
    unknown site.
    """
    changes = all_of(Edit, changes, "an edit")
    by_dictionary: dict[int, list[FeatureEdit]] = defaultdict(list)
    directions: list[tuple[Site, Step]] = []
    for change in changes:
        if isinstance(change, FeatureEdit):
            by_dictionary[id(change.dictionary)].append(change)
        elif isinstance(change, DirectionEdit):
            directions.append((model.site(change.site), _direction(model, change)))
    # Positions from the end move with every new token: such edits see the whole text each time.
    fixed = all(position >= 0 for change in changes for position in change.positions or ())
    return hooks(model, map(_FeatureEdits, by_dictionary.values()), directions, fixed=fixed)


def touched(positions: Sequence[int] | None, now: Pass) -> Bool[Tensor, "batch new"]:
    """Which positions of this pass an edit touches: those asked for, or all that count.

    Raises:
        InputError: a position that the text will not come to have.
    """
    if positions is None:
        return now.here
    total = now.counted.shape[1]
    mask = torch.zeros_like(now.counted)
    for position in positions:
        if not -now.length <= position < now.length:
            raise InputError(
                f"position {position} of a text of {now.length} tokens",
                expected=f"{-now.length} to {now.length - 1}",
            )
        if -total <= position < total:
            mask[:, position] = True
    return mask[:, now.offset :]


class _FeatureEdits(Intervention):
    """The edits of one dictionary."""

    def __init__(self, changes: Sequence[FeatureEdit]) -> None:
        super().__init__(changes[0].dictionary)
        self.changes = changes

    def change(self, site: str, x: Tensor, now: Pass) -> Tensor:
        needed = any(change.mode != "add" for change in self.changes)
        code = self.code(now) if needed else None
        values: dict[int, tuple[Tensor, Tensor]] = {}
        for change in self.changes:
            feature, old = change.feature, x.new_zeros(x.shape[:2], dtype=torch.float32)
            if code is not None:
                old = code.of(feature).reshape(old.shape).to(old)
            _, new = values.get(feature, (old, old))
            mask = touched(change.positions, now).to(x.device)
            values[feature] = (old, torch.where(mask, change.new(new), new))
        chosen = torch.tensor(list(values), device=self.dictionary.device)
        decoder = self.dictionary.decoder_at(site, chosen).to(x.device, torch.float32)
        delta = torch.stack([new - old for old, new in values.values()], -1)
        return x + (delta @ decoder).to(x.dtype)


def _direction(model: Model, change: DirectionEdit) -> Step:
    width = model.width(change.site)
    if tuple(change.vector.shape) != (width,) or not bool(change.vector.isfinite().all()):
        raise InputError(
            f"a direction of shape {tuple(change.vector.shape)} at {change.site}",
            expected=f"a vector of width {width}, its values finite",
        )
    norm = float(change.vector.float().norm())
    if norm == 0 and change.mode != "add":
        raise InputError("a direction of length zero", expected="a vector that is not zero")

    def apply(x: Float[Tensor, "batch pos d_model"], now: Pass) -> Tensor:
        vector = change.vector.to(device=x.device, dtype=torch.float32)
        mask = touched(change.positions, now).to(x.device)[..., None]
        if change.mode == "add":
            delta = (change.value * vector).expand(x.shape)
        else:
            wanted = 0.0 if change.mode == "ablate" else change.value * norm
            delta = (wanted - x.float() @ vector / norm)[..., None] * vector / norm
        return x + (delta * mask).to(x.dtype)

    return apply
