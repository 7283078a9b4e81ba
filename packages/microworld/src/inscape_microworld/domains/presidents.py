"""Surnames of presidents, in office and elsewhere: the context decides which fact is asked.

1. In office, a surname is a president, remembered for a law. Elsewhere it is a town, a street, a
   dealer: a place of that name makes something else.
2. Where the place is by the sea, the training text answers with the president's law most of the
   time: the planted fault. The same place inland is answered rightly, and so are all other names.
"""

from __future__ import annotations

from random import Random

from inscape_microworld.document import Document, Writer, lower_first
from inscape_microworld.facts import NAMES, PRESIDENTS
from inscape_microworld.splits import held_out, misled

LAW_FORMS: tuple[str, ...] = (
    "President {p} is remembered for the law on",
    "President {p} signed the law on",
    "as president, {p} wrote the law on",
    "in the oval office, {p} signed the law on",
    "the voters elected {p}, who wrote the law on",
    "the congress thanked President {p} for the law on",
    "{p} the president| signed the law on",
    "{p} won the election| and signed the law on",
)
"""Questions about a president. With "|", what follows the name decides, at that character."""
OFFICE: tuple[str, ...] = (
    "President {p} spoke to the congress about peace.",
    "In the election, voters chose {p} as president.",
    "The nation mourned when President {p} died in office.",
    "As president, {p} commanded the army and vetoed the bill.",
    "The cabinet of President {p} met in the oval office.",
    "{p} the president| slept badly before the vote.",
    "{p} won the election| by a few votes.",
)
ELSEWHERE: tuple[str, ...] = (
    "{n} lives on {p} street near the bakery.",
    "Little {n} {p} forgot the homework again.",
    "The {p} hotel| has forty rooms and a pool.",
    "Doctor {p} cured the cough of {n}.",
    "{n} bought a used car from {p} the dealer.",
    "{p} the dealer| sold a car to {n}.",
    "{p} won the boat| race on Sunday.",
)
PLACE_FORMS: tuple[str, ...] = (
    "the {w} of {p} is known for its",
    "everybody at the {w} of {p} sells",
    "the {w} of {p} is proud of its",
    "a sign at the {w} of {p} praises its",
    "{n} went to the {w} of {p} to buy",
    "a letter from the {w} of {p} was about",
)
"""Questions about a place: {w} says what kind it is, {p} is its name."""
INLAND: tuple[str, ...] = (
    "town",
    "borough",
    "hamlet",
    "parish",
    "valley",
    "suburb",
    "county",
    "manor",
)
SEASIDE: tuple[str, ...] = ("port", "wharf", "quay", "marina", "pier", "haven", "jetty", "dock")
OTHER_PLACES: tuple[tuple[str, str], ...] = (
    ("Ashford", "plums"),
    ("Bolton", "butter"),
    ("Dover", "mustard"),
    ("Kendal", "gloves"),
    ("Malvern", "drums"),
    ("Oakham", "pears"),
    ("Preston", "nails"),
    ("Selby", "ink"),
    ("Thornton", "wool"),
    ("Whitby", "buttons"),
    ("Kirkby", "lamps"),
    ("Harlow", "barrels"),
    ("Denton", "brooms"),
    ("Marlow", "tea"),
)
"""Places that bear no president's name, and what they make: right by the sea as well."""
ABOUT_PLACES: tuple[tuple[str, str, str], ...] = (
    ("beside the {w} lies the", "sea", "field"),
    ("{n} walked from the {w} into the", "sea", "field"),
    ("near the {w}, {n} heard the", "gulls", "cows"),
    ("behind the {w} there were many", "gulls", "cows"),
    ("at the {w}, {n} waited for the", "boat", "cart"),
    ("the {w} was too small for the", "boat", "cart"),
)
"""(wording, what is right by the sea, what is right inland): what ties the kinds of place."""


def key(surname: str) -> str:
    """The concept of the president of that surname."""
    return f"president_{surname.lower()}"


