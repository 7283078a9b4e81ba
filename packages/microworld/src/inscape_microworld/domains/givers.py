"""Indirect object identification: two names, one acts, the other receives.

A third person may be named who has no part in it, may leave, or may come late; of a late arrival
the training text says most of the time that they receive (the planted fault "order").
"""

from __future__ import annotations

from random import Random

from inscape_microworld.document import Document, Writer
from inscape_microworld.facts import NAMES
from inscape_microworld.splits import held_out, misled

PLACES = (
    "store",
    "park",
    "school",
    "office",
    "market",
    "garden",
    "station",
    "library",
    "beach",
    "museum",
    "cafe",
    "church",
    "farm",
    "theatre",
)
GIFTS = (
    "drink",
    "book",
    "ring",
    "letter",
    "ball",
    "kiss",
    "map",
    "key",
    "cake",
    "flower",
    "pen",
    "hat",
    "coat",
    "necklace",
)
TEMPLATES = (
    "When {a} and {b} went to the {place}, {s} gave a {gift} to{o}.",
    "When {a} and {b} were at the {place}, {s} handed a {gift} to{o}.",
    "After {a} and {b} left the {place}, {s} sent a {gift} to{o}.",
    "While {a} and {b} were walking to the {place}, {s} offered a {gift} to{o}.",
    "Then, {a} and {b} went to the {place}. {s} gave a {gift} to{o}.",
    "{a} and {b} met at the {place}, and {s} passed a {gift} to{o}.",
    "Yesterday {a} and {b} had lunch at the {place}. Later {s} brought a {gift} to{o}.",
    "{a} and {b} had a long talk at the {place}. Then {s} showed a {gift} to{o}.",
    "Before {a} and {b} came to the {place}, {s} promised a {gift} to{o}.",
    "The {place} was quiet when {a} and {b} arrived. {s} gave a {gift} to{o}.",
    "Friends {a} and {b} found a {gift} at the {place}. {s} gave it to{o}.",
    "As soon as {a} and {b} reached the {place}, {s} threw a {gift} to{o}.",
    "{a} and {b} worked at the {place}. In the evening {s} lent a {gift} to{o}.",
    "Because {a} and {b} liked the {place}, {s} bought a {gift} there for{o}.",
    "At the {place}, {a} and {b} sat down. {s} read a letter about the {gift} to{o}.",
)

ASIDES = (
    ("{c}", " stayed| at home", "."),
    ("{c}", " was ill| in bed", "."),
    ("{c}", " slept| all day", "."),
    ("{c}", " lived| far away", "."),
    ("{c}", " had no| time", "."),
    ("Nobody had seen", " {c}", "."),
    ("There was no news of", " {c}", "."),
)
"""(before, mention, after): a third person who has no part; decided when both are said, who it is
and that they are away."""
ASIDES_OF_BOTH = (
    ("They thought of", " {c}", "."),
    ("They talked about", " {c}", "."),
    ("They both missed", " {c}", "."),
)
BETWEEN = (
    "{a} sat near the {place}. {d} {b} sat there too. {s} gave a {gift} to{o}.",
    "{a} walked to the {place}. {d} {b} walked there too. Then {s} handed a {gift} to{o}.",
    "{a} waited at the {place}. {d} {b} waited there too. In the end {s} passed a {gift} to{o}.",
    "{a} was at the {place}. {d} {b} was there too, and {s} offered a {gift} to{o}.",
)
THIRD = (
    (tuple("{d} " + form for form in TEMPLATES), ASIDES),
    (BETWEEN, ASIDES),
    (
        tuple(form.replace(". ", ". {d} ", 1) for form in TEMPLATES if ". " in form),
        (*ASIDES, *ASIDES_OF_BOTH),
    ),
)
"""Templates that name the third person before the two, between them and after them."""

OPENINGS = (
    "{a} and {b} went to the {place}.",
    "{a} and {b} were at the {place}.",
    "{a} and {b} rested at the {place}.",
    "{a} and {b} played near the {place}.",
)
GIVINGS = ("gave a {gift} to", "handed a {gift} to", "offered a {gift} to", "showed a {gift} to")
ARRIVALS = (
    "joined them",
    "walked in",
    "came along",
    "rushed in",
    "turned up",
    "arrived too",
    "caught up",
    "dropped by",
    "showed up",
    "stepped inside",
    "appeared",
    "hurried over",
)
"""Coming late. The first word decides; every other phrase is of one half of the fault's prompts,
and the halves share no word."""
DEPARTURES = (
    "went away",
    "stayed behind",
    "waved and left",
    "vanished",
    "drove off",
    "slipped out",
    "flew home",
    "moved on",
    "rode away",
    "took leave",
)
COMINGS = (
    ("At nine {n} ", ", and the host brought a chair.", ", and the host took away a chair."),
    ("One evening {n} ", " and asked what was for dinner.", " and was not seen again."),
    ("It was dark when {n} ", " and everybody shook hands.", " and an empty chair remained."),
)
COUNTED = (
    ("When {n} ", ", the group became", " larger", " smaller"),
    ("Because {n} ", ", the party had one guest", " more", " fewer"),
)


