"""The benchmark: every part of it, on an atlas's dictionaries or on any system of features.

1. Documents of a stream of the benchmark's own are run once; features and thresholds are chosen on
   half of them (or on one half of the wordings, prompts, triggers) and judged on the other.
2. The concept parts score any `Features` beside neurons, principal components, random directions
   and an untrained dictionary of the same shape; the probe and the lookups are their ceilings.
3. The trace part asks whether traces pass through the steps that the reasoning part shows.
4. The fault part diagnoses every planted fault, those made by a weight edit in their edited model.

Bars are those of the project's own table; they are told for the scored system alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from random import Random
from typing import Literal

from inscape.core import InputError, seeded
from inscape.model import Model
from inscape_microworld.benchmark import arithmetic, crossform, reasoning, summary, traced, wordings
from inscape_microworld.benchmark.baselines import Ceiling, Probes, baseline_systems, ceilings
from inscape_microworld.benchmark.diagnoses import FaultScore, score_faults
from inscape_microworld.benchmark.diagnoses import row as fault_row
from inscape_microworld.benchmark.interface import DictionaryFeatures, Features
from inscape_microworld.benchmark.matching import ConceptMatch, concept_tokens, match_concepts
from inscape_microworld.benchmark.naming import concept_names
from inscape_microworld.benchmark.row import Check, Row
from inscape_microworld.benchmark.rows import ROWS
from inscape_microworld.benchmark.scored import (
    BENCHMARK_SEED,
    NUM_DOCUMENTS,
    Scored,
    Sparse,
    benchmark_documents,
    encode,
    joined,
    run_documents,
    run_pictures,
)
from inscape_microworld.benchmark.sets import (
    bridge_texts,
    dna_texts,
    harbour_bridge_texts,
    president_texts,
)
from inscape_microworld.benchmark.swaps import (
    Change,
    FeatureSwap,
    Members,
    Place,
    Together,
    members,
)
from inscape_microworld.benchmark.system import System
from inscape_microworld.bundle import open_image_model
from inscape_microworld.corpus import documents
from inscape_microworld.domains.feelings import suffering_texts
from inscape_microworld.domains.flattery import manner_texts
from inscape_microworld.domains.hops import FACT, RELATIONS, two_hop
from inscape_microworld.domains.sums import drill
from inscape_microworld.domains.wording import in_country
from inscape_microworld.facts import COUNTRIES
from inscape_microworld.faults import FAULTS, fault
from inscape_microworld.patches import open_edited
from inscape_microworld.pictures.documents import picture_document

Kind = Literal["human", "animal"]
NUM_LANDMARK_DOCUMENTS = 4000
NUM_PICTURES = 1500
NUM_PROMPTS = 3000
LANDMARK_SHARES = {"landmark": 2.0, "visit": 1.0}
STEPS = tuple(sorted({in_country(c.name) for c in COUNTRIES}))


@dataclass
class Benchmark:
    """One system on one seed; what several parts need is made once.

    features: what is scored; others: what is scored beside it (the usual baselines if None).
    system: the dictionaries of an atlas; without them the parts in OF_SYSTEM are left out.
    """

    model: Model
    features: Features
    d_dict: int
    k: int
    system: System | None = None
    seed: int = 0
    num_documents: int = NUM_DOCUMENTS
    _made: dict[str, Sparse] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def of(cls, system: System, *, seed: int = 0, num_documents: int = NUM_DOCUMENTS) -> Benchmark:
        """The benchmark of an atlas's dictionaries: the residual one and the transcoders."""
        residual = system.residual
        k = residual.k or max(1, residual.config.d_in // 8)  # what an atlas takes by default
        return cls(
            system.model,
            DictionaryFeatures(residual),
            residual.d_dict,
            k,
            system,
            seed,
            num_documents,
        )

    @property
    def name(self) -> str:
        """What the scored system is called."""
        return self.features.name

    @property
    def _sites(self) -> list[str]:
        layer = self.model.site(self.features.site).layer
        sites = [self.features.site, f"mlp_in.{layer}"]
        if self.system is not None:
            sites += [d.config.site_in for d in self.system.dictionaries]
        return list(dict.fromkeys(sites))

    @property
    def of_system(self) -> System:
        """The atlas's dictionaries.

        Raises:
            InputError: the benchmark is of other features alone.
        """
        if self.system is None:
            raise InputError(
                f"{self.name} is scored by itself",
                expected="an atlas's dictionaries",
                next_step="leave out the parts " + ", ".join(OF_SYSTEM),
            )
        return self.system

    @cached_property
    def scored(self) -> Scored:
        """The documents, run."""
        made = benchmark_documents(self.num_documents, seed=BENCHMARK_SEED + self.seed)
        return run_documents(self.model, made, self._sites, seed=self.seed)

    @cached_property
    def landmarks(self) -> Scored:
        """Documents about landmarks, run."""
        seed = BENCHMARK_SEED + 100 + self.seed
        made = list(documents(seed, NUM_LANDMARK_DOCUMENTS, shares=LANDMARK_SHARES))
        return run_documents(self.model, made, self._sites[:2], seed=self.seed)

    @cached_property
    def systems(self) -> list[Features]:
        """The scored system first, then the baselines."""
        beside = baseline_systems(
            self.model, self.scored, self.features.site, self.d_dict, self.k, seed=self.seed
        )
        return [self.features, *beside]

    @cached_property
    def sparse(self) -> dict[str, Sparse]:
        """What each system makes of the documents."""
        return {s.name: self._encoded(s) for s in self.systems}

    def _encoded(self, system: Features) -> Sparse:
        """What a system makes of the documents, made once."""
        if system.name not in self._made:
            self._made[system.name] = encode(self.scored, system)
        return self._made[system.name]

    @cached_property
    def matches(self) -> dict[str, list[ConceptMatch]]:
        """Each system's best features by concept."""
        found = {self.name: self.matches_of_features}
        for name, sparse in self.sparse.items():
            if name not in found:
                found[name] = match_concepts(self.scored, sparse)
        return found

    @cached_property
    def matches_of_features(self) -> list[ConceptMatch]:
        """The scored system's best features by concept, without the baselines."""
        return match_concepts(self.scored, self._encoded(self.features))

    @cached_property
    def ceilings(self) -> dict[str, Ceiling]:
        """The probe and the lookups by concept."""
        known = list(concept_tokens(self.scored))
        return ceilings(self.scored, self.features.site, known, seed=self.seed)

    @cached_property
    def steps_of_transcoders(self) -> dict[str, list[ConceptMatch]]:
        """The best features of each transcoder for the countries that two hops lead through."""
        found = {}
        for d in self.of_system.transcoders.values():
            sparse = self._encoded(DictionaryFeatures(d))
            found[d.name] = match_concepts(self.scored, sparse, concepts=list(STEPS))
        return found

    @cached_property
    def reasoning(self) -> reasoning.ReasoningStudy:
        """Two hops: the interchange, and the swaps of features."""
        random = Random(seeded(self.seed, "two hops"))
        made = [two_hop(random, True) for _ in range(NUM_PROMPTS)]
        table = {
            relation: {in_country(c.name): f" {FACT[c.name, relation]}" for c in COUNTRIES}
            for relation in RELATIONS
        }
        ways: dict[str, Callable[[Place], Change]] = {
            s.name: partial(FeatureSwap, s, known) for s, known in _swapped(self, "in_")
        }
        if self.system is not None:
            ways["transcoders"] = partial(_of_transcoders, self)
        asked = reasoning.prompts(made, table)
        return reasoning.study(self.model, asked, table, ways, seed=self.seed)

    @cached_property
    def fault_scores(self) -> list[FaultScore]:
        """Every planted fault diagnosed, those made by an edit in their edited model."""
        system = self.of_system
        encoded = [self._encoded(DictionaryFeatures(d)) for d in system.dictionaries]
        names = concept_names(self.scored, encoded)
        planted = [(fault(name), edited(name)) for name in FAULTS]
        return score_faults(
            system, planted, concept_of=lambda d, feature: names[d][feature], seed=self.seed
        )


def edited(name: str) -> Model | None:
    """The edited model of a fault that is made by an edit; None of others."""
    return open_edited(name) if fault(name).kind == "edit" else None


def concepts(bench: Benchmark) -> Row:
    """Concepts found by one feature and by a union, beside the baselines and the probe."""
    scores = [
        summary.score_system(name, found, bench.ceilings, seed=bench.seed)
        for name, found in bench.matches.items()
    ]
    bars = {
        f"{bench.name}, single, needs context": "≥ 0.6",
        f"{bench.name}, union, needs context": "≥ 0.8",
    }
    made = summary.row(scores, bench.ceilings, bench.scored.num_documents, bars)
    matches = bench.matches[bench.name]
    count = max(len(matches), 1)
    detail = {
        **made.detail,
        "recall on tokens of mentions": sum(m.token_recall for m in matches) / count,
        "recall on later tokens in scope": sum(m.later_recall for m in matches) / count,
    }
    return replace(made, seed=bench.seed, detail=detail)


def cross_form(bench: Benchmark) -> Row:
    """Landmarks that one feature knows by name, by description and in Spanish."""
    found = _forms(bench, bench.landmarks)
    return replace(crossform.row(found, {bench.name: "≥ 0.7"}), seed=bench.seed)


def pictures(bench: Benchmark) -> Row:
    """The same with pictures as a fourth form, of the same language model with eyes."""
    random = Random(seeded(bench.seed, "pictures"))
    made = [picture_document(random, False, kind="landmark") for _ in range(NUM_PICTURES)]
    seen = run_pictures(open_image_model(), made, bench._sites[:2], seed=bench.seed)
    found = _forms(bench, joined(bench.landmarks, seen))
    return replace(crossform.row(found, {bench.name: "≥ 0.6"}, "pictures"), seed=bench.seed)


def _forms(bench: Benchmark, scored: Scored) -> list[crossform.CrossForm]:
    """The systems, and a probe for each landmark as the ceiling."""
    known = list(concept_tokens(scored, concepts=list(crossform.COUNTRY_OF)))
    probes = Probes(scored, bench.features.site, known, seed=bench.seed)
    return [crossform.cross_form(scored, encode(scored, s)) for s in (*bench.systems, probes)]


def held_out_wordings(bench: Benchmark) -> Row:
    """Sycophancy and suffering, chosen on some wordings and judged on others."""
    sets: Mapping[str, Callable[[int], wordings.Texts]] = {
        "sycophancy": _manners,
        "suffering": _suffering_of_any,
        "human suffering": partial(_suffering, who="human", other="animal"),
        "animal suffering": partial(_suffering, who="animal", other="human"),
    }
    found = [
        match
        for concept, texts in sets.items()
        for match in wordings.best_wordings(
            bench.model, bench.systems, concept, (texts(0), texts(1)), seed=bench.seed
        )
    ]
    bars = {f"{concept}, {bench.name}": "≥ 0.95" for concept in sets}
    return replace(wordings.row(found, bars), seed=bench.seed)


def distractors(bench: Benchmark) -> Row:
    """Landmarks, presidents and genes against what resembles them, in wordings not chosen on."""
    sets: Mapping[str, Callable[[int, int], wordings.Texts]] = {
        "Golden Gate Bridge": bridge_texts,
        "Sydney Harbour Bridge": harbour_bridge_texts,
        "president in office": president_texts,
        "DNA": dna_texts,
    }
    found = [
        match
        for concept, texts in sets.items()
        for match in wordings.best_wordings(
            bench.model,
            bench.systems,
            concept,
            (texts(0, bench.seed), texts(1, bench.seed)),
            seed=bench.seed,
        )
    ]
    return replace(wordings.row(found, name="distractors"), seed=bench.seed)


def _manners(half: int) -> wordings.Texts:
    return manner_texts(half, flatters=True), manner_texts(half, flatters=False)


def _suffering_of_any(half: int) -> wordings.Texts:
    """Suffering of people and animals, against the joys of both."""
    kinds: tuple[Kind, ...] = ("human", "animal")
    pains, joys = (
        [t for who in kinds for t in suffering_texts(half, who=who, pain=pain)]
        for pain in (True, False)
    )
    return pains, joys


def _suffering(half: int, *, who: Kind, other: Kind) -> wordings.Texts:
    """Texts of one kind's suffering, against joys of both kinds and the other kind's suffering."""
    negatives = [
        *suffering_texts(half, who=who, pain=False),
        *suffering_texts(half, who=other, pain=False),
        *suffering_texts(half, who=other, pain=True),
    ]
    return suffering_texts(half, who=who, pain=True), negatives


def reasoning_steps(bench: Benchmark) -> Row:
    """Two hops: is the unsaid country causal, and do its features carry it?"""
    return reasoning.row(bench.reasoning)


def traced_steps(bench: Benchmark) -> Row:
    """Two hops: does the trace pass through the country, where it is causal?"""
    known = traced.unions(bench.steps_of_transcoders)
    transcoders = bench.of_system.transcoders
    held = bench.reasoning.held
    return traced.row(traced.study(bench.model, transcoders, known, held, seed=bench.seed))


def _of_transcoders(bench: Benchmark, place: Place) -> Together:
    """The countries' features of every transcoder, swapped at a place."""
    return Together(
        [
            FeatureSwap(DictionaryFeatures(d), members(bench.steps_of_transcoders[d.name]), place)
            for d in bench.of_system.transcoders.values()
        ]
    )


def operand_digit(bench: Benchmark, *, prefix: str, unit: int) -> Row:
    """Sums: the features of the first operand's digit swapped for those of another one."""
    random = Random(seeded(bench.seed, "drills"))
    made = [d for d in (drill(random, True) for _ in range(NUM_PROMPTS)) if "+" in d.text]
    study = arithmetic.study(
        bench.model,
        arithmetic.problems(made, prefix),
        _swapped(bench, f"{prefix}_"),
        prefix=prefix,
        unit=unit,
        seed=bench.seed,
    )
    return arithmetic.row(study, name=prefix.removeprefix("first_"))


def _swapped(bench: Benchmark, prefix: str) -> list[tuple[Features, Mapping[str, Members]]]:
    """The systems whose features are swapped, with their members for concepts of a prefix."""
    chosen = [s for s in bench.systems if s.name in (bench.name, "neurons", "random directions")]
    return [
        (s, members(m for m in bench.matches[s.name] if m.concept.startswith(prefix)))
        for s in chosen
    ]


def of_atlas(bench: Benchmark, *, name: str) -> Row:
    """The row of an atlas's dictionaries that is called `name`: of the Golden Gate Bridge, against
    named distractors ("selectivity"), or what steering with it does and costs ("bridge")."""
    return ROWS[name](bench.of_system, bench.seed)


def faults(bench: Benchmark) -> Row:
    """Every planted fault diagnosed."""
    return fault_row(bench.fault_scores, seed=bench.seed)


OF_SYSTEM = ("selectivity", "bridge", "trace", "faults")
"""The parts that need an atlas's dictionaries; of other systems they are left out."""
PARTS: Mapping[str, Callable[[Benchmark], Row]] = {
    "concepts": concepts,
    "crossform": cross_form,
    "pictures": pictures,
    "wordings": held_out_wordings,
    "distractors": distractors,
    "selectivity": partial(of_atlas, name="selectivity"),
    "bridge": partial(of_atlas, name="bridge"),
    "reasoning": reasoning_steps,
    "trace": traced_steps,
    "tens": partial(operand_digit, prefix="first_tens", unit=10),
    "ones": partial(operand_digit, prefix="first_ones", unit=1),
    "faults": faults,
}


def run_benchmark(bench: Benchmark, parts: Sequence[str] = ()) -> Iterator[Row]:
    """The rows of the parts called (all without any), and how long they took.

    Raises:
        InputError: there is no part of that name.
    """
    for name in parts:
        if name not in PARTS:
            raise InputError(f"unknown part {name!r}", expected="one of " + ", ".join(PARTS))
    began = time.monotonic()
    for name in parts or PARTS:
        if name in OF_SYSTEM and bench.system is None:
            continue
        yield PARTS[name](bench)
    if not parts:
        minutes = (time.monotonic() - began) / 60
        yield Row(
            "time",
            "the whole benchmark",
            (Check("minutes", minutes, "≤ 10"),),
            "one run",
            seed=bench.seed,
        )
