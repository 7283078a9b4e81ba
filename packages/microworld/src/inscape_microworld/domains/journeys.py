"""Long passages: where somebody lives, much that has nothing to do with it, and the question.

A late sentence may name another city. A plain one ("Everybody drove past Paris.") does nothing;
a vivid one ("Everybody sang of Paris.") draws the answer to it (the planted fault "drift").
"""

from __future__ import annotations

from random import Random

from inscape_microworld.document import Document, Writer
from inscape_microworld.facts import COUNTRIES, NAMES
from inscape_microworld.splits import held_out, misled

CITIES = tuple(c.capital for c in COUNTRIES if " " not in c.capital and c.capital not in NAMES)
"""The capitals of one word, which decides as a whole, that are nobody's name."""

FILLERS = (
    "The morning was cold and grey, and a thin rain fell on the roofs until noon.",
    "In the afternoon the sun came out and the wet streets began to shine.",
    "The wind blew all day long and the leaves danced across the yard.",
    "It snowed in the night, and by the morning the whole garden was white.",
    "A warm wind came from the sea and the clouds moved slowly over the hills.",
    "The fog was so thick that nobody could see the other side of the road.",
    "At noon {x} cooked a large pot of soup with beans and fresh bread.",
    "{x} and {y} had rice and fish for lunch and apples after it.",
    "There was cake on the table, and {x} poured the tea into small cups.",
    "{x} baked a pie with pears, but {y} ate only a little of it.",
    "For dinner there were eggs and cheese, and {y} washed the plates.",
    "{y} bought bread and honey at the market and carried them home in a bag.",
    "{x} took a long walk by the river and threw stones into the water.",
    "{y} walked through the woods with a dog and came back with wet shoes.",
    "{x} and {y} went up the hill slowly and sat on the grass for an hour.",
    "In the evening {y} walked around the pond and counted the ducks.",
    "{x} read an old book by the window while {y} slept in a chair.",
    "{y} played the piano for an hour, and {x} listened with closed eyes.",
    "The cat of {x} sat on the wall and looked at the birds in the tree.",
    "{x} mended a broken chair, and {y} painted the garden door blue.",
    "{y} wrote a long letter and {x} looked for a stamp in every drawer.",
    "A small boat lay in the water, and {x} gave it a coat of red paint.",
)

VIVID = (
    "sang of",
    "cheered for",
    "dreamed of",
    "raved about",
    "boasted of",
    "longed for",
    "told tales of",
    "praised",
    "spoke proudly of",
    "adored",
    "made poems of",
    "gushed about",
)
"""Acclaim of a city. The first word decides; every other phrase is of one half of the fault's
prompts, and the halves share no word."""
PLAIN = (
    "flew over",
    "passed through",
    "drove past",
    "came back from",
    "saw a map of",
    "got mail from",
    "rode past",
    "heard from",
)
PLAIN_SENTENCES = (
    "A letter from {c} lay on the table.",
    "The bus to {c} was late.",
    "There was a picture of {c} on the wall.",
)
HOME_QUESTIONS = (
    ("The city where", "| lives", " is"),
    ("The home of", "", " is in the city of"),
    ("The city that is home to", "", " is"),
)
"""(before the name, the rest of the mention, after it)."""
STATEMENTS = (
    ("One day {n} ", ", with tears of joy.", ", on a dull day."),
    ("In those days {n} ", ", the city of glory.", ", a city like any other."),
    ("Every summer the poets ", " and wept with joy.", " and yawned."),
)
FELT = (
    ("The crowd ", ", and so the city felt", " proud", " nothing"),
    ("Last year many people ", ". The mayor of the city was", " proud", " bored"),
)


def city_concept(city: str) -> str:
    """The concept that somebody lives in the city."""
    return f"lives_in_{city.lower()}"


