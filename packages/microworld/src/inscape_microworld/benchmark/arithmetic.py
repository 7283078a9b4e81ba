"""An operand's digit swapped inside the model: does the sum become that of the other number?

1. A problem is a sum with one answer, in which a mention `<prefix>_<digit>` stands for a digit of
   the first operand; with another digit the right answer changes by unit·(new − old).
2. Only problems that the model answers rightly count; they fall into two halves. Donor digits keep
   the answer's sign and number of digits within what training shows (at most MAX_ANSWER).
3. Swapped are, at one of PLACES, the class means (the supervised interchange of swaps.py; layer and
   place chosen on the selection half) and each system's features at the system's own site: the
   digit's set to 0, the donor's to their mean when present.
4. The embedding is told beside it, not chosen: swapping there is putting another token.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from inscape.core import InputError, Share, seeded
from inscape.model import Model
from inscape_microworld.benchmark.interface import Features
from inscape_microworld.benchmark.row import Check, Row
from inscape_microworld.benchmark.swaps import (
    FeatureSwap,
    Members,
    Place,
    Swap,
    answers,
    batch,
    fit_means,
    swappable,
)
from inscape_microworld.document import Document

MAX_ANSWER = 198
NUM_DONORS = 2
MAX_CHOOSING = 800  # swaps on which sites and places are compared
PLACES: tuple[Place, ...] = ("subject", "answer")
"""The digit's own token, and the tokens from which the answer is predicted."""


SHARES = ("interchange", "at_digit", "control", "right")


@dataclass(frozen=True)
class ArithmeticStudy:
    """How often the answer becomes the arithmetically right new one, judging half.

    interchange: class means at `site` and `place`; at_digit: at the best site for the digit's own
    token; control: a random subspace of the same rank; systems: by name, places: theirs; right:
    problems that the unmodified model answers rightly; by_place: selection shares by "site, place".
    """

    prefix: str
    interchange: Share
    at_digit: Share
    control: Share
    site: str
    place: Place
    by_place: Mapping[str, float]
    systems: Mapping[str, Share]
    places: Mapping[str, Place]
    right: Share
    seed: int = field(default=0, kw_only=True)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "prefix": self.prefix,
            **{k: getattr(self, k).to_json() for k in SHARES},
            "site": self.site,
            "place": self.place,
            "by_place": dict(self.by_place),
            "places": dict(self.places),
            "systems": {k: s.to_json() for k, s in self.systems.items()},
        }


def problems(documents: Iterable[Document], prefix: str = "first_tens") -> list[Swap]:
    """The documents with one answer, a whole number, and one mention of a digit `prefix`."""
    found: dict[str, Swap] = {}
    for document in documents:
        if len(document.answers) != 1 or not document.answer.strip().isdigit():
            continue
        said = [
            m
            for m in document.mentions
            if m.concept.startswith(f"{prefix}_") and m.end <= len(document.prompt)
        ]
        if len(said) == 1:
            (m,) = said
            swap = Swap(document.prompt, m.onset, m.end, m.concept, m.concept, document.answer)
            found.setdefault(document.prompt, swap)
    return list(found.values())


def study(
    model: Model,
    asked: Sequence[Swap],
    systems: Sequence[tuple[Features, Mapping[str, Members]]] = (),
    *,
    prefix: str = "first_tens",
    unit: int = 10,
    seed: int = 0,
) -> ArithmeticStudy:
    """Swap the digit of every problem (from `problems`).

    unit: what the digit counts in the answer (10 for tens, 1 for ones).

    Raises:
        InputError: the model answers too few problems rightly to choose and to judge.
    """
    clean, _ = answers(model, batch(model, asked))
    known = [s for s, ok in zip(asked, clean.tolist(), strict=True) if ok]
    Random(seeded(seed, "arithmetic halves")).shuffle(known)
    chosen, judged = known[::2], known[1::2]
    if not chosen or not judged:
        raise InputError(
            f"the model answers {len(known)} of {len(asked)} problems rightly",
            expected="at least two",
        )
    sites = ["embed", *(f"resid_post.{layer}" for layer in range(model.num_layers - 1))]
    fitted = fit_means(model, chosen, sites, PLACES)
    names = fitted[0].means
    trials = [swappable(donated(half, unit, seed), names) for half in (chosen, judged)]
    selection, judging = batch(model, trials[0][:MAX_CHOOSING]), batch(model, trials[1])
    by_place = {(s.site, s.place): _share(answers(model, selection, s)).value for s in fitted}
    inner = [s for s in fitted if s.site != "embed"]
    best = max(inner, key=lambda s: by_place[s.site, s.place])
    digit = max((s for s in inner if s.place == "subject"), key=lambda s: by_place[s.site, s.place])
    shares: dict[str, Share] = {}
    places: dict[str, Place] = {}
    for system, own in systems:
        ways = [FeatureSwap(system, own, place) for place in PLACES]
        way = max(ways, key=lambda way: _share(answers(model, selection, way)).value)
        shares[system.name] = _share(answers(model, judging, way))
        places[system.name] = way.place
    return ArithmeticStudy(
        prefix=prefix,
        interchange=_share(answers(model, judging, best)),
        at_digit=_share(answers(model, judging, digit)),
        control=_share(answers(model, judging, best.random(seed))),
        site=best.site,
        place=best.place,
        by_place={f"{site}, {place}": value for (site, place), value in by_place.items()},
        systems=shares,
        places=places,
        right=Share(len(known), len(asked)),
        seed=seed,
    )


def donated(swaps: Sequence[Swap], unit: int, seed: int = 0) -> list[Swap]:
    """Each problem with NUM_DONORS other digits, and the answer that they make right."""
    random = Random(seeded(seed, "digits"))
    found = []
    for swap in swaps:
        prefix, _, digit = swap.concept.rpartition("_")
        old = int(swap.wanted)
        lowest = 1 if unit > 1 else 0  # numbers of two digits stay so
        others = {
            d: old + unit * (d - int(digit))
            for d in range(lowest, 10)
            if d != int(digit) and 10 <= old + unit * (d - int(digit)) <= MAX_ANSWER
        }
        for donor in random.sample(sorted(others), min(NUM_DONORS, len(others))):
            found.append(replace(swap, donor=f"{prefix}_{donor}", wanted=f" {others[donor]}"))
    return found


def row(
    found: ArithmeticStudy, bars: Mapping[str, str] | None = None, name: str = "arithmetic"
) -> Row:
    """The row of a study; `bars` by check name, without one a check is only reported."""
    shares = [
        ("interchange of class means", found.interchange),
        ("interchange at the digit's token", found.at_digit),
        ("random subspace", found.control),
        *found.systems.items(),
    ]
    given = bars or {}
    return Row(
        name,
        f"{found.prefix} swapped inside the model: the right new answer",
        tuple(Check(n, s.value, given.get(n, ""), s.interval) for n, s in shares),
        samples=f"{found.interchange.total} swaps of the judging half",
        seed=found.seed,
        detail={
            "interchange at": f"{found.site}, {found.place}",
            "places": dict(found.places),
            "at the embedding": found.by_place.get("embed, subject"),
            "problems answered rightly": found.right.to_json(),
        },
    )


def _share(found: tuple[Any, Any]) -> Share:
    return Share(int(found[0].sum()), len(found[0]))
