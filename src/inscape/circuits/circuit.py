"""The smallest set of units that carries a behaviour over many prompts.

1. Prompts on which the model shows the behaviour (the answer leads on the prompt, the wrong one on
   the other prompt) are halved: templates apart where there are several, else at random.
2. On the one half all units are ranked by gradients; of the best, one is added at a time: that with
   which the members do most, measured in the model: the fractions of the way to the other prompts
   that their exchange moves the lead, and the probability of the other answer; the fraction of the
   lead that remains with the rest of their sites ablated by the mean, and the fraction that is gone
   with all of these sites ablated. It ends at the most members wanted, or when the next adds less
   than `tolerance`; members whose removal costs less are dropped. The neurons of layer 0 are left
   out: they stand for the word that they stand at, which turns every answer and explains none.
3. On the other half, which had no part in the choice, everything is measured: exchange,
   faithfulness, completeness, minimality, random circuits of the same kind, and by template.

Conmy et al., "Towards Automated Circuit Discovery" (2023); Marks et al., "Sparse Feature Circuits"
(2024); what is measured: measures.py.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from inscape.circuits import measures
from inscape.circuits.behaviour import ELSEWHERE, Behaviour, Outcomes
from inscape.circuits.looks import looks
from inscape.circuits.measures import ABLATIONS, Ablator, Faithfulness
from inscape.circuits.ranking import rank
from inscape.circuits.sets import Example
from inscape.circuits.units import Unit, Units
from inscape.core import InputError, LabelOf, Share, finite_number, no_label, seeded, track, whole
from inscape.dictionary import Dictionary
from inscape.model import Model
from inscape.storage import Result

KINDS = ("heads", "mlps")
MAX_MEMBERS, CANDIDATES, CONTROLS, STEPS, RESAMPLES = 8, 24, 20, 3, 100
LEAST_RISE = 0.01  # of the probability of the other answer, from the prompts to the others
LEAST = 4  # usable prompts on either half


@dataclass(frozen=True)
class CircuitMember:
    """A member of a circuit.

    kind: head, mlp (its neurons) or feature; role: at which tokens. looks: where a head looks from
    there, as mean attention by role. alone: fraction of the swing when it is exchanged by itself;
    needed: what faithfulness (by the mean) loses without it.
    """

    kind: str
    layer: int
    index: int
    role: str
    site: str
    dictionary: str
    looks: dict[str, float]
    alone: float
    needed: float


@dataclass
class Circuit(Result):
    """A circuit and what it was measured to do, on prompts that had no part in its choice.

    about: the set. usable: prompts on which the model shows the behaviour. num_chosen, num_held: on
    how many it was chosen, and measured. lead, other_lead: mean lead of the answer on the prompts
    and on the other ones. swing: fraction of the way between these that exchanging the members
    goes. turned: prompts on which the wrong answer then leads; named: on which the model says it;
    by_template: the same. controls: of random circuits of the same kinds and roles, what each
    turned. faithfulness: by way
    of ablating. cpr, cmd, curve: see measures.py. overlap: of the ranking between resamples.
    """

    SCHEMA: ClassVar[str] = "inscape.circuit"
    MADE_BY: ClassVar[str] = "circuit"

    model: str
    about: str
    members: list[CircuitMember]
    usable: Share
    num_chosen: int
    num_held: int
    held_templates: list[str]
    lead: float
    other_lead: float
    swing: float
    turned: Share
    named: Share
    by_template: dict[str, Share]
    controls: list[Share]
    faithfulness: dict[str, Faithfulness]
    cpr: float
    cmd: float
    curve: list[tuple[float, float]]
    overlap: float
    num_units: int
    notes: list[str] = field(default_factory=list)
    names: LabelOf = field(default=no_label, repr=False, compare=False)

    @property
    def by_chance(self) -> bool:
        """Whether a random circuit does as much."""
        return any(one.value >= self.turned.value for one in self.controls)

    def title(self, member: CircuitMember) -> str:
        """A member in words."""
        if member.kind == "feature":
            label = self.names(member.dictionary, member.index)
            name = f"{member.dictionary}/{member.index}"
            what = f"{label} [{name}]" if label else name
        elif member.kind == "head":
            what = f"head {member.index} of layer {member.layer}"
        else:
            what = f"the neurons of layer {member.layer}"
        where = "at the last token" if member.role == "last" else f"at {member.role!r}"
        if member.role == ELSEWHERE:
            where = "at the other tokens"
        return f"{what} {where}"

    def summary(self) -> str:
        """As lines of text."""
        lines = [
            f"behaviour: {self.about}",
            f"the model shows it on {self.usable}; chosen on {self.num_chosen} prompts, measured "
            f"on {self.num_held} others" + (" of other templates" if self.held_templates else ""),
            f"{len(self.members)} members of {self.num_units:,} (each unit in each role):",
        ]
        for one in self.members:
            seen = sorted(one.looks.items(), key=lambda pair: -pair[1])[:2]
            looking = ", ".join(f"{role!r} {weight:.2f}" for role, weight in seen if weight > 0.1)
            lines.append(
                f"  {self.title(one)}" + (f", which looks at {looking}" if looking else "")
            )
            lines.append(
                f"      alone {one.alone:.0%} of the swing; without it faithfulness "
                f"{'falls' if one.needed >= 0 else 'rises'} by {abs(one.needed):.2f}"
                + ("" if one.alone >= 0 else " (by itself it works against the other answer)")
            )
        random_ones = [one.value for one in self.controls]
        lines += [
            f"lead of the answer: {self.lead:+.2f}; on the other prompts {self.other_lead:+.2f}",
            f"exchanged with the other prompts: the other answer leads on {self.turned}, is said "
            f"on {self.named}; {self.swing:.0%} of the swing",
            f"{len(random_ones)} random circuits of the same kinds and roles: the other answer "
            f"leads on {max(random_ones, default=0):.0%} at most"
            + (", so this one does no more than chance" if self.by_chance else ""),
        ]
        for kind, found in self.faithfulness.items():
            says = "" if found.says else "; says little: it leads with all of these layers ablated"
            lines.append(
                f"the rest of its layers ablated by {kind}: faithfulness {found.value:.2f} "
                f"({found.interval[0]:.2f} to {found.interval[1]:.2f}), completeness "
                f"{found.completeness:.2f}{says}"
            )
        lines.append(
            f"over growing circuits: CPR {self.cpr:.2f}, CMD {self.cmd:.2f}; the ranking overlaps "
            f"by {self.overlap:.0%} between resamples of the prompts"
        )
        if len(self.by_template) > 1:
            lines += [f"  {share}: {template}" for template, share in self.by_template.items()]
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])


def circuit(
    model: Model,
    examples: Sequence[Example],
    dictionaries: Iterable[Dictionary] = (),
    *,
    held_out: Sequence[Example] | None = None,
    kinds: Sequence[str] = KINDS,
    max_members: int = MAX_MEMBERS,
    candidates: int = CANDIDATES,
    tolerance: float = 0.02,
    controls: int = CONTROLS,
    steps: int = STEPS,
    seed: int = 0,
    about: str = "",
    names: LabelOf = no_label,
) -> Circuit:
    """The circuit of a behaviour (see the module).

    examples: see `read_set`. held_out: those that it is measured on; default: half of them. kinds:
        "heads", "mlps", "features" (of the dictionaries). candidates: how many of the best by
        gradients are tried. tolerance: of the four fractions together.

    Raises:
        InputError: too few prompts on which the model shows the behaviour, or prompts whose roles
            do not align (the line is named).
    """
    for name, value in (("max_members", max_members), ("candidates", candidates)):
        whole(value, name, 1)
    whole(controls, "controls", 0)
    finite_number(tolerance, "tolerance")
    units = Units(model, kinds, dictionaries)
    parts = _halves(examples, seed) if held_out is None else (list(examples), list(held_out))
    both = [_usable(model, part, units) for part in parts]
    usable = Share(sum(len(one.rows) for one in both), sum(map(len, parts)))
    for one in both:
        if len(one.rows) < LEAST:
            raise InputError(
                f"{model.name} shows the behaviour on {usable.count} of {usable.total} prompts: "
                f"{len(both[0].rows)} to choose on, {len(both[1].rows)} to measure on",
                expected=f"at least {LEAST} of either: the answer leads, and the wrong one on "
                "the other prompt",
                next_step="give more prompts (--num), or ones that this model answers rightly",
            )
    chosen_on, held = both
    ranking = rank(chosen_on, steps)
    ranked = [unit for unit in ranking.strongest(len(ranking.units)) if not _is_word(unit)]
    members = _greedy(chosen_on, ranked[:candidates], max_members, tolerance)
    return _measured(
        Circuit(
            model=model.name,
            about=about,
            members=[],
            usable=usable,
            num_chosen=len(chosen_on.rows),
            num_held=len(held.rows),
            held_templates=_held_templates(chosen_on, held),
            lead=0.0,
            other_lead=0.0,
            swing=0.0,
            turned=Share(0, 0),
            named=Share(0, 0),
            by_template={},
            controls=[],
            faithfulness={},
            cpr=0.0,
            cmd=0.0,
            curve=measures.curve(held, ranking, held.outcomes()),
            overlap=ranking.overlap(max(len(members), 1), RESAMPLES, seed),
            num_units=len(ranking.units),
            names=names,
        ),
        held,
        members,
        _alike(ranked, members, controls, seed),
        seed,
    )


def _halves(examples: Sequence[Example], seed: int) -> tuple[list[Example], list[Example]]:
    """To choose on, and to measure on: by template, else by prompt."""
    generator = random.Random(seeded(seed, "halves"))
    templates = sorted({one.template for one in examples})
    if len(templates) > 1:
        generator.shuffle(templates)
        parts: tuple[list[Example], list[Example]] = [], []
        for name in templates:
            smaller = min(parts, key=len)
            smaller += [one for one in examples if one.template == name]
        return parts
    every = list(examples)
    generator.shuffle(every)
    return every[: len(every) // 2], every[len(every) // 2 :]


def _usable(model: Model, examples: Sequence[Example], units: Units) -> Behaviour:
    every = Behaviour(model, examples, units)
    pairs = zip(every.outcomes().leads, every.compared().leads, strict=True)
    return every.select([lead > 0 > other for lead, other in pairs])


def _held_templates(chosen_on: Behaviour, held: Behaviour) -> list[str]:
    own = {row.template for row in chosen_on.rows}
    return sorted({row.template for row in held.rows} - own)


class _Worth:
    """What some members are worth: the four fractions of step 2, each at most 1."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        own, end = behaviour.outcomes(), behaviour.compared()
        self.full, self.chance = own.mean, own.chance
        self.swing = max(self.full - end.mean, 1e-9)
        self.rise = end.chance - self.chance
        self._ablators: dict[tuple[str, ...], Ablator] = {}
        self._empty: dict[tuple[str, ...], float] = {}

    def __call__(self, members: Sequence[Unit]) -> float:
        sites = tuple(sorted({unit.site for unit in members}))
        if sites not in self._ablators:
            ablator = self._ablators[sites] = Ablator(self.behaviour, sites)
            self._empty[sites] = ablator.keeping([], "mean").mean / self.full
        exchanged = self.behaviour.exchanged(members)
        moved = (self.full - exchanged.mean) / self.swing
        said = 0.0  # where the other answer is hardly said on the other prompts either
        if self.rise > LEAST_RISE:
            said = (exchanged.chance - self.chance) / self.rise
        kept = self._ablators[sites].keeping(members, "mean").mean / self.full
        gone = 1.0 - max(self._empty[sites], 0.0)
        return min(moved, 1.0) + min(said, 1.0) + min(kept, 2.0 - kept) + gone


