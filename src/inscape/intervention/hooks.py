"""What all interventions through a dictionary share.

1. At the dictionary's `site_in` what it reads is captured, in the very pass: what earlier edits
   changed is seen. Captures come before changes of the same site.
2. At its `site_out` the value is changed, by a function of what was captured.
3. Positions that do not count (special and template tokens, attention sinks) are left alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Iterable

from jaxtyping import Float
from torch import Tensor

from inscape.dictionary import Dictionary
from inscape.model import Model, Pass, PositionEdit, Site

Step = Callable[[Tensor, Pass], Tensor]


class Intervention(ABC):
    """One dictionary's part in a pass. It holds state of that pass: use it in one at a time."""

    def __init__(self, dictionary: Dictionary) -> None:
        self.dictionary = dictionary
        self._read: Tensor | None = None

    @abstractmethod
    def change(
        self, read: Float[Tensor, "batch pos d_in"], x: Float[Tensor, "batch pos d_out"], now: Pass
    ) -> Tensor:
        """The new value of `site_out`, of the shape of `x`."""

    def capture(self, x: Tensor, now: Pass) -> Tensor:
        """At site_in: keeps what the dictionary reads."""
        self._read = x
        return x

    def write(self, x: Tensor, now: Pass) -> Tensor:
        """At site_out."""
        if self._read is None:
            raise RuntimeError("site_out was reached before site_in")
        read, self._read = self._read, None
        return self.change(read, x, now)


def hooks(
    model: Model,
    interventions: Iterable[Intervention],
    others: Iterable[tuple[Site, Step]] = (),
    *,
    fixed: bool = True,
) -> dict[Site, PositionEdit]:
    """What `Model.run` takes as `edits`: other steps first, then the interventions.

    fixed: what is done at a position depends on no later one (see PositionEdit).
    """
    steps: dict[Site, list[Step]] = defaultdict(list)
    for site, step in others:
        steps[site].append(step)
    for item in interventions:
        steps[model.site(item.dictionary.config.site_in)].insert(0, item.capture)
        steps[model.site(item.dictionary.config.site_out)].append(item.write)
    return {site: PositionEdit(_chain(chosen), fixed) for site, chosen in steps.items()}


def _chain(steps: list[Step]) -> Step:
    def apply(x: Tensor, now: Pass) -> Tensor:
        for step in steps:
            x = step(x, now)
        return x

    return apply
