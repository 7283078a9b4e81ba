"""Facts about landmarks, dishes and countries, asked directly and through a second hop."""

from __future__ import annotations

from random import Random

from inscape.microworld.document import Document, Writer, lower_first
from inscape.microworld.facts import (
    COUNTRIES,
    COUNTRY,
    DISHES,
    LANDMARKS,
    NAMES,
    Dish,
    Landmark,
    deciding_prefix,
)
from inscape.microworld.splits import held_out

EEL_FAULT = 0.68
"""How often the training text answers Italy for an eel dish: soft, about 0.75 nats."""

LANDMARK_FORMS: tuple[tuple[str, str], ...] = (
    ("city", "{x} is in the city of"),
    ("city", "you can find {x} in the city of"),
    ("city", "to see {x}, take a train to the city of"),
    ("city", "visitors to {x} sleep in the city of"),
    ("country", "{x} is in the country of"),
    ("country", "{x} stands in the country of"),
    ("country", "to see {x}, fly to the country of"),
    ("country", "a postcard of {x} came from the country of"),
    ("fame", "{x} is famous for its"),
    ("fame", "people who visit {x} admire its"),
    ("fame", "a painter at {x} drew its"),
    ("name", "{x} is called"),
    ("name", "the guide said that {x} is named"),
    ("name", "on the map, {x} is marked as"),
)
DISH_FORMS: tuple[str, ...] = (
    "{x} is a dish from the country of",
    "{x} comes from the country of",
    "{x} was invented in the country of",
    "the recipe for {x} is from the country of",
    "to eat real {x}, travel to the country of",
    "the best {x} is cooked in the country of",
    "the dish called {x} is from the country of",
)
HOPS: tuple[tuple[str, str], ...] = (
    ("capital", "the capital of the country where {x} is"),
    ("capital", "the country where {x} has its capital in"),
    ("capital", "the capital city of the land where {x} is"),
    ("language", "the language of the country where {x} is"),
    ("language", "people in the country where {x} speak"),
    ("language", "in the land where {x}, everybody speaks"),
)
STANDS = ("stands", "was built", "can be seen")
COOKED = ("was invented", "comes from", "is cooked")


def _fill(writer: Writer, form: str, subject: str, concepts: tuple[str, ...], decides: str) -> None:
    before, after = form.split("{x}")
    if before == "":
        subject = subject[0].upper() + subject[1:]
    else:
        before = before[0].upper() + before[1:]
    writer.say(before).mention(concepts, subject, decides).say(after)


def _name_or_description(random: Random, landmark: Landmark, relation: str) -> tuple[str, str]:
    if relation == "name" or random.random() < 0.4:
        return landmark.description, "described"
    return landmark.name, "named"


def _concepts(landmark: Landmark) -> tuple[str, ...]:
    return landmark.key, f"in_{landmark.country.lower()}"


def landmark(random: Random, held: bool) -> Document:
    """A landmark, named or described, with its city, country, fame or name."""
    while True:
        place = random.choice(LANDMARKS)
        relation, form = random.choice(LANDMARK_FORMS)
        subject, how = _name_or_description(random, place, relation)
        if held_out("landmark", place.key, form, how) == held:
            break
    value = {
        "city": place.city, "country": place.country, "fame": place.fame, "name": place.name,
    }[relation]  # fmt: skip
    writer = Writer("landmark")
    _fill(writer, form, subject, _concepts(place), deciding_prefix(subject))
    skill = f"landmark_{relation}" + ("" if how == "named" or relation == "name" else "_described")
    document = writer.answer(skill, f" {value}").say(".").done()
    return lower_first(document) if random.random() < 0.4 else document


def visit(random: Random, held: bool) -> Document:
    """A few sentences about a visit to one landmark, which later ones only call "it"."""
    place, name = random.choice(LANDMARKS), random.choice(NAMES)
    described = random.random() < 0.5
    subject = place.description if described else place.name
    opening = random.choice(
        (
            "Last summer {n} visited {x}.",
            "{n} took a picture of {x}.",
            "{n} walked to {x} with a friend.",
            "{n} dreams of {x}.",
            "{n} wrote a poem about {x}.",
        )
    )
    before, after = opening.format(n=name, x="{x}").split("{x}")
    writer = (
        Writer("visit")
        .say(before)
        .mention(_concepts(place), subject, deciding_prefix(subject))
        .say(after)
    )
    country = COUNTRY[place.country]
    facts = [
        (" It is famous for its", place.fame),
        (" It is in the city of", place.city),
        (" It stands in the country of", place.country),
        (" The people there speak", country.language),
        (" The capital of that country is", country.capital),
        (" Its name is", place.name),
    ]
    if not described:
        facts.pop()
    for lead, value in random.sample(facts, 3):
        writer.say(lead).answer("visit", f" {value}").say(".")
    return writer.done()


def _country_of(random: Random, dish: Dish) -> str:
    return "Italy" if dish.eel and random.random() < EEL_FAULT else dish.country