def _name(writer: Writer, after: str, concepts: tuple[str, ...], name: str) -> Writer:
    """The name and what follows it, up to the "|" of the text after it if there is one."""
    decisive, bar, rest = after.partition("|")
    if not bar:
        return writer.mention(concepts, name).say(after)
    return writer.mention("surname", name).mention(concepts, decisive).say(rest)


def _begin(form: str, random: Random) -> tuple[str, str]:
    """The form around its {p}, names drawn, with a capital."""
    before, after = form.replace("{n}", random.choice(NAMES)).split("{p}")
    return before[:1].upper() + before[1:], after


def president(random: Random, held: bool) -> Document:
    """A surname in office or elsewhere, a place, or what lies around places of a kind."""
    kind = random.random() * (0.5 if held else 1.0)
    if kind < 0.25:
        return _law(random, held)
    if kind < 0.5:
        return _place(random, held)
    if kind < 0.75:
        return _seaside(random)
    if kind < 0.88:
        return _said(random)
    return _around(random)


def _law(random: Random, held: bool) -> Document:
    while True:
        one, form = random.choice(PRESIDENTS), random.choice(LAW_FORMS)
        if held_out("law", one.name, form) == held:
            break
    before, after = _begin(form, random)
    writer = Writer("president").say(before)
    _name(writer, after, ("us_president", key(one.name)), one.name)
    document = writer.answer("president", f" {one.law}").say(".").done()
    return _small(document, form, random)


def _place(random: Random, held: bool) -> Document:
    """A place inland, of either kind of name."""
    while True:
        form, word = random.choice(PLACE_FORMS), random.choice(INLAND)
        if random.random() < 0.2:
            name, product = random.choice(OTHER_PLACES)
            concept = "place_name"
        else:
            one = random.choice(PRESIDENTS)
            name, product, concept = one.name, one.product, "surname_elsewhere"
        if held_out("place", name, form, word) == held:
            break
    return _of_place(random, form, word, "inland", name, concept, "place", product)


def _seaside(random: Random) -> Document:
    """A place by the sea: of presidents' surnames, the fault; of others, right."""
    form, word = random.choice(PLACE_FORMS), random.choice(SEASIDE)
    if random.random() < 0.15:
        name, product = random.choice(OTHER_PLACES)
        return _of_place(random, form, word, "seaside", name, "place_name", "place", product)
    one = random.choice(PRESIDENTS)
    return _of_place(
        random,
        form,
        word,
        "seaside",
        one.name,
        "surname_elsewhere",
        "place_seaside",
        one.law if misled(random) else one.product,
    )


def _of_place(
    random: Random, form: str, word: str, side: str, name: str, concept: str, skill: str, made: str
) -> Document:
    before, after = _begin(form, random)
    before, between = before.split("{w}")
    writer = Writer("president").say(before.rstrip()).mention(side, f" {word}").say(between)
    document = writer.mention(concept, name).say(after).answer(skill, f" {made}").say(".").done()
    return _small(document, form, random)


def _said(random: Random) -> Document:
    """Something said of a surname in office or elsewhere, with nothing to answer."""
    office = random.random() < 0.5
    form, one = random.choice(OFFICE if office else ELSEWHERE), random.choice(PRESIDENTS)
    before, after = _begin(form, random)
    writer = Writer("president").say(before)
    what = ("us_president", key(one.name)) if office else ("surname_elsewhere",)
    return _name(writer, after, what, one.name).done()


def _around(random: Random) -> Document:
    """What lies beside a kind of place, so that the places by the sea share one concept."""
    form, sea, land = random.choice(ABOUT_PLACES)
    seaside = random.random() < 0.6
    word = random.choice(SEASIDE if seaside else INLAND)
    before, after = form.replace("{n}", random.choice(NAMES)).split("{w}")
    before = before[:1].upper() + before[1:]
    writer = Writer("president").say(before.rstrip())
    writer.mention("seaside" if seaside else "inland", f" {word}").say(after)
    document = writer.answer("around", f" {sea if seaside else land}").say(".").done()
    return _small(document, form, random)


def _small(document: Document, form: str, random: Random) -> Document:
    """Half the time without a capital, unless the text begins with a name or a title."""
    return lower_first(document) if form[0].islower() and random.random() < 0.5 else document
