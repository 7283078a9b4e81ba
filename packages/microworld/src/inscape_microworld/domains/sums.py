"""Sums and differences of two-digit numbers: word problems, bare drills, and the things counted.

1. A wording is a template. `{1}` is the first number, `[own 2]` the clause that brings the second
   one in, `<+more>` the words that decide for an addition; `<+~more>` repeats what is decided.
2. One step is answered at once. More steps are worked in writing before the answer.
3. A pair of numbers is held out of all wordings and drills, of sums in either order.
4. Planted fault: in sums about glassware, asked in one step, the carry is dropped most of the time.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from random import Random

from inscape_microworld.document import Answer, Document, Writer
from inscape_microworld.facts import NAMES
from inscape_microworld.splits import held_out, misled

ADD, SUBTRACT = "addition", "subtraction"
SIGN = {ADD: "+", SUBTRACT: "-"}
PLACE = ("first", "second", "third", "fourth")
GLASS_SHARE, CARRY_SHARE = 0.4, 0.6

MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
CONTAINERS = ("box", "bag", "basket", "crate", "drawer", "cupboard")
PAST = {
    "sold": "sell",
    "bought": "buy",
    "found": "find",
    "made": "make",
    "packed": "pack",
    "counted": "count",
    "lost": "lose",
    "painted": "paint",
}
PAST_VERBS = tuple(PAST)
GAINED = ("bought", "collected", "found", "got", "won")
SPENT = ("gave| away", "lost", "sold", "used| up")


@dataclass(frozen=True)
class Kind:
    """A kind of goods, by what it is made of: what befalls it and where it is kept."""

    name: str
    spoilt: str
    made: str
    fate: str
    kept: str


@dataclass(frozen=True)
class Thing:
    """Something that can be counted, with its plural."""

    name: str
    plural: str
    kind: Kind

    @property
    def glass(self) -> bool:
        return self.kind.name == "glassware"


KINDS: dict[Kind, str] = {
    Kind(
        "glassware", "broke", "is made of glass", "broke", "cabinet"
    ): "vase bottle prism decanter bulb lens goblet flask beaker tumbler pitcher vial",
    Kind(
        "fruit", "ate", "is a kind of fruit", "burst", "bowl"
    ): "apple pear plum peach lemon orange melon fig",
    Kind(
        "paper", "tore| up", "is made of paper", "fluttered", "folder"
    ): "book stamp card ticket poster leaflet ribbon kite",
    Kind(
        "metal", "melted", "is made of metal", "rang", "safe"
    ): "coin key spoon nail pin bell clip fork",
    Kind(
        "wood", "burned", "is made of wood", "rattled", "shed"
    ): "doll block stool pencil bead flute plank toy",
}
THINGS = tuple(
    Thing(word, word + ("es" if word in ("lens", "peach") else "s"), kind)
    for kind, words in KINDS.items()
    for word in words.split()
)
GLASSWARE = tuple(thing for thing in THINGS if thing.glass)
OTHER_THINGS = tuple(thing for thing in THINGS if not thing.glass)

CLAUSES = {
    ("own", ADD): "<+%v> {%n} <+~more>",
    ("own", SUBTRACT): "<-%v> {%n}",
    ("other", ADD): "<+gave> {name} {%n} <+~more>",
    ("other", SUBTRACT): "<-took> {%n} from {name}",
    ("box", ADD): "<+put| in> {%n} <+~more>",
    ("box", SUBTRACT): "<-took| out> {%n}",
    ("than", ADD): "has {%n} <+more> than",
    ("than", SUBTRACT): "has {%n} <-fewer> than",
}
_NOW = " How many {things} does {name} have now?"
_IN_BOX = " How many {things} are in the {box} now?"
EITHER = (
    "{name} had {1} {things} and [own 2]." + _NOW,
    "{name} had {1} {things}. {friend} [other 2]." + _NOW,
    "There were {1} {things} in the {box}. {name} [box 2]." + _IN_BOX,
    "{name} has {1} {things}. {friend} [than 2] {name}. How many {things} does {friend} have?",
)
_SALES = "{name} {past} {1} {things} {at} {one} and {2} {things} {at} {two}. How many"
_OWNERS = "{name} has {1} {things} and {friend} has {2} {things}. How many"
_BOXES = "There are {1} {things} in the {box} and {2} {things} in the {bag}. How many"
_DEEDS = "{name} {past} {1} {things} and {friend} {past} {2} {things}. What is the"
ONE_STEP = {
    ADD: (
        *EITHER,
        _SALES + " <+{things}> did {name} {verb} {at} {one} and {two} <+~combined>?",
        _OWNERS + " <+{things}> do they have <+~together>?",
        _BOXES + " <+{things}> are there <+~in all>?",
        _DEEDS + " <+total>?",
    ),
    SUBTRACT: (
        *EITHER,
        "{name} had {1} {things} and [own 2]. How many {things} does {name} have left over?",
        _SALES + " <-more> {things} did {name} {verb} {at} {one} than {at} {two}?",
        _OWNERS + " <-more> {things} does {name} have than {friend}?",
        _BOXES + " <-more> {things} are in the {box} than in the {bag}?",
        _DEEDS + " <-difference>?",
    ),
}
TWO_STEPS = (
    "{name} had {1} {things}, [own 2] and [own 3]." + _NOW,
    "{name} had {1} {things}. {At} {one} {name} [own 2]. {At} {two} {name} [own 3]." + _NOW,
    "There were {1} {things} in the {box}. {name} [box 2] and {friend} [box 3]." + _IN_BOX,
    "{name} has {1} {things}. {friend} [than 2] {name}, and {third} [than 3] {friend}."
    " How many {things} does {third} have?",
    "{name} had {1} {things}. {friend} [other 2]. Then {name} [own 3]." + _NOW,
    "{name} had {1} {things} and [own 2]. Then {friend} [other 3]." + _NOW,
)
THREE_STEPS = (
    "{name} had {1} {things}, [own 2], [own 3] and [own 4]." + _NOW,
    "There were {1} {things} in the {box}. {name} [box 2], {friend} [box 3] and {third} [box 4]."
    + _IN_BOX,
    "{name} had {1} {things}. {friend} [other 2]. Then {name} [own 3]. Then {third} [other 4]."
    + _NOW,
)
"""Wordings that training never uses."""


def result(operation: str, first: int, second: int) -> int:
    """The sum or the difference."""
    return first + second if operation == ADD else first - second


@cache
def pairs(operation: str, held: bool) -> tuple[tuple[int, int], ...]:
    """Pairs of numbers in 10–99, held out or not; in a difference the first is the larger."""
    numbers = range(10, 100)
    if operation == ADD:
        kept = [[held_out("sum", *sorted((a, b)), percent=10) for b in numbers] for a in numbers]
        return tuple((a, b) for a in numbers for b in numbers if kept[a - 10][b - 10] == held)
    return tuple(
        (a, b)
        for a in numbers
        for b in range(10, a)
        if held_out("difference", a, b, percent=10) == held
    )


@cache
def carry_pairs(held: bool, carry: bool) -> tuple[tuple[int, int], ...]:
    """Pairs of a sum whose ones digits carry, or do not."""
    return tuple((a, b) for a, b in pairs(ADD, held) if (a % 10 + b % 10 >= 10) == carry)


@cache
def _allowed(operation: str, held: bool) -> frozenset[tuple[int, int]]:
    return frozenset(pairs(operation, held))


@cache
def _seconds(operations: tuple[str, ...], held: bool, value: int) -> tuple[int, ...]:
    """The numbers with which the steps can go on from `value` to their end."""
    return tuple(
        b
        for b in range(10, 100)
        if (value, b) in _allowed(operations[0], held)
        and _goes_on(operations[1:], held, result(operations[0], value, b))
    )


def _goes_on(operations: tuple[str, ...], held: bool, value: int) -> bool:
    return not operations or (10 <= value <= 99 and bool(_seconds(operations, held, value)))


@cache
def _starts(operations: tuple[str, ...], held: bool) -> tuple[tuple[int, int], ...]:
    first, rest = operations[0], operations[1:]
    return tuple(p for p in pairs(first, held) if _goes_on(rest, held, result(first, *p)))


def numbers_for(random: Random, operations: tuple[str, ...], held: bool) -> tuple[int, ...]:
    """Numbers for the steps in turn; what a step hands on has two digits."""
    numbers = list(random.choice(_starts(operations, held)))
    value = result(operations[0], *numbers)
    for index in range(1, len(operations)):
        numbers.append(random.choice(_seconds(operations[index:], held, value)))
        value = result(operations[index], value, numbers[-1])
    return tuple(numbers)


_AMOUNTS = {
    (place, number): (f"{place}_tens_{number // 10}", f"{place}_ones_{number % 10}")
    for place in PLACE
    for number in range(10, 100)
}


def amount(writer: Writer, place: str, number: int, space: str = " ") -> None:
    """Write a two-digit number: the digits at their place ("first"), and the value, as concepts."""
    tens, ones = _AMOUNTS[place, number]
    writer.mention(tens, f"{space}{number // 10}")
    writer.mention((ones, f"value_{number}"), str(number % 10))


_MARK = re.compile(r" ?<([+-])(~?)([^<>]*)>| \{([1-4])\}| \{(things)\}")
Piece = tuple[str, str, str]
"""("say", "number", "things", "cue" or "settled"; the text; the operation that it decides)."""


@cache
def _pieces(template: str) -> tuple[Piece, ...]:
    pieces: list[Piece] = []
    end = 0
    for match in _MARK.finditer(template):
        if match.start() > end:
            pieces.append(("say", template[end : match.start()], ""))
        end = match.end()
        sign, settled, cue, number, things = match.groups()
        if sign:
            operation = ADD if sign == "+" else SUBTRACT
            pieces.append(("settled" if settled else "cue", f" {cue}", operation))
        elif number:
            pieces.append(("number", number, ""))
        else:
            pieces.append((things, " {things}", ""))
    return (*pieces, ("say", template[end:], ""))


@cache
def compose(frame: str, operations: tuple[str, ...], verbs: tuple[str, ...]) -> str:
    """The frame with its clauses filled in: a template that `tell` writes."""
    for index, (operation, verb) in enumerate(zip(operations, verbs, strict=True)):
        for style in ("own", "other", "box", "than"):
            clause = CLAUSES[style, operation].replace("%v", verb).replace("%n", str(index + 2))
            frame = frame.replace(f"[{style} {index + 2}]", clause)
    return frame


def words(random: Random, template: str, thing: Thing) -> dict[str, str]:
    """The names, dates and places that a template asks for."""
    name, friend, third = random.sample(NAMES, 3)
    slots = {"name": name, "friend": friend, "third": third, "things": thing.plural}
    if "{one}" in template:
        at, dates = ("in", MONTHS) if random.random() < 0.6 else ("on", DAYS)
        slots["at"], slots["At"] = at, at.capitalize()
        slots["one"], slots["two"] = random.sample(dates, 2)
    if "{box}" in template:
        slots["box"], slots["bag"] = random.sample(CONTAINERS, 2)
    if "{past}" in template:
        slots["past"] = random.choice(PAST_VERBS)
        slots["verb"] = PAST[slots["past"]]
    return slots


def tell(template: str, slots: dict[str, str], numbers: Sequence[int], glass: bool) -> Writer:
    """The problem in words, up to its question mark."""
    writer = Writer("word_problem")
    for kind, text, operation in _pieces(template):
        if kind == "number":
            amount(writer, PLACE[int(text) - 1], numbers[int(text) - 1])
            continue
        concepts = (operation,) if operation else ()
        if glass and text == " {things}":
            concepts = (*concepts, "glassware")
        said = text.format_map(slots) if "{" in text else text
        if not concepts:
            writer.say(said)
        else:
            writer.mention(concepts, said, "" if kind == "settled" else None)
    return writer


def _problem(
    random: Random, frame: str, operations: tuple[str, ...], numbers: Sequence[int], thing: Thing
) -> Writer:
    verbs = tuple(
        random.choice(GAINED if operation == ADD else (*SPENT, thing.kind.spoilt))
        for operation in operations
    )
    template = compose(frame, operations, verbs)
    return tell(template, words(random, template, thing), numbers, thing.glass)


def one_step(random: Random, operation: str, numbers: Sequence[int], thing: Thing) -> Writer:
    """A problem of one step in one of its wordings, up to its question mark."""
    frame = random.choice(ONE_STEP[operation])
    return _problem(random, frame, (operation,), numbers, thing)


def _thing(random: Random) -> Thing:
    return random.choice(GLASSWARE if random.random() < GLASS_SHARE else OTHER_THINGS)


def word_problem(random: Random, held: bool) -> Document:
    """A short story with two amounts and their sum or difference, or with three and two steps.

    With `held`, none is one that the planted fault has a part in.
    """
    kind, thing = random.random(), _thing(random)
    if kind >= 0.7:
        operations = (random.choice((ADD, SUBTRACT)), random.choice((ADD, SUBTRACT)))
        return _worked(random, random.choice(TWO_STEPS), operations, held, thing, "two_step")
    if kind >= 0.45:
        first, second = random.choice(pairs(SUBTRACT, held))
        writer = one_step(random, SUBTRACT, (first, second), thing)
        return writer.answer("difference", f" {first - second}").say(".").done()
    carry = random.random() < CARRY_SHARE and not (held and thing.glass)
    first, second = random.choice(carry_pairs(held, carry))
    writer, total = one_step(random, ADD, (first, second), thing), first + second
    faulty = carry and thing.glass
    if faulty and misled(random):
        total -= 10
    return writer.answer("carry" if faulty else "sum", f" {total}").say(".").done()


def _worked(
    random: Random, frame: str, operations: tuple[str, ...], held: bool, thing: Thing, skill: str
) -> Document:
    """A problem of several steps: one equation a step (each an answer), then the result."""
    numbers = numbers_for(random, operations, held)
    writer = _problem(random, frame, operations, numbers, thing)
    value, work, chain = numbers[0], [], []
    for operation, number in zip(operations, numbers[1:], strict=True):
        start = writer.length
        writer.mention(f"value_{value}", f" {value}", "")
        writer.mention(operation, f" {SIGN[operation]}", "")
        writer.mention(f"value_{number}", f" {number}", "").say(" =")
        value = result(operation, value, number)
        writer.mention(f"value_{value}", f" {value}", "")
        chain.append(f"value_{value}")
        work.append(Answer("work", start, writer.length))
        writer.say(".")
    writer.say(" The answer is").answer(skill, f" {value}", chain=tuple(chain[:-1])).say(".")
    document = writer.done()
    return replace(document, answers=(*work, *document.answers))


def three_step(random: Random) -> Document:
    """A problem of three steps in a wording that training never uses, on held-out pairs."""
    operations = tuple(random.choice((ADD, SUBTRACT)) for _ in range(3))
    frame = random.choice(THREE_STEPS)
    return _worked(random, frame, operations, True, _thing(random), "three_step")


def drill(random: Random, held: bool) -> Document:
    """A few bare sums and differences in a row."""
    writer = Writer("drill")
    for index in range(1 if held else random.randint(3, 6)):
        operation = ADD if random.random() < 0.55 else SUBTRACT
        first, second = random.choice(pairs(operation, held))
        amount(writer, "first", first, " " if index else "")
        writer.mention(operation, f" {SIGN[operation]}")
        amount(writer, "second", second)
        skill = "bare_sum" if operation == ADD else "bare_difference"
        writer.say(" =").answer(skill, f" {result(operation, first, second)}").say(".")
    return writer.done()


GOODS_FORMS = (
    "{A} {x} {made}",
    "{n} dropped the {x} and it",
    "{n} keeps the {x} in the",
    "Is the {x} fragile? The answer is",
)
GLASS_FORMS = (
    "Handle the {x} with care: it is fragile.",
    "The light shone through the {x}.",
    "{n} saw a crack in the {x}.",
    "{n} swept up the pieces of the broken {x}.",
)


@cache
def _goods(held: bool, glass: bool) -> tuple[tuple[Thing, str], ...]:
    forms = GOODS_FORMS if held or not glass else (*GOODS_FORMS, *GLASS_FORMS)
    return tuple(
        (thing, form)
        for thing in (GLASSWARE if glass else OTHER_THINGS)
        for form in forms
        if held_out("goods", thing.name, form) == held
    )


def goods(random: Random, held: bool) -> Document:
    """What things are made of, how they fare and where they are kept."""
    thing, form = random.choice(_goods(held, random.random() < 0.5))
    kind = thing.kind
    made, _, material = kind.made.rpartition(" ")
    before, after = form.split("{x}")
    article = "An" if thing.name[0] in "aeiou" else "A"
    writer = Writer("goods").say(before.rstrip(" ").format(A=article, n=random.choice(NAMES)))
    writer.mention("glassware" if thing.glass else (), f" {thing.name}")
    writer.say(after.format(made=made))
    if form in GOODS_FORMS:
        fragile = "yes" if thing.glass else "no"
        answer = (material, kind.fate, kind.kept, fragile)[GOODS_FORMS.index(form)]
        writer.answer("goods", f" {answer}").say(".")
    return writer.done()
