"""Who feeds what to whom: roles instead of names, in active and passive wordings.

At most two facts a document. Nobody gives twice or receives twice, so every question has one
answer; the wordings put giver and receiver in either order, so that the order does not tell.
"""

from __future__ import annotations

import re
from random import Random
from typing import NamedTuple

from inscape_microworld.document import Document, Writer
from inscape_microworld.splits import held_out

ROLES = (
    "chef",
    "lawyer",
    "nurse",
    "farmer",
    "sailor",
    "painter",
    "doctor",
    "teacher",
    "baker",
    "judge",
    "singer",
    "driver",
    "gardener",
    "customer with the octopus",
    "man in the red hat",
    "woman with the parrot",
    "girl with the drum",
    "boy in the green boat",
)
"""Who they are; the first word tells."""
THINGS = (
    "soup",
    "cake",
    "bread",
    "rice",
    "fish",
    "apple",
    "egg",
    "cheese",
    "salad",
    "honey",
    "pie",
    "pear",
    "lemon",
    "corn",
)
PLACES = ("market", "harbour", "station", "park", "school", "inn")
VERBS = (
    ("fed", "fed", "feed"),
    ("served", "served", "serve"),
    ("gave", "given", "give"),
    ("sold", "sold", "sell"),
    ("handed", "handed", "hand"),
    ("brought", "brought", "bring"),
)
"""Past, participle, base. Of the first two, one can ask whom they were done to without saying
what was given."""
FEEDING, GAVE = ("fed", "served"), VERBS[2]

# <g> gives and <r> receives. In capitals: what stands before tells that; with "!": their own
# first word does (it could have been a thing); as they are: only what follows tells.
WORDINGS = (
    "The <g> <v> the <r!> the <t>.",
    "The <g> <v> the <t> to the <R>.",
    "The <r> was <p> the <t> by the <G>.",
    "The <t> was <p> to the <R> by the <G>.",
    "The <r> got the <t> from the <G>.",
    "It was the <g> who <v> the <r!> the <t>.",
    "It was the <r> who got the <t> from the <G>.",
    "From the <G>, the <R> got the <t>.",
)
QUESTIONS = (
    ("Who got the <t>? The", "r"),
    ("Who <v> the <t>? The", "g"),
    ("Who <v> something to the <R>? The", "g"),
    ("What did the <r> get? The", "t"),
    ("What did the <g> <b>? The", "t"),
)
FEEDING_QUESTION = ("Who <v> the <r!>? The", "g")
GRAPHS = (((0, 1),), ((0, 1),), ((0, 1),), ((0, 1), (1, 2)), ((0, 1), (2, 0)), ((0, 1), (1, 0)))
"""Which of three roles gives to which; half of the documents tell of one gift."""


class Fact(NamedTuple):
    """Who gave what to whom, and the wording that says it."""

    agent: str
    recipient: str
    thing: str
    verb: tuple[str, str, str]
    wording: int


def _pieces(form: str) -> tuple[tuple[str, str], ...]:
    """(text, slot) pairs; the text before a slot goes without its last space, the slot's own."""
    parts = re.split(r" ?<([^>]+)>", form)
    return tuple(zip(parts[::2], [*parts[1::2], ""], strict=True))


_WORDINGS = tuple(map(_pieces, WORDINGS))
_VERBLESS = tuple("<v>" not in form and "<p>" not in form for form in WORDINGS)
_QUESTIONS = tuple((_pieces(form), slot) for form, slot in QUESTIONS)
_FEEDING_QUESTIONS = (*_QUESTIONS, (_pieces(FEEDING_QUESTION[0]), FEEDING_QUESTION[1]))
_CONCEPTS = {"r!": "recipient", "R": "recipient", "G": "agent"}


def role(random: Random, held: bool) -> Document:
    """One or two facts, mostly after all have been introduced, and one or two questions.

    With `held`, the fact that is asked for has a wording and a pair of roles that training does
    not combine.
    """
    while True:
        names = random.sample(ROLES, 3)
        wording = random.randrange(len(WORDINGS))
        if _kept(wording, names[0], names[1]) == held:
            break
    things = random.sample(THINGS, 2)
    graph = random.choice(GRAPHS)
    facts: list[Fact] = []
    for (agent, recipient), thing in zip(graph, things, strict=False):
        if facts:
            wording = _free_wording(random, names[agent], names[recipient])
        verb = GAVE if _VERBLESS[wording] else random.choice(VERBS)
        facts.append(Fact(names[agent], names[recipient], thing, verb, wording))
    asked = facts[:1] if held else list(facts)
    if random.random() < 0.5:
        facts.reverse()
    writer = Writer("role")
    if random.random() < 0.6:
        _introduce(random, writer, names if len(graph) == 1 or 2 in graph[1] else names[:2])
    for fact in facts:
        _write(writer, _WORDINGS[fact.wording], fact)
    _ask(random, writer, asked, 1 if held or random.random() < 0.5 else 2)
    return writer.done()


def _kept(wording: int, agent: str, recipient: str) -> bool:
    return held_out("role", wording, *sorted((agent, recipient)))


def _free_wording(random: Random, agent: str, recipient: str) -> int:
    """A wording that training may show with these roles (a test sees to it that there is one)."""
    while True:
        wording = random.randrange(len(WORDINGS))
        if not _kept(wording, agent, recipient):
            return wording


def _introduce(random: Random, writer: Writer, names: list[str]) -> None:
    *first, last = random.sample(names, len(names))
    verb = "met at" if random.random() < 0.5 else "were at"
    place = random.choice(PLACES)
    writer.say(f"The {', the '.join(first)} and the {last} {verb} the {place}.")


def _ask(random: Random, writer: Writer, facts: list[Fact], count: int) -> None:
    """`count` different questions about the facts, with their answers."""
    choices = [
        (fact, *question)
        for fact in facts
        for question in (_FEEDING_QUESTIONS if fact.verb[0] in FEEDING else _QUESTIONS)
    ]
    for fact, pieces, slot in random.sample(choices, count):
        _write(writer, pieces, fact)
        values = {"g": fact.agent, "r": fact.recipient, "t": fact.thing}
        rivals = {"g": fact.recipient, "r": fact.agent}
        rival = f" {rivals[slot]}" if slot in rivals else None
        writer.answer("role", f" {values[slot]}", other=rival).say(".")


def _write(writer: Writer, pieces: tuple[tuple[str, str], ...], fact: Fact) -> None:
    """A wording or a question, after a space if anything stands before it."""
    values = {
        "g": fact.agent,
        "r": fact.recipient,
        "t": fact.thing,
        "v": fact.verb[0],
        "p": fact.verb[1],
        "b": fact.verb[2],
    }
    if writer.length:
        writer.say(" ")
    for text, slot in pieces:
        writer.say(text)
        if not slot:
            continue
        value = " " + values[slot[0].lower()]
        concept = _CONCEPTS.get(slot)
        if concept is None:
            writer.say(value)
        else:
            own = slot.endswith("!")
            writer.mention(concept, value, " " + value.split()[0] if own else "")
