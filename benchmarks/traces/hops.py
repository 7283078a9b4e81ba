"""Two hops: is the unsaid bridge on the traced path, and does exchanging it change the answer?

1. A prompt asks a fact of a country that it does not name, by a subject of that country; another
   prompt asks the same by a subject of another country. Both are answered rightly.
2. The bridge is the neurons, at the subject's tokens, that carry the country in *other* prompts of
   the same two subjects: SmolLM2 is asked the country itself, the small world another fact of it.
   Of these the 300 are chosen whose exchange does most there. Nothing of the two-hop prompts or of
   their answers has a part in choosing them.
3. On the path: nodes of the two-hop prompt's own trace that are neurons of the bridge; beside it
   those that are random neurons of the same layers and tokens.
4. The bridge's neurons are exchanged in the two-hop prompt: does the other country's answer lead?
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from benchmarks.measurement import Measurement, Run
from benchmarks.traces import world
from benchmarks.traces.prompts import content, says, smollm2
from inscape.attribution import trace
from inscape.attribution.exchange import Swap
from inscape.core import Share, bootstrap_mean, seeded
from inscape.model import Model, Prompt
from inscape_microworld.benchmark import Check, Row
from inscape_microworld.domains import hops

NUM_PAIRS, NUM_NEURONS, ROUNDS, NUM_NODES = 40, 300, 5, 300


@dataclass(frozen=True)
class Side:
    """One subject: its two-hop prompt with the answer, and the prompt that the bridge is chosen
    on with that one's answer."""

    subject: str
    bridge: str
    prompt: str
    answer: str
    chosen_on: str
    chosen_answer: str


class Subjects(Swap):
    """Two prompts whose neurons are exchanged at the tokens of their subjects, `at`."""

    def __init__(self, model: Model, prompt: str, subject: str, other: str, other_subject: str):
        one, self.at = _places(model, prompt, subject)
        two, there = _places(model, other, other_subject)
        ends = enumerate(reversed(self.at))
        super().__init__(
            model, one, two, [(place, there[max(len(there) - 1 - n, 0)]) for n, place in ends]
        )


def _places(model: Model, prompt: str, subject: str) -> tuple[Prompt, list[int]]:
    """The tokens of the subject."""
    given = model.prompt(prompt)
    begin = prompt.index(subject)
    end, at, found = begin + len(subject), 0, []
    special = sum(not word for word in given.words)
    shift = len("".join(given.texts[special:])) - len(prompt)  # a space that the tokenizer adds
    at = -shift
    for number, text in enumerate(given.texts):
        if number < special:
            continue
        start, at = at, at + len(text)
        if start + len(text) - len(text.lstrip()) < end and at > begin:
            found.append(number)
    return given, found


def two_hops(run: Run) -> Row:
    """Both models."""
    checks, detail = [], {}
    for name, (model, pairs, bar) in {
        "SmolLM2": (smollm2(), _smollm2(run.seed), "≥ 0.6"),
        "microworld": (world.microworld(), _microworld(run.seed), "≥ 0.9"),
    }.items():
        leads, said, on_path, by_chance, random_leads = 0, 0, [], [], 0
        generator = torch.Generator().manual_seed(seeded(run.seed, "hops") % 2**63)
        for one, two in pairs:
            found = _measured(model, one, two, generator)
            leads, said = leads + found[0], said + found[1]
            random_leads += found[2]
            on_path.append(found[3])
            by_chance.append(found[4])
        share = Share(leads, len(pairs))
        passes = Share(sum(a > b for a, b in zip(on_path, by_chance, strict=True)), len(pairs))
        checks += [
            Check(f"{name}: the bridge is on the path", passes.value, bar, passes.interval),
            Check(f"{name}: exchanged, the other leads", share.value, bar, share.interval),
        ]
        detail |= {
            f"{name}: pairs": len(pairs),
            f"{name}: nodes of the trace that are the bridge's, mean": sum(on_path) / len(on_path),
            f"{name}: interval": list(bootstrap_mean(on_path, run.seed)),
            f"{name}: nodes that are random neurons": sum(by_chance) / len(by_chance),
            f"{name}: the other answer is said": Share(said, len(pairs)).value,
            f"{name}: random neurons exchanged, the other leads": random_leads / len(pairs),
        }
    return Row(
        "trace-two-hops",
        "two hops: the unsaid bridge on the traced path, and exchanged",
        tuple(checks),
        f"{NUM_NEURONS} neurons at the subject, chosen on other prompts; {NUM_NODES} nodes",
        seed=run.seed,
        detail=detail,
    )


