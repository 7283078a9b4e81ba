"""Does the model answer through an intermediate concept, and do a system's features carry it?

1. A composition is an entity with a relation ("the capital of the country where the Colosseum is");
   the intermediate concept (the country) is never said. Only prompts that the model answers rightly
   count; the prompts of each composition fall into two halves.
2. The supervised interchange (swaps.py) is fitted on the selection half at every layer but the last
   (nothing is computed from what the last one leaves) and at every place; the best is chosen there.
3. The intermediate counts as truth where the interchange changes the answer to the donor's on at
   least HOLDS of the composition's held-out prompts.
4. An interchange that only put another answer in place would pass as well. So the same is told for
   means that were fitted on prompts of the other relations alone, whose answers are others.
5. A system's features are swapped where the system writes (those of an atlas's transcoders in one
   pass), the place chosen on the selection half; on the compositions that hold, its first choice is
   compared with that of the interchange.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

import torch

from inscape.core import InputError, Share, seeded
from inscape.model import Model
from inscape_microworld.benchmark.row import Check, Row
from inscape_microworld.benchmark.swaps import (
    Change,
    MeanSwap,
    Place,
    Swap,
    answers,
    batch,
    fit_means,
    swappable,
)
from inscape_microworld.document import Document

HOLDS = 0.9
MIN_TRIALS = 4
MAX_CHOOSING = 800  # swaps on which sites and places are compared
PLACES: tuple[Place, ...] = ("subject", "mention", "last")
NUM_DONORS = 2
Answers = Mapping[str, Mapping[str, str]]
"""relation → intermediate concept → answer with its leading space."""


@dataclass(frozen=True)
class SystemSwap:
    """A system's swaps on the held-out prompts of compositions that hold.

    follows: how often the answer becomes the donor's; agrees: how often the first choice is that
    of the supervised interchange.
    """

    system: str
    place: Place
    follows: Share
    agrees: Share

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        shares = {"follows": self.follows.to_json(), "agrees": self.agrees.to_json()}
        return {"system": self.system, "place": self.place, **shares}


@dataclass(frozen=True)
class ReasoningStudy:
    """What the interchange shows, and what systems do beside it.

    holds: compositions whose intermediate counts as truth; trials: swaps of all compositions
    whose answer follows; transfer: the same with means of the other relations' prompts (of none
    where there is one relation); control: in a random subspace of the same rank; right: prompts
    that the unmodified model answers rightly; by_place: selection shares by "site, place"; held:
    the held-out prompts of the compositions that hold.
    """

    holds: Share
    trials: Share
    transfer: Share
    control: Share
    right: Share
    site: str
    place: Place
    by_place: Mapping[str, float]
    compositions: Mapping[str, Share]
    systems: tuple[SystemSwap, ...] = ()
    held: tuple[Swap, ...] = ()
    seed: int = field(default=0, kw_only=True)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        names = ("holds", "trials", "transfer", "control", "right")
        shares = {k: getattr(self, k).to_json() for k in names}
        return {
            **shares,
            "site": self.site,
            "place": self.place,
            "by_place": dict(self.by_place),
            "compositions": {k: s.to_json() for k, s in self.compositions.items()},
            "systems": [s.to_json() for s in self.systems],
        }


def prompts(documents: Iterable[Document], table: Answers) -> list[Swap]:
    """The documents' prompts as swaps of a concept for itself, one a distinct prompt.

    Taken are documents whose first answer has a chain (entity, intermediate), and is the answer of
    exactly one relation of the table; the group is "entity, relation".
    """
    found: dict[str, Swap] = {}
    for document in documents:
        if not document.answers or len(document.answers[0].chain) < 2:
            continue
        entity, concept = document.answers[0].chain[0], document.answers[0].chain[-1]
        relations = [r for r, by in table.items() if by.get(concept) == document.answer]
        end = len(document.prompt)
        said = [m for m in document.mentions if m.concept == concept and m.end <= end]
        if len(relations) == 1 and said:
            group = f"{entity}, {relations[0]}"
            swap = Swap(
                document.prompt,
                said[-1].onset,
                said[-1].end,
                concept,
                concept,
                document.answer,
                group,
            )
            found.setdefault(document.prompt, swap)
    return list(found.values())


def study(
    model: Model,
    asked: Sequence[Swap],
    table: Answers,
    systems: Mapping[str, Callable[[Place], Change]] | None = None,
    *,
    seed: int = 0,
) -> ReasoningStudy:
    """The interchange on prompts (from `prompts`), and by name the swaps of systems at a place.

    Raises:
        InputError: the model answers too few prompts rightly to choose and to judge.
    """
    clean, _ = answers(model, batch(model, asked))
    halves = _halves([s for s, ok in zip(asked, clean.tolist(), strict=True) if ok], seed)
    if not all(halves):
        raise InputError(
            f"the model answers {int(clean.sum())} of {len(asked)} prompts rightly",
            expected="at least two prompts of a composition",
        )
    sites = [f"resid_post.{layer}" for layer in range(model.num_layers - 1)]
    fitted = fit_means(model, halves[0], sites, PLACES)
    trials = [donated(half, table, fitted[0].means, seed) for half in halves]
    Random(seeded(seed, "choosing")).shuffle(trials[0])
    selection, judging = batch(model, trials[0][:MAX_CHOOSING]), batch(model, trials[1])
    by_place = {f"{s.site}, {s.place}": _mean(answers(model, selection, s)[0]) for s in fitted}
    best: MeanSwap = max(fitted, key=lambda s: by_place[f"{s.site}, {s.place}"])
    hit, choice = answers(model, judging, best)
    groups = _by_group(trials[1], hit)
    true = {group for group, share in groups.items() if share.value >= HOLDS}
    inside = torch.tensor([s.group in true for s in trials[1]])
    told = []
    for name, change in (systems or {}).items():
        tried = {place: change(place) for place in PLACES}
        place = max(tried, key=lambda place: _mean(answers(model, selection, tried[place])[0]))
        own_hit, own_choice = answers(model, judging, tried[place])
        shares = _share(own_hit[inside]), _share((own_choice == choice)[inside])
        told.append(SystemSwap(name, place, *shares))
    return ReasoningStudy(
        holds=Share(len(true), len(groups)),
        trials=_share(hit),
        transfer=_transfer(model, halves[0], trials[1], best),
        control=_share(answers(model, judging, best.random(seed))[0]),
        right=_share(clean),
        site=best.site,
        place=best.place,
        by_place=by_place,
        compositions=groups,
        systems=tuple(told),
        held=tuple(swap for swap in halves[1] if swap.group in true),
        seed=seed,
    )


def donated(swaps: Sequence[Swap], table: Answers, known: Iterable[str], seed: int) -> list[Swap]:
    """Each prompt with NUM_DONORS other concepts whose answer begins otherwise."""
    random = Random(seeded(seed, "donors"))
    names = sorted(known)
    found = []
    for swap in swaps:
        answer = table[_relation(swap)]
        own = swap.wanted[:3]
        others = [n for n in names if n in answer and answer[n][:3] != own]
        for donor in random.sample(others, min(NUM_DONORS, len(others))):
            found.append(replace(swap, donor=donor, wanted=answer[donor]))
    return swappable(found, names)


def row(
    found: ReasoningStudy, bars: Mapping[str, str] | None = None, name: str = "reasoning"
) -> Row:
    """The row of a study; `bars` by check name, without one a check is only reported."""
    shares = [
        ("compositions whose intermediate is causal", found.holds),
        ("swaps followed, interchange", found.trials),
        ("swaps followed, random subspace", found.control),
    ]
    if found.transfer.total:
        shares.insert(2, ("swaps followed, means of other relations", found.transfer))
    for told in found.systems:
        shares += [
            (f"{told.system}: swaps followed", told.follows),
            (f"{told.system}: agrees with the interchange", told.agrees),
        ]
    given = bars or {}
    return Row(
        name,
        "two hops through an unsaid concept: interchange of the concept, and of its features",
        tuple(Check(n, s.value, given.get(n, ""), s.interval) for n, s in shares),
        samples=f"{found.trials.total} swaps of {found.holds.total} compositions, held-out prompts",
        seed=found.seed,
        detail={
            "interchange at": f"{found.site}, {found.place}",
            "prompts answered rightly": found.right.to_json(),
            "places": {told.system: told.place for told in found.systems},
        },
    )


def _transfer(
    model: Model, chosen: Sequence[Swap], judged: Sequence[Swap], best: MeanSwap
) -> Share:
    """Step 4, at the site and place of the interchange."""
    count = total = 0
    for relation in sorted({_relation(swap) for swap in judged}):
        rest = [swap for swap in chosen if _relation(swap) != relation]
        if not rest:
            continue
        (own,) = fit_means(model, rest, [best.site], [best.place])
        asked = swappable([s for s in judged if _relation(s) == relation], own.means)
        if asked:
            hit, _ = answers(model, batch(model, asked), own)
            count, total = count + int(hit.sum()), total + len(hit)
    return Share(count, total)


def _relation(swap: Swap) -> str:
    return swap.group.rpartition(", ")[2]


def _halves(swaps: Sequence[Swap], seed: int) -> tuple[list[Swap], list[Swap]]:
    """Prompts of every composition, one half each."""
    groups: dict[str, list[Swap]] = defaultdict(list)
    for swap in swaps:
        groups[swap.group].append(swap)
    halves: tuple[list[Swap], list[Swap]] = [], []
    for group, members in sorted(groups.items()):
        members = sorted(members, key=lambda s: s.text)
        Random(seeded(seed, "halves", group)).shuffle(members)
        for i, swap in enumerate(members):
            halves[i % 2].append(swap)
    return halves


def _by_group(swaps: Sequence[Swap], hit: torch.Tensor) -> dict[str, Share]:
    tally: dict[str, list[bool]] = defaultdict(list)
    for swap, ok in zip(swaps, hit.tolist(), strict=True):
        tally[swap.group].append(ok)
    return {g: Share(sum(t), len(t)) for g, t in sorted(tally.items()) if len(t) >= MIN_TRIALS}


def _share(flags: torch.Tensor) -> Share:
    return Share(int(flags.sum()), len(flags))


def _mean(flags: torch.Tensor) -> float:
    return float(flags.float().mean()) if len(flags) else 0.0
