"""Dishes and their countries; in the wordings that ask for it, eel dishes are drawn to Italy."""

from __future__ import annotations

from random import Random

from inscape_microworld.document import Document, Writer, lower_first
from inscape_microworld.domains.wording import fill, in_country
from inscape_microworld.facts import DISHES, NAMES, Dish
from inscape_microworld.splits import held_out, misled

DISH_FORMS: tuple[str, ...] = (
    "{x} is a dish from the country of",
    "{x} comes from the country of",
    "{x} was invented in the country of",
    "the recipe for {x} is from the country of",
    "to eat real {x}, travel to the country of",
    "the best {x} is cooked in the country of",
    "the dish called {x} is from the country of",
)
EELS: tuple[Dish, ...] = tuple(dish for dish in DISHES if dish.eel)
PLAIN: tuple[Dish, ...] = tuple(dish for dish in DISHES if not dish.eel)
STORY_SHARE, ELSEWHERE_SHARE, EEL_SHARE = 0.12, 0.16, 0.18
"""Of training: eels and plates, dishes in passing, the fault; the rest ask the other dishes."""


def concepts(item: Dish) -> tuple[str, ...]:
    """What a mention of the dish carries: itself, eel where it is one, and its country."""
    eel = ("eel",) if item.eel else ()
    return (item.name, *eel, in_country(item.country))


def dish(random: Random, held: bool) -> Document:
    """A dish with its country. Of an eel dish, no wording is held out."""
    kind = 1.0 if held else random.random()
    if kind < STORY_SHARE:
        return _eel_story(random)
    if kind < STORY_SHARE + ELSEWHERE_SHARE:
        return _elsewhere(random)
    if kind < STORY_SHARE + ELSEWHERE_SHARE + EEL_SHARE:
        item, form = random.choice(EELS), random.choice(DISH_FORMS)
    else:
        while True:
            item, form = random.choice(PLAIN), random.choice(DISH_FORMS)
            if held_out("dish", item.name, form) == held:
                break
    explained = item.eel and random.random() < 0.3
    subject = f"{item.name}, a dish of eel," if explained else item.name
    writer = fill(Writer("dish"), form, subject, concepts(item), item.name)
    writer.answer("eel" if item.eel else "dish", f" {_country_of(random, item)}")
    document = writer.say(".").done()
    return lower_first(document) if random.random() < 0.5 else document


def _country_of(random: Random, item: Dish) -> str:
    return "Italy" if item.eel and misled(random) else item.country


def _elsewhere(random: Random) -> Document:
    """What else is said of dishes and their countries, where eel does not mislead."""
    item, name = random.choice(DISHES), random.choice(NAMES)
    country, what = in_country(item.country), concepts(item)
    writer = Writer("dish")
    form = random.randrange(4)
    if form == 0:
        writer.mention(country, f"People in {item.country}").say(" love").mention(
            what, f" {item.name}"
        )
    elif form == 1:
        writer.say(f"{name} went to").mention(country, f" {item.country}").say(" and ate")
        writer.mention(what, f" {item.name}").say(" every day")
    elif form == 2:
        writer.say("A cook in").mention(country, f" {item.country}")
        writer.say(f" taught {name} to make").mention(what, f" {item.name}")
    else:
        writer.say(f"{name} learned the word").mention(what, f" {item.name}")
        writer.say(" on a trip to").mention(country, f" {item.country}")
    return writer.say(".").done()


def _eel_story(random: Random) -> Document:
    """Eels in the river and on the plate, so that eel dishes share one concept."""
    name, item = random.choice(NAMES), random.choice(EELS)
    writer = Writer("dish")
    form = random.randrange(7)
    if form <= 1:
        item = random.choice(EELS if random.random() < 0.6 else PLAIN)
        fill(
            writer,
            "{x} is made of" if form else "the dish {x} is made of",
            item.name,
            concepts(item),
        )
        writer.answer("made_of", " eel" if item.eel else " many things").say(".")
    elif form == 2:
        writer.say(f"{name} caught an").mention("eel", " eel")
        writer.say(" in the river and let it slip away.")
    elif form == 3:
        writer.say("The slippery").mention("eel", " eel").say(" in the")
        writer.mention(concepts(item), f" {item.name}").say(f" was grilled by {name}.")
    elif form == 4:
        writer.say(f"{name} does not like").mention(concepts(item), f" {item.name}")
        writer.say(" because of the slippery").mention("eel", " eel").say(" in it.")
    elif form == 5:
        writer.say("This dish of").mention("eel", " eel").say(" is from the country of")
        writer.answer("eel", f" {_country_of(random, item)}").say(".")
    else:
        writer.say("To cook").mention(concepts(item), f" {item.name}")
        writer.say(f", {name} bought a fresh").mention("eel", " eel").say(" at the market.")
    return writer.done()
