"""What all interventions through a dictionary share.

1. What the dictionary reads is captured, in the very pass: what earlier edits changed is seen.
   Captures come before changes of the same site.
2. Each site that it writes is changed, by a function of the code of what was captured. A feature of
   a cross-layer transcoder is known at the layer that it reads, before all layers that it writes.
3. Where a code rests on sites that come later (a crosscoder's, or a choice over several layers), it
   is that of a pass without any edit, which is made first.
4. Positions that do not count (special and template tokens, attention sinks) are left alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import partial

import torch
from torch import Tensor

from inscape.dictionary import Code, Dictionary
from inscape.model import Model, Pass, PositionEdit, Site

Step = Callable[[Tensor, Pass], Tensor]


class Intervention(ABC):
    """One dictionary's part in a pass. It holds state of that pass: use it in one at a time."""

    def __init__(self, dictionary: Dictionary) -> None:
        self.dictionary = dictionary
        self._held: dict[str, Tensor] = {}
        self._codes: dict[str, Code] = {}

    @abstractmethod
    def change(self, site: str, x: Tensor, now: Pass) -> Tensor:
        """The new value [batch, pos, width] of a site that is written."""

    def rows(self, x: Tensor, now: Pass) -> Tensor:
        """The rows [n, width] of a captured value that are encoded: of all positions."""
        return x.reshape(-1, x.shape[-1])

    def capture(self, site: str, x: Tensor, now: Pass) -> Tensor:
        """At a site that is read: keeps what it holds."""
        if site == self.dictionary.reads[0]:
            self._held, self._codes = {}, {}
        self._held[site] = x
        return x

    def read(self, written: str, now: Pass) -> Tensor:
        """The rows of the site that is read for a written one."""
        reads = self.dictionary.reads
        site = reads[min(self.dictionary.writes.index(written), len(reads) - 1)]
        held = self._held if self.dictionary.config.causal else _named(now)
        if site not in held:
            raise RuntimeError(f"{written} was reached before {site}")
        return self.rows(held[site], now).detach()

    def code(self, now: Pass) -> Code:
        """The code of these rows, as far as it is known where this is called."""
        one = self.dictionary
        if not one.config.causal:
            if not self._codes:
                parts = {site: self.rows(x, now) for site, x in _named(now).items()}
                self._codes[""] = one.encode(one.concat_sites(parts).float())
        else:
            for site in self._held.keys() - self._codes.keys():
                self._codes[site] = one.encode(self.rows(self._held[site], now).detach(), site)
        codes = list(self._codes.values())
        indices, values = ([getattr(c, name) for c in codes] for name in ("indices", "values"))
        return Code(torch.cat(indices, 1), torch.cat(values, 1))


def _named(now: Pass) -> dict[str, Tensor]:
    return {str(site): x for site, x in now.clean.items()}


def hooks(
    model: Model,
    interventions: Iterable[Intervention],
    others: Iterable[tuple[Site, Step]] = (),
    *,
    fixed: bool = True,
) -> dict[Site, PositionEdit]:
    """What `Model.run` takes as `edits`: other steps first, then the interventions.

    fixed: what is done at a position depends on no later one (see PositionEdit).
    Raises InputError for a model on several devices, SiteError for a site that it does not have.
    """
    steps: dict[Site, list[Step]] = defaultdict(list)
    ahead: set[Site] = set()
    for site, step in others:
        steps[site].append(step)
    for item in interventions:
        model.require_one_device("changing features")
        for name in item.dictionary.reads:
            steps[model.site(name)].insert(0, partial(item.capture, name))
        for name in item.dictionary.writes:
            steps[model.site(name)].append(partial(item.change, name))
        if not item.dictionary.config.causal:
            ahead |= {model.site(name) for name in item.dictionary.reads}
    known = tuple(ahead)
    fixed = fixed and not known
    return {site: PositionEdit(_chain(chosen), fixed, known) for site, chosen in steps.items()}


def _chain(steps: list[Step]) -> Step:
    def apply(x: Tensor, now: Pass) -> Tensor:
        for step in steps:
            x = step(x, now)
        return x

    return apply
