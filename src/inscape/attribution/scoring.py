"""Scores of graphs over many prompts, each with its interval."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from inscape.attribution.graph import Graph
from inscape.attribution.trace import trace
from inscape.core import InputError, Share, bootstrap_mean, seeded, short, track
from inscape.dictionary import Dictionary
from inscape.model import Model, Source
from inscape.storage import Result


@dataclass(frozen=True)
class Mean:
    """A mean over prompts with its 95 % interval, by bootstrap."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


@dataclass
class GraphScores(Result):
    """Scores of the graphs of some prompts through some dictionaries.

    replacement, completeness, unknown: see `Scores`. agreement: rank correlation of predicted and
    measured effects, over the prompts on which it is defined. holds: graphs whose predictions hold.
    links: of the strongest edges between features the fraction that hold.
    """

    SCHEMA: ClassVar[str] = "inscape.graph_scores"
    MADE_BY: ClassVar[str] = "validate"

    model: str
    dictionaries: list[str]
    num_prompts: int
    replacement: Mean
    completeness: Mean
    unknown: Mean
    agreement: Mean | None
    holds: Share
    links: Mean | None = None

    def summary(self) -> str:
        """As lines of text."""
        through = ", ".join(self.dictionaries) or "neurons alone"
        lines = [f"graphs of {self.num_prompts} prompts through {through}"]
        lines += [
            f"  {name}: {getattr(self, name)}"
            for name in ("replacement", "completeness", "unknown")
        ]
        rank = "not defined" if self.agreement is None else self.agreement
        lines.append(f"  predicted against measured effects, rank correlation: {rank}")
        lines.append(f"  graphs whose predictions hold: {self.holds}")
        if self.links is not None:
            lines.append(f"  strongest edges between features that hold: {self.links}")
        return "\n".join(lines)


def score_graphs(
    model: Model,
    prompts: Sequence[Source],
    dictionaries: Iterable[Dictionary] = (),
    *,
    seed: int = 0,
    **options: object,
) -> GraphScores:
    """Traces prompts and gives the mean scores of their graphs. options: as `trace`.

    Raises:
        InputError: no prompts; and as `trace`.
    """
    if isinstance(prompts, str):
        raise InputError(f"prompts {short(prompts)}", expected="a list of prompts")
    if not prompts:
        raise InputError("no prompts", expected="one or more")
    read = list(dictionaries)
    graphs = [
        trace(model, prompt, read, **options)  # type: ignore[arg-type]
        for prompt in track(prompts, "tracing prompts", unit="prompts")
    ]

    def mean(of: Callable[[Graph], float | None], name: str) -> Mean | None:
        values = [value for graph in graphs if (value := of(graph)) is not None]
        if not values:
            return None
        low, high = bootstrap_mean(values, seeded(seed, name) % 2**32)
        return Mean(float(np.mean(values)), low, high)

    scores = {
        name: mean(lambda graph, name=name: float(getattr(graph.scores, name)), name)  # type: ignore[misc]
        for name in ("replacement", "completeness", "unknown")
    }
    tested = [graph.verification for graph in graphs if graph.verification is not None]
    return GraphScores(
        model=model.name,
        dictionaries=[one.name for one in read],
        num_prompts=len(graphs),
        **{name: value for name, value in scores.items() if value is not None},
        agreement=mean(lambda g: g.verification.agreement if g.verification else None, "agreement"),
        holds=Share(sum(one.holds for one in tested), len(tested)),
        links=mean(
            lambda g: float(np.mean([one.holds for one in g.links])) if g.links else None, "links"
        ),
    )
