"""One feature of an atlas: what is known of it, and the edits that it offers."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any, cast

from inscape.core import InputError, LabelOf, no_label, quoted, tokens_as_label, with_signs
from inscape.dictionary import Dictionary
from inscape.features import Example, FeatureIndex
from inscape.intervention import FeatureEdit
from inscape.intervention.edits import FeatureMode
from inscape.labels import Label
from inscape.storage import Pictured, plain

SCHEMA = "inscape.feature/2"


@dataclass(frozen=True)
class Feature(Pictured):
    """A feature, written `dictionary/index`.

    Attributes:
        label: its name in words, where it has one.
        features: the index of its dictionary; without one the statistics are None.
        atlas: the folder of its atlas.
        about: its label with kind and scores; names: of the features near it.
    """

    dictionary: Dictionary = field(repr=False)
    index: int
    label: str | None
    features: FeatureIndex | None = field(repr=False)
    atlas: Path = field(default=Path("ATLAS"), repr=False)
    about: Label | None = field(default=None, repr=False)
    names: LabelOf = field(default=no_label, repr=False)

    def __repr__(self) -> str:
        return f"Feature({self.id!r}, label={self.label!r})"

    @property
    def id(self) -> str:
        """dictionary/index, such as resid_post.14/692."""
        return f"{self.dictionary.name}/{self.index}"

    @property
    def density(self) -> float | None:
        """The fraction of tokens that it is active on."""
        return None if self.features is None else float(self.features.density[self.index])

    @property
    def max(self) -> float | None:
        """Its largest activation on the indexed text; 0 if it was never active."""
        return None if self.features is None else float(self.features.max[self.index])

    @property
    def promoted(self) -> list[tuple[str, float]]:
        """Tokens that its direction raises most, with the logits per unit of activation."""
        return [] if self.features is None else self.features.promoted(self.index)

    @property
    def suppressed(self) -> list[tuple[str, float]]:
        """Tokens that its direction lowers most, likewise."""
        return [] if self.features is None else self.features.suppressed(self.index)

    @property
    def tokens(self) -> list[str]:
        """The tokens that it is most active on."""
        return [] if self.features is None else self.features.peak_tokens(self.index)

    @property
    def shown(self) -> str:
        """Its label, else the tokens that it is most active on, said to be tokens."""
        return self.label or tokens_as_label(self.tokens) or "(no label)"

    @property
    def examples(self) -> list[Example]:
        """Where it is most active, strongest first."""
        return [] if self.features is None else self.features.top(self.index)

    # Edits, in units of the largest activation

    def add(self, strength: float = 1.0) -> FeatureEdit:
        """Adds `strength` × its largest activation at every position."""
        return self.edit("add", strength)

    def clamp(self, strength: float = 1.0) -> FeatureEdit:
        """Holds it at `strength` × its largest activation."""
        return self.edit("clamp", strength)

    def scale(self, factor: float) -> FeatureEdit:
        """Multiplies its activation."""
        return self.edit("scale", factor)

    def ablate(self) -> FeatureEdit:
        """Removes it."""
        return self.edit("ablate", 0.0)

    def edit(self, mode: str, strength: float) -> FeatureEdit:
        """An edit whose strength counts in the feature's largest activation.

        Raises:
            InputError: an unknown mode; or that unit is needed and unknown (not indexed) or zero
                (never active on the indexed text).
        """
        unit = self.max if mode in ("add", "clamp") else 1.0
        if unit is None:
            raise InputError(
                f"{self.id} is not indexed, so its largest activation is unknown",
                expected="an index, since strengths count in units of it",
                next_step=self._to_index,
            )
        if unit == 0:
            raise InputError(
                f"{self.id} was never active on the indexed text",
                expected="a feature that is, since strengths count in its largest activation",
                next_step="choose another feature, or index a longer text",
            )
        return FeatureEdit(
            self.dictionary, self.index, cast(FeatureMode, mode), strength, unit=unit
        )

    @property
    def _to_index(self) -> str:
        return f"run: inscape index {self.atlas} --dictionary {self.dictionary.name} --text TEXT"

    @property
    def neighbours(self) -> list[tuple[str, str | None, float]]:
        """Features with the most similar decoder direction: id, name, cosine."""
        return [] if self.features is None else self._near(self.features.neighbours(self.index))

    @property
    def coactive(self) -> list[tuple[str, str | None, float]]:
        """Features that are active on the same tokens: id, name, correlation of being active."""
        return [] if self.features is None else self._near(self.features.coactive(self.index))

    def _near(self, found: list[tuple[int, float]]) -> list[tuple[str, str | None, float]]:
        name = self.dictionary.name
        return [(f"{name}/{other}", self.names(name, other), value) for other, value in found]

    def to_json(self) -> dict[str, Any]:
        """Plain values; examples as text with the strongest token, its activation, and the interval
        of strength that they are drawn from (None: the strongest of all)."""
        return {
            "schema": SCHEMA,
            "id": self.id,
            "label": self.label,
            "about": None if self.about is None else plain(self.about),
            "tokens": self.tokens,
            "density": self.density,
            "max": self.max,
            "promoted": self.promoted,
            "suppressed": self.suppressed,
            "neighbours": self.neighbours,
            "coactive": self.coactive,
            "examples": [
                {
                    "text": "".join(e.tokens),
                    "token": e.tokens[e.shown_peak],
                    "activation": e.value,
                    "interval": e.quantile,
                }
                for e in ([] if self.features is None else self.features.examples(self.index))
            ],
        }

    def summary(self) -> str:
        """What is known of it in a few lines."""
        lines = [f"{self.id}  {self.shown}", *self._naming()]
        if self.features is None:
            lines.append(f"not indexed, so it is not known where it is active; {self._to_index}")
        if self.density is not None:
            lines.append(f"active on {self.density:.3%} of tokens, at most {self.max:.3g}")
        for word, effects in (("raises", self.promoted), ("lowers", self.suppressed)):
            if effects:
                lines.append(f"{word} " + " ".join(quoted(token) for token, _ in effects[:8]))
        for e in self.examples[:5]:
            tokens = list(e.tokens)
            tokens[e.shown_peak] = f"[{tokens[e.shown_peak]}]"
            lines.append(f"{e.value:8.3g}  " + with_signs("".join(tokens)))
        for title, found in (
            ("points the same way as (cosine)", self.neighbours),
            ("active together with (correlation)", self.coactive),
        ):
            lines += [f"{title}:"] * bool(found)
            lines += [f"{value:8.2f}  {id}  {name or ''}".rstrip() for id, name, value in found[:4]]
        return "\n".join(lines)

    def _naming(self) -> list[str]:
        """What its label claims, and how well that was confirmed."""
        label = self.about
        if label is None:
            return []
        if label.kind == "unclear":
            return ["no name: none that was tried tells where it is active from elsewhere"]
        if not isfinite(label.auroc):
            return [f"name: of kind {label.kind}, by {label.source}, not scored"]
        near = f", {label.auroc_near:.0%} beside near ones" * isfinite(label.auroc_near)
        return [
            f"name: of kind {label.kind}, by {label.source}; picks the passage where it is active "
            f"in {label.auroc:.0%} ({label.low:.0%} to {label.high:.0%}) of pairs with a random "
            f"one{near}; chance is 50%"
        ]