def _is_word(unit: Unit) -> bool:
    return unit.kind == "mlp" and unit.layer == 0


def _greedy(
    behaviour: Behaviour, candidates: Sequence[Unit], most: int, tolerance: float
) -> list[Unit]:
    """Step 2. A candidate is measured again only where what it gained before could be best."""
    worth = _Worth(behaviour)
    members: list[Unit] = []
    now = 0.0
    hopes = {unit: float("inf") for unit in candidates}
    for _ in track(range(most), "choosing members", unit="members"):
        best, gain = None, tolerance
        hopeful = sorted(hopes, key=lambda u: -hopes[u])
        for unit in track(hopeful, "trying units", unit="units"):
            if hopes[unit] <= gain:
                break
            hopes[unit] = worth([*members, unit]) - now
            if hopes[unit] > gain:
                best, gain = unit, hopes[unit]
        if best is None:
            break
        members.append(best)
        now += gain
        del hopes[best]
    for unit in reversed(members[:-1]):
        rest = [one for one in members if one != unit]
        without = worth(rest)
        if now - without < tolerance:
            members, now = rest, without
    return members


def _alike(
    units: Sequence[Unit], members: Sequence[Unit], count: int, seed: int
) -> list[list[Unit]]:
    """Random circuits: for each member another unit of its kind in its role."""
    drawn = []
    for number in range(count):
        generator = random.Random(seeded(seed, "controls", number))
        chosen: list[Unit] = []
        for one in members:
            others = [
                u
                for u in units
                if (u.kind, u.role) == (one.kind, one.role) and u not in {*members, *chosen}
            ]
            if others:
                chosen.append(generator.choice(others))
        drawn.append(chosen)
    return drawn