def _measured(
    model: Model, one: Side, two: Side, generator: torch.Generator
) -> tuple[bool, bool, bool, float, float]:
    """Whether the other answer leads, is said, leads with random neurons; nodes on the path that
    are the bridge's, and random ones'."""
    first = Subjects(model, one.chosen_on, one.subject, two.chosen_on, two.subject)
    other_id = model.answer(two.chosen_on, two.chosen_answer).ids[0]
    chosen, _ = first.choose(other_id, NUM_NEURONS, ROUNDS)
    asked = Subjects(model, one.prompt, one.subject, two.prompt, two.subject)
    bridge = torch.zeros_like(asked.open)
    for here, there in zip(reversed(first.at), reversed(asked.at), strict=False):
        bridge[:, there] = chosen[:, here]
    shuffled = torch.zeros_like(bridge)
    for layer, place in {(int(a), int(b)) for a, b, _ in bridge.nonzero()}:
        order = torch.randperm(bridge.shape[2], generator=generator)
        shuffled[layer, place] = bridge[layer, place][order]
    own, other = (model.answer(s.prompt, s.answer).ids[0] for s in (one, two))
    logits, control = asked.run(bridge), asked.run(shuffled)
    graph = trace(model, one.prompt, target=one.answer, max_features=NUM_NODES, verified=0)
    width = bridge.shape[2]
    nodes = [
        (n.layer or 0, n.position, n.feature % width) for n in graph.nodes if n.kind == "feature"
    ]
    return (
        bool(logits[other] > logits[own]),
        int(logits.argmax()) == other,
        bool(control[other] > control[own]),
        float(sum(bool(bridge[n]) for n in nodes)),
        float(sum(bool(shuffled[n]) for n in nodes)),
    )


def _paired(sides: Sequence[Side], words: Sequence[str], seed: int) -> list[tuple[Side, Side]]:
    """Pairs of one wording, of different countries and answers; `words`: of each side, what its
    prompt is without the subject."""
    generator = random.Random(seeded(seed, "pairs"))
    by_words: dict[str, list[Side]] = {}
    for side, word in zip(sides, words, strict=True):
        by_words.setdefault(word, []).append(side)
    every = [
        (one, two)
        for group in by_words.values()
        for one in group
        for two in group
        if one.bridge != two.bridge
        and one.answer != two.answer
        and one.chosen_answer != two.chosen_answer
    ]
    generator.shuffle(every)
    return every[:NUM_PAIRS]


def _smollm2(seed: int) -> list[tuple[Side, Side]]:
    model = smollm2()
    rows = content("evals", "factual", "two_hop.jsonl")
    random.Random(seeded(seed, "hops")).shuffle(rows)
    sides: list[Side] = []
    for row in rows:
        told = row["subject"].lower() in row["answer"].lower()
        if told or row["answer"].lower() in row["subject"].lower():
            continue
        if says(model, row["prompt"], f" {row['answer']}"):
            texts = row["prompt"], f" {row['answer']}", row["hop1"], f" {row['bridge']}"
            sides.append(Side(row["subject"], row["bridge"], *texts))
        if len(sides) == 60:
            break
    return _paired(sides, [s.prompt.replace(s.subject, "_") for s in sides], seed)


def _microworld(seed: int) -> list[tuple[Side, Side]]:
    model = world.microworld()
    sides: list[Side] = []
    words: list[str] = []
    for side, word in _compositions(seed):
        answered = says(model, side.prompt, side.answer)
        if answered and says(model, side.chosen_on, side.chosen_answer):
            sides.append(side)
            words.append(word)
        if len(sides) == 200:
            break
    return _paired(sides, words, seed)


def _compositions(seed: int) -> Iterator[tuple[Side, str]]:
    """Subjects asked one fact, and another fact to choose on, of held-out prompts."""
    cases = [case for case in hops.cases()["held"] if not case[2].startswith("{x}")]
    random.Random(seeded(seed, "compositions")).shuffle(cases)
    forms = {relation: form for relation, form in hops.HOPS if not form.startswith("{x}")}
    for subject, relation, form, verb in cases:
        second = next(r for r in forms if r != relation and r not in subject.unasked)
        prompt, chosen_on = (
            f.replace("{x}", f"{subject.text} {verb}") for f in (form, forms[second])
        )
        answer, other = (f" {hops.FACT[subject.country, r]}" for r in (relation, second))
        side = Side(subject.text, subject.country, prompt, answer, chosen_on, other)
        yield side, f"{form} {verb} {second}"


FIGURES = {"trace-two-hops": Measurement(two_hops)}
