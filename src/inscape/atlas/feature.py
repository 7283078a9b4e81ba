"""One feature of an atlas: what is known of it, and the edits that it offers."""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape
from typing import Any

from inscape.core import InputError
from inscape.dictionary import Dictionary
from inscape.features import Example, FeatureIndex
from inscape.intervention import FeatureEdit

SCHEMA = "inscape.feature/1"


@dataclass(frozen=True)
class Feature:
    """A feature, written `dictionary/index`; statistics are None where it is not indexed.

    Attributes:
        id: such as resid_post.14/692.
        label: its name in words, where it has one.
        density: the fraction of tokens that it is active on.
        max: its largest activation on the indexed text.
        promoted, suppressed: tokens that its direction raises and lowers most, with the direct
            logit effect per unit of activation.
    """

    dictionary: Dictionary = field(repr=False)
    index: int
    label: str | None
    features: FeatureIndex | None = field(repr=False)

    @property
    def id(self) -> str:
        """dictionary/index."""
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
        """Tokens that it raises most."""
        return [] if self.features is None else self.features.promoted(self.index)

    @property
    def suppressed(self) -> list[tuple[str, float]]:
        """Tokens that it lowers most."""
        return [] if self.features is None else self.features.suppressed(self.index)

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
        unit = 1.0
        if mode in ("add", "clamp"):
            if self.max is None:
                raise InputError(
                    f"{self.id} is not indexed, so its largest activation is unknown",
                    expected="an index, since strengths count in units of it",
                    next_step=f"run: inscape index ATLAS --dictionary {self.dictionary.name} "
                    "--text TEXT",
                )
            if self.max == 0:
                raise InputError(
                    f"{self.id} was never active on the indexed text",
                    expected="a feature that is, since strengths count in its largest activation",
                    next_step="choose another feature, or index a longer text",
                )
            unit = self.max
        return FeatureEdit(self.dictionary, self.index, mode, strength, unit=unit)  # type: ignore[arg-type]

    def to_json(self) -> dict[str, Any]:
        """Plain values; examples as text with the strongest token and its activation."""
        return {
            "schema": SCHEMA,
            "id": self.id,
            "label": self.label,
            "density": self.density,
            "max": self.max,
            "promoted": self.promoted,
            "suppressed": self.suppressed,
            "examples": [
                {"text": "".join(e.tokens), "token": e.tokens[e.peak], "activation": e.value}
                for e in self.examples
            ],
        }

    def summary(self) -> str:
        """What is known of it in a few lines."""
        lines = [f"{self.id}  {self.label or '(no label)'}"]
        if self.density is not None:
            lines.append(f"active on {self.density:.3%} of tokens, at most {self.max:.3g}")
        for word, effects in (("raises", self.promoted), ("lowers", self.suppressed)):
            if effects:
                lines.append(f"{word} " + " ".join(repr(token) for token, _ in effects[:8]))
        for e in self.examples[:5]:
            parts = [*e.tokens[: e.peak], f"[{e.tokens[e.peak]}]", *e.tokens[e.peak + 1 :]]
            lines.append(f"{e.value:8.3g}  " + "".join(parts).replace("\n", "⏎"))
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return f"<pre>{escape(self.summary())}</pre>"