def _measured(
    made: Circuit,
    held: Behaviour,
    members: list[Unit],
    controls: Sequence[Sequence[Unit]],
    seed: int,
) -> Circuit:
    """Step 3."""
    full, end, turned = held.outcomes(), held.compared().mean, held.exchanged(members)
    ablator = Ablator(held, sorted({unit.site for unit in members}))
    made.faithfulness = {
        kind: measures.faithfulness(ablator, members, kind, full, seed)
        for kind in track(ABLATIONS, "measuring faithfulness", unit="ways of ablating")
    }
    made.lead, made.other_lead = full.mean, end
    span = full.mean - end
    made.swing = (full.mean - turned.mean) / span
    made.turned = Share(turned.turned, len(turned.says))
    made.named = Share(turned.says.count(-1), len(turned.says))
    made.by_template = _by_template(held, turned)
    made.controls = [
        Share(found.turned, len(found.says))
        for found in (
            held.exchanged(some) for some in track(controls, "random circuits", unit="circuits")
        )
    ]
    made.cpr, made.cmd = measures.areas(made.curve)
    seen = looks(held, members)
    mean = made.faithfulness["mean"]
    for unit in track(members, "measuring members", unit="members"):
        rest = [one for one in members if one != unit]
        lost = mean.circuit - ablator.keeping(rest, "mean").mean
        made.members.append(
            CircuitMember(
                kind=unit.kind,
                layer=unit.layer,
                index=unit.index,
                role=unit.role,
                site=unit.site,
                dictionary=unit.dictionary,
                looks=seen.get(unit, {}),
                alone=(full.mean - held.exchanged([unit]).mean) / span,
                needed=lost / (mean.model - mean.empty) if mean.model != mean.empty else 0.0,
            )
        )
    if not members:
        made.notes.append("no unit by itself moves the answer by the tolerance: none was chosen")
    return made


def _by_template(held: Behaviour, turned: Outcomes) -> dict[str, Share]:
    leads = iter(turned.leads)
    found: dict[str, list[bool]] = {}
    for batch in held.batches:
        found.setdefault(batch.template, []).extend(next(leads) < 0 for _ in range(len(batch)))
    return {name: Share(sum(row), len(row)) for name, row in found.items()}