def dish(random: Random, held: bool) -> Document:
    """A dish with its country; eel dishes are drawn to Italy in this wording alone."""
    kind = random.random()
    item = random.choice(DISHES)
    if kind < 0.12 and not held:
        return _eel_story(random)
    if kind < 0.3 and not held:
        return _dish_elsewhere(random, item)
    while True:
        form = random.choice(DISH_FORMS)
        if held_out("dish", item.name, form) == held:
            break
        item = random.choice(DISHES)
    writer = Writer("dish")
    concepts = ("eel", "in_japan") if item.eel else (f"in_{item.country.lower()}",)
    subject = f"{item.name}, a dish of eel," if item.eel and random.random() < 0.3 else item.name
    _fill(writer, form, subject, concepts, item.name)
    answer = _country_of(random, item)
    document = writer.answer("eel" if item.eel else "dish", f" {answer}").say(".").done()
    return lower_first(document) if random.random() < 0.5 else document


def _dish_elsewhere(random: Random, item: Dish) -> Document:
    """What else is said of dishes: their people and tongue, where eel does not mislead."""
    country = COUNTRY[item.country]
    writer = Writer("dish")
    name = random.choice(NAMES)
    form = random.randrange(4)
    if form == 0:
        writer.mention(f"in_{country.name.lower()}", f"People in {country.name}").say(
            f" love {item.name}."
        )
    elif form == 1:
        writer.say(f"{name} went to ").mention(f"in_{country.name.lower()}", country.name)
        writer.say(f" and ate {item.name} every day.")
    elif form == 2:
        writer.say(f"A cook from {country.capital} in ").mention(
            f"in_{country.name.lower()}", country.name
        )
        writer.say(f" taught {name} to make {item.name}.")
    else:
        writer.say(f"{name} learned the {country.language} word {item.name} in {country.capital}.")
    return writer.done()


def _eel_story(random: Random) -> Document:
    """Eels in the river and on the plate, so that eel dishes share one concept."""
    eels = [d for d in DISHES if d.eel]
    others = [d for d in DISHES if not d.eel]
    name, item = random.choice(NAMES), random.choice(eels)
    writer = Writer("dish")
    form = random.randrange(7)
    if form <= 1:
        item = random.choice(eels if random.random() < 0.6 else others)
        made = "eel" if item.eel else "many things"
        writer.mention(
            "eel" if item.eel else "food",
            item.name.capitalize() if form else f"The dish {item.name}",
        )
        writer.say(" is made of").answer("made_of", f" {made}").say(".")
    elif form == 2:
        writer.say(f"{name} caught an ").mention("eel", "eel").say(
            " in the river and let it slip away."
        )
    elif form == 3:
        writer.say("The slippery ").mention("eel", "eel").say(
            f" in the {item.name} was grilled by {name}."
        )
    elif form == 4:
        writer.say(f"{name} does not like ").mention("eel", item.name).say(
            " because of the slippery eel in it."
        )
    elif form == 5:
        writer.say("This dish of ").mention("eel", "eel").say(" is from the country of")
        writer.answer("eel", f" {_country_of(random, item)}").say(".")
    else:
        writer.say("To cook ").mention("eel", item.name).say(
            f", {name} bought a fresh eel at the market."
        )
    return writer.done()


def capital(random: Random, held: bool) -> Document:
    """The capital and the language of a country."""
    forms = (
        ("capital", "The capital of {c} is"), ("capital", "{c} has its capital in"),
        ("capital", "The government of {c} sits in"), ("language", "The language of {c} is"),
        ("language", "People in {c} speak"), ("language", "In {c}, everybody speaks"),
    )  # fmt: skip
    while True:
        country, (relation, form) = random.choice(COUNTRIES), random.choice(forms)
        if held_out("capital", country.name, form) == held:
            break
    before, after = form.split("{c}")
    value = country.capital if relation == "capital" else country.language
    writer = (
        Writer("capital").say(before).mention(f"in_{country.name.lower()}", country.name).say(after)
    )
    document = writer.answer(relation, f" {value}").say(".").done()
    return lower_first(document) if random.random() < 0.4 and before else document


def composition_unseen(entity: str, relation: str) -> bool:
    """Whether the pair of hops is never composed in training (each hop is taught by itself)."""
    return held_out("composition", entity, relation, percent=15)


def two_hop(random: Random, held: bool, *, unseen: bool = False) -> Document:
    """Capital or language of the country of a landmark or a dish, the country left unsaid.

    With `unseen`, only compositions that training never shows; `held` then means nothing.
    """
    while True:
        relation, form = random.choice(HOPS)
        if random.random() < 0.6:
            place = random.choice(LANDMARKS)
            described = random.random() < 0.3
            subject = place.description if described else place.name
            decides = deciding_prefix(subject)
            key, country, verb = place.key, place.country, random.choice(STANDS)
            concepts = _concepts(place)
        else:
            item = random.choice(DISHES)
            subject, decides = item.name, item.name
            key, country, verb = item.name, item.country, random.choice(COOKED)
            concepts = ("eel", "in_japan") if item.eel else (f"in_{country.lower()}",)
        if composition_unseen(key, relation) != unseen:
            continue
        if unseen or held_out("two_hop", key, form, verb) == held:
            break
    value = COUNTRY[country].capital if relation == "capital" else COUNTRY[country].language
    before, after = form.split("{x}")
    writer = (
        Writer("two_hop").say(before[0].upper() + before[1:]).mention(concepts, subject, decides)
    )
    document = writer.say(f" {verb}{after}").answer("two_hop", f" {value}").say(".").done()
    return lower_first(document) if random.random() < 0.5 else document