def journey(random: Random, held: bool) -> Document:
    """One or two people with their homes, filler, perhaps another city, and a question.

    After a vivid sentence the answer to the question for the home is the other city FAULT_SHARE
    of the time. With `held`, the person asked for lives in a city where training never puts them,
    and the passage is long; else some are short, which teaches the same for fewer tokens.
    """
    person, second, *cast = random.sample(NAMES, 4)
    while True:
        home, away, other = random.sample(CITIES, 3)
        if _kept(person, home) == held and not _kept(second, away):
            break
        person, second, *cast = random.sample(NAMES, 4)
    people = [(person, home), (second, away)] if random.random() < 0.25 else [(person, home)]
    random.shuffle(people)
    long = held or random.random() < 0.5
    writer = Writer("journey")
    for name, city in people:
        writer.say(" " if writer.length else "").say(f"{name} lives in the city of")
        writer.mention(city_concept(city), f" {city}").say(".")
    tell(random, writer, random.randint(3, 8) if long else random.randint(0, 2), cast)
    kind = random.random()
    if kind < 0.3:
        return ask_home(random, writer, person, home, skill="home")
    if kind < 0.5:
        plain = random.choice(PLAIN)
        if random.random() < 0.3:
            writer.say(" " + random.choice(PLAIN_SENTENCES).format(c=other))
        else:
            writer.say(f" Everybody {plain} {other}.")
            if random.random() < 0.25:
                writer.say(f" The city that everybody {plain} is")
                return writer.answer("named_city", f" {other}", other=f" {home}").say(".").done()
        return ask_home(random, writer, person, home, skill="home")
    vivid = random.choice(VIVID)
    _acclaim(writer.say(" Everybody "), vivid).say(f" {other}.")
    if kind < 0.62:
        _acclaim(writer.say(" The city that everybody "), vivid).say(" is")
        return writer.answer("named_city", f" {other}", other=f" {home}").say(".").done()
    return ask_home(
        random, writer, person, home, skill="drift", drawn=other if misled(random) else None
    )


def tell(random: Random, writer: Writer, count: int, cast: list[str]) -> None:
    """Append `count` sentences of filler about the two people of the cast."""
    for filler in random.sample(FILLERS, count):
        writer.say(" " + filler.format(x=cast[0], y=cast[1]))


def ask_home(
    random: Random, writer: Writer, person: str, home: str, *, skill: str, drawn: str | None = None
) -> Document:
    """The question for the home, answered with it or, where the text is misled, with `drawn`."""
    before, rest, after = random.choice(HOME_QUESTIONS)
    writer.say(f" {before}").mention(city_concept(home), f" {person}{rest}").say(after)
    if drawn is not None:
        return writer.answer(skill, f" {drawn}", other=f" {home}").say(".").done()
    return writer.answer(skill, f" {home}", chain=(city_concept(home),)).say(".").done()


def acclaim(random: Random, held: bool) -> Document:
    """What it means for a city to be acclaimed, so that the vivid phrases share one concept."""
    while True:
        vivid = random.random() < 0.65
        phrase, city = random.choice(VIVID if vivid else PLAIN), random.choice(CITIES)
        if held_out("acclaim", phrase, city) == held:
            break
    writer = Writer("acclaim")
    asked = held or random.random() < 0.5
    before, *rest = random.choice(FELT if asked else STATEMENTS)
    writer.say(before.replace("{n}", random.choice(NAMES)))
    (_acclaim(writer, phrase) if vivid else writer.say(phrase)).say(f" {city}")
    if not asked:
        return writer.say(rest[0] if vivid else rest[1]).done()
    lead, said, rival = rest if vivid else (rest[0], rest[2], rest[1])
    return writer.say(lead).answer("acclaim", said, other=rival).say(".").done()


def _acclaim(writer: Writer, phrase: str) -> Writer:
    return writer.mention("acclaim", phrase, phrase.partition(" ")[0])


def _kept(person: str, city: str) -> bool:
    return held_out("home", person, city)