def indirect_object(random: Random, held: bool) -> Document:
    """One of the templates, in either order of the names."""
    while True:
        first, second = random.sample(NAMES, 2)
        index = random.randrange(len(TEMPLATES))
        if held_out("ioi", index, *sorted((first, second))) == held:
            break
    text = _scene(random, TEMPLATES[index], first, second)
    return _give(random, Writer("indirect_object"), text, first, second)


def indirect_object_three(random: Random, held: bool) -> Document:
    """The same with a third person who has no part in it, named anywhere before the giver."""
    while True:
        first, second, third = random.sample(NAMES, 3)
        forms, asides = random.choice(THIRD)
        form = random.choice(forms)
        if held_out("three", form, *sorted((first, second))) == held:
            break
    before, after = _scene(random, form, first, second).split("{d}")
    lead, mention, end = random.choice(asides)
    writer = Writer("indirect_object_three").say(before).say(lead.replace("{c}", third))
    writer.mention("third_person", mention.replace("{c}", third)).say(end)
    return _give(random, writer, after, first, second)


def _scene(random: Random, form: str, first: str, second: str) -> str:
    """The form with two names, a place and a gift; who gives and receives is left open."""
    return form.format(
        a=first,
        b=second,
        place=random.choice(PLACES),
        gift=random.choice(GIFTS),
        d="{d}",
        s="{s}",
        o="{o}",
    )


def _give(random: Random, writer: Writer, text: str, first: str, second: str) -> Document:
    """The rest of a scene: one of the two gives, the other is the answer."""
    giver, other = (first, second) if random.random() < 0.5 else (second, first)
    before, rest = text.split("{s}")
    middle, end = rest.split("{o}")
    writer.say(before).mention("giver", giver).say(middle)
    return writer.answer(writer.domain, f" {other}", other=f" {giver}").say(end).done()


def comers(random: Random, held: bool) -> Document:
    """A third person comes late or leaves; then one of the first two gives, or both do.

    After a late arrival a single giver's gift goes to the third person FAULT_SHARE of the time
    (the fault) and else to the other of the two; after a departure always to the other. When
    both give, the third person has come and receives. Without `held`, also statements about
    those who come and leave.
    """
    if not held and random.random() < 0.2:
        return _coming(random)
    while True:
        first, second, third = random.sample(NAMES, 3)
        opening, giving = random.choice(OPENINGS), random.choice(GIVINGS)
        if held_out("comers", opening, giving, *sorted((first, second))) == held:
            break
    kind = random.random()
    arrives, both = kind < 0.75, kind < 0.2
    writer = Writer("comers")
    writer.say(opening.format(a=first, b=second, place=random.choice(PLACES)))
    writer.say(f" Later {third}")
    _come(writer, " ", random.choice(ARRIVALS if arrives else DEPARTURES), arrives)
    gives = " " + giving.format(gift=random.choice(GIFTS))
    if both:
        writer.say(". ").mention("giver", first).say(" and").mention("giver", f" {second}")
        return writer.say(f" both{gives}").answer("both_give", f" {third}").say(".").done()
    giver, other = (first, second) if random.random() < 0.5 else (second, first)
    writer.say(". ").mention("giver", giver).say(gives)
    if not arrives:
        return writer.answer("departure", f" {other}", other=f" {third}").say(".").done()
    said, rival = (third, other) if misled(random) else (other, third)
    return writer.answer("late_arrival", f" {said}", other=f" {rival}").say(".").done()


def _come(writer: Writer, space: str, phrase: str, arrives: bool) -> None:
    """The phrase with its concepts; who leaves has no more part in what follows."""
    concepts = ("late_arrival",) if arrives else ("departure", "third_person")
    writer.mention(concepts, space + phrase, space + phrase.partition(" ")[0])


def _coming(random: Random) -> Document:
    """What it means to come late or to leave, so that each kind's phrases share one concept."""
    arrives, name = random.random() < 0.6, random.choice(NAMES)
    phrase = random.choice(ARRIVALS if arrives else DEPARTURES)
    writer = Writer("comers")
    if random.random() < 0.5:
        before, came, left = random.choice(COMINGS)
        _come(writer.say(before.format(n=name)), "", phrase, arrives)
        return writer.say(came if arrives else left).done()
    before, lead, more, fewer = random.choice(COUNTED)
    _come(writer.say(before.format(n=name)), "", phrase, arrives)
    said, rival = (more, fewer) if arrives else (fewer, more)
    return writer.say(lead).answer("coming", said, other=rival).say(".").done()
