"""The features of a prompt, token by token, to be looked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from inscape.core import whole
from inscape.dictionary.code import Code

SHOWN = 5


@dataclass(frozen=True)
class TokenFeatures:
    """Tokens × features: a row of the code for each token.

    dictionary: the dictionary's name, as in name/feature. tokens [pos]: each token as text.
    counted [pos]: which are words (not special, not of a template, no attention sink).
    """

    dictionary: str
    tokens: Sequence[str]
    counted: Sequence[bool]
    code: Code

    def at(self, position: int, k: int | None = None) -> list[tuple[int, float]]:
        """(feature, activation) of one token, strongest first; the k strongest, or all."""
        position = whole(position, "position", -len(self.code), len(self.code) - 1)
        indices, values = self.code.indices[position].tolist(), self.code.values[position].tolist()
        return [(f, v) for f, v in zip(indices, values, strict=True) if v][:k]

    def top(self, k: int = SHOWN) -> list[tuple[int, float, int]]:
        """(feature, largest activation, position of it) of the k strongest features, each once,
        over the tokens that count."""
        best: dict[int, tuple[float, int]] = {}
        for position, counts in enumerate(self.counted):
            for feature, value in self.at(position) if counts else ():
                best[feature] = max(best.get(feature, (value, position)), (value, position))
        strongest = sorted(best.items(), key=lambda item: -item[1][0])[:k]
        return [(feature, value, position) for feature, (value, position) in strongest]

    def _rows(self) -> list[tuple[str, list[str]]]:
        tokens = zip(self.tokens, self.counted, strict=True)
        return [
            (token, [f"{f} ({v:.3g})" for f, v in self.at(n, SHOWN)] if counts else [])
            for n, (token, counts) in enumerate(tokens)
        ]

    def __repr__(self) -> str:
        lines = [f"{token!r:<16} {'  '.join(found)}".rstrip() for token, found in self._rows()]
        return "\n".join([f"{self.dictionary}: the strongest features of each token", *lines])

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td><code>{escape(repr(token))}</code></td>"
            + "".join(f"<td>{escape(one)}</td>" for one in found)
            + "</tr>"
            for token, found in self._rows()
        )
        return f"<table><caption>{escape(self.dictionary)}</caption>{rows}</table>"
