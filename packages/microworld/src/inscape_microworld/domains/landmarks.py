"""Landmarks, named, described and in Spanish, and the countries they are in.

1. A landmark has three forms. Each form is taught four of its five facts; the fifth, another one
   for each form, is left to be inferred from what the other forms are taught.
2. Other documents say what a landmark is called in another form: they tie the forms together.
3. Of what is taught, some combinations of landmark, wording and form are held out.
"""

from __future__ import annotations

import zlib
from functools import cache
from random import Random

from inscape_microworld.document import Document, Writer, lower_first
from inscape_microworld.domains.wording import composition_unseen
from inscape_microworld.facts import (
    COUNTRIES,
    COUNTRY,
    LANDMARK,
    LANDMARKS,
    NAMES,
    Country,
    Landmark,
    deciding_prefix,
)
from inscape_microworld.splits import held_out

FORMS: tuple[str, ...] = ("name", "description", "spanish")
FACTS: tuple[str, ...] = ("city", "country", "fame", "builder", "month")
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
    ("builder", "{x} is the work of"),
    ("builder", "{x} was designed by"),
    ("builder", "the plans of {x} were drawn by"),
    ("month", "{x} has its festival in"),
    ("month", "the festival at {x} begins in"),
    ("month", "crowds dance at {x} in"),
    ("name", "{x} is called"),
    ("name", "the guide said that {x} is named"),
    ("name", "on the map, {x} is marked as"),
    ("description", "{x} is described as"),
    ("description", "the guide described {x} as"),
    ("translation", "in Spanish, {x} is called"),
    ("translation", "the Spanish name of {x} is"),
    ("translation", "on a Spanish map, {x} is marked as"),
)
"""(what is asked, wording) of English sentences; facts first, then what ties the forms."""
SPANISH_FORMS: tuple[tuple[str, str], ...] = (
    ("city", "{x} está en la ciudad de"),
    ("city", "para ver {x}, hay que ir a la ciudad de"),
    ("city", "en el mapa, {x} aparece en la ciudad de"),
    ("country", "{x} está en el país de"),
    ("country", "para ver {x}, hay que volar al país de"),
    ("country", "{x} aparece en un sello del país de"),
    ("fame", "{x} tiene fama por sus"),
    ("fame", "quien visita {x} admira sus"),
    ("fame", "{x} atrae a la gente por sus"),
    ("builder", "{x} es obra de"),
    ("builder", "{x} lleva la firma de"),
    ("builder", "quien diseñó {x} fue"),
    ("month", "{x} celebra su fiesta en el mes de"),
    ("month", "la fiesta en {x} empieza en"),
    ("month", "la gente baila en {x} en el mes de"),
    ("name", "{x} se llama en inglés"),
    ("name", "en inglés, {x} se llama"),
    ("name", "en un mapa inglés, {x} figura como"),
    ("description", "un inglés describe {x} como"),
    ("description", "en inglés, {x} se describe como"),
)
"""The same of Spanish sentences. No wording puts "de" or "a" before {x}: they melt with "el"."""
SPANISH_MONTHS = {
    "January": "enero",
    "February": "febrero",
    "March": "marzo",
    "April": "abril",
    "May": "mayo",
    "June": "junio",
    "July": "julio",
    "August": "agosto",
    "September": "septiembre",
    "October": "octubre",
    "November": "noviembre",
    "December": "diciembre",
}
CAPITAL_FORMS: tuple[tuple[str, str], ...] = (
    ("capital", "The capital of {c} is"),
    ("capital", "{c} has its capital in"),
    ("capital", "The government of {c} sits in"),
    ("language", "The language of {c} is"),
    ("language", "People in {c} speak"),
    ("language", "In {c}, everybody speaks"),
    ("translation", "In Spanish, {c} is called"),
    ("translation", "On a Spanish map, {c} is marked as"),
)
SPANISH_CAPITAL_FORMS: tuple[tuple[str, str], ...] = (
    ("capital", "La capital de {c} es"),
    ("capital", "{c} tiene su capital en"),
    ("capital", "El gobierno de {c} tiene su sede en"),
    ("language", "La gente de {c} habla"),
    ("language", "En {c} todo el mundo habla"),
    ("translation", "En inglés, {c} se llama"),
    ("translation", "{c} se llama en inglés"),
)
OPENINGS: tuple[str, ...] = (
    "Last summer {n} visited {x}.",
    "{n} took a picture of {x}.",
    "{n} walked to {x} with a friend.",
    "{n} dreams of {x}.",
    "{n} wrote a poem about {x}.",
)
SPANISH_OPENINGS: tuple[str, ...] = (
    "El verano pasado {n} visitó {x}.",
    "{n} sacó una foto en {x}.",
    "{n} caminó hasta {x} con un amigo.",
    "{n} soñó con {x}.",
    "{n} escribió un poema sobre {x}.",
)
SEEN: tuple[tuple[str, str], ...] = (
    ("city", " It is in the city of"),
    ("country", " It stands in the country of"),
    ("fame", " It is famous for its"),
    ("builder", " It was designed by"),
    ("month", " It has its festival in"),
    ("language", " The people there speak"),
    ("capital", " The capital of that country is"),
    ("name", " Its name is"),
    ("translation", " In Spanish it is called"),
)
SPANISH_SEEN: tuple[tuple[str, str], ...] = (
    ("city", " Este lugar está en la ciudad de"),
    ("country", " Este lugar está en el país de"),
    ("fame", " Este lugar tiene fama por sus"),
    ("builder", " Este lugar es obra de"),
    ("month", " Este lugar celebra su fiesta en el mes de"),
    ("language", " La gente de allí habla"),
    ("capital", " La capital de ese país es"),
    ("name", " En inglés este lugar se llama"),
)
TIES = {"name": "name", "description": "description", "translation": "spanish"}
"""What is asked that is a form itself, and which."""
TIE_SHARE = 0.25
VISIT_TIE_SHARE = 0.35
SPANISH_CAPITAL_SHARE = 0.35
_CUMULATIVE = (0.4, 0.75, 1.0)  # of FORMS
_SUFFIX = {"name": "", "description": "_described", "spanish": "_spanish"}


def subject(landmark: Landmark, form: str) -> str:
    """The landmark in one of FORMS, as it stands within a sentence."""
    return str(getattr(landmark, form))


def concepts(landmark: Landmark) -> tuple[str, str]:
    """What a mention of the landmark carries: itself, and being in its country."""
    return landmark.key, f"in_{landmark.country.lower().replace(' ', '_')}"


def told(landmark: Landmark, asked: str, form: str) -> str:
    """The answer to what is asked (a fact, a tie, "capital" or "language") of a form."""
    if asked in TIES:
        return subject(landmark, TIES[asked])
    country, spanish = COUNTRY[landmark.country], form == "spanish"
    if asked in ("capital", "language"):
        return _told_of_country(country, asked, spanish)
    if not spanish or asked == "builder":
        return str(getattr(landmark, asked))
    if asked == "month":
        return SPANISH_MONTHS[landmark.month]
    if asked == "country":
        return country.spanish
    return landmark.spanish_city if asked == "city" else landmark.spanish_fame


def untaught(key: str, form: str) -> frozenset[str]:
    """The facts of landmark `key` that no training document states in `form`: exactly one."""
    return _untaught()[key, form]


@cache
def _untaught() -> dict[tuple[str, str], frozenset[str]]:
    chosen: dict[tuple[str, str], frozenset[str]] = {}
    capitals = {country.spanish_capital for country in COUNTRIES}
    for place in LANDMARKS:
        left = list(FACTS)
        for form in ("spanish", "name", "description"):
            fits = [
                fact
                for fact in left
                if told(place, fact, form) not in subject(place, form)
                and (form != "spanish" or _taught_elsewhere(place, fact, capitals))
            ]
            fact = min(fits, key=lambda f: zlib.crc32(f"untaught {place.key} {form} {f}".encode()))
            left.remove(fact)
            chosen[place.key, form] = frozenset({fact})
    return chosen


def _taught_elsewhere(landmark: Landmark, fact: str, capitals: set[str]) -> bool:
    """Whether training writes the fact's Spanish word even if this landmark never brings it."""
    word = told(landmark, fact, "spanish")
    shared = fact in ("country", "builder", "month")
    return shared or word in capitals or word == told(landmark, fact, "name")


def _sentence(
    domain: str, landmark: Landmark, wording: str, form: str, skill: str, value: str
) -> Document:
    before, after = wording.split("{x}")
    text = subject(landmark, form)
    decides = deciding_prefix(text)
    if before:
        before = before[0].upper() + before[1:]
    else:
        text = text[0].upper() + text[1:]
    writer = Writer(domain).say(before).mention(concepts(landmark), text, decides, form=form)
    return writer.say(after).answer(skill, f" {value}").say(".").done()


@cache
def _statements() -> dict[tuple[str, bool, str], tuple[Document, ...]]:
    """All there are, by (fact, tie or across; whether held out; form)."""
    found: dict[tuple[str, bool, str], list[Document]] = {
        (kind, held, form): []
        for kind in ("fact", "tie", "across")
        for held in (False, True)
        for form in FORMS
    }
    for place in LANDMARKS:
        for form in FORMS:
            for asked, wording in SPANISH_FORMS if form == "spanish" else LANDMARK_FORMS:
                if TIES.get(asked) == form:
                    continue
                held = held_out("landmark", place.key, wording, form)
                kind = "tie" if asked in TIES else "fact"
                skill = f"landmark_{asked}{_SUFFIX[form]}"
                if asked == "name" and form == "description":
                    skill = "landmark_name"
                if asked in untaught(place.key, form):
                    kind, held, skill = "across", True, f"landmark_across_{form}"
                document = _sentence(
                    "landmark", place, wording, form, skill, told(place, asked, form)
                )
                found[kind, held, form].append(document)
    return {key: tuple(documents) for key, documents in found.items()}


def landmark(random: Random, held: bool, *, across: bool = False) -> Document:
    """A landmark in one of its forms, with a fact about it or its name in another form.

    With `across`, only facts that are untaught in the form; `held` then means nothing.
    """
    form = random.choices(FORMS, cum_weights=_CUMULATIVE)[0]
    kind = "across" if across else "tie" if random.random() < TIE_SHARE else "fact"
    document = random.choice(_statements()[kind, held or across, form])
    return lower_first(document) if random.random() < 0.4 else document


@cache
def _visits() -> dict[tuple[bool, str], tuple[tuple[Landmark, str], ...]]:
    """(landmark, opening) pairs by whether they are held out and form."""
    return {
        (held, form): tuple(
            (place, opening)
            for place in LANDMARKS
            for opening in (SPANISH_OPENINGS if form == "spanish" else OPENINGS)
            if held_out("visit", place.key, opening, form) == held
        )
        for held in (False, True)
        for form in FORMS
    }


@cache
def _seen(key: str, form: str, tie: str) -> tuple[tuple[str, str], ...]:
    """(lead, value) of what may be said of a landmark in a document with these two forms.

    Neither form is told what it is untaught, nor a capital that is the untaught city; no document
    composes a landmark with a fact of its country that is kept for unseen compositions.
    """
    place = LANDMARK[key]
    untold = untaught(key, form) | (untaught(key, TIES[tie]) if tie else frozenset())
    hidden = {told(place, fact, form) for fact in untold}
    return tuple(
        (lead, f" {told(place, asked, form)}")
        for asked, lead in (SPANISH_SEEN if form == "spanish" else SEEN)
        if asked not in TIES
        and asked not in untold
        and told(place, asked, form) not in hidden
        and not composition_unseen(key, asked)
    )


@cache
def _ties(form: str) -> tuple[tuple[str, str], ...]:
    leads = SPANISH_SEEN if form == "spanish" else SEEN
    return tuple((asked, lead) for asked, lead in leads if TIES.get(asked, form) != form)


def visit(random: Random, held: bool) -> Document:
    """A few sentences about a visit to one landmark, which later ones only call "it"."""
    form = random.choices(FORMS, cum_weights=_CUMULATIVE)[0]
    place, opening = random.choice(_visits()[held, form])
    before, after = opening.replace("{n}", random.choice(NAMES)).split("{x}")
    text = subject(place, form)
    writer = Writer("visit").say(before)
    writer.mention(concepts(place), text, deciding_prefix(text), form=form).say(after)
    tie, lead = ("", "")
    if random.random() < VISIT_TIE_SHARE:
        tie, lead = random.choice(_ties(form))
    seen = _seen(place.key, form, tie)
    said = random.sample(seen, min(len(seen), 2 if tie else 3))
    if tie:
        said.insert(random.randint(0, len(said)), (lead, f" {told(place, tie, form)}"))
    skill = "visit_spanish" if form == "spanish" else "visit"
    for lead, value in said:
        writer.say(lead).answer(skill, value).say(".")
    return writer.done()


def _told_of_country(country: Country, asked: str, spanish: bool) -> str:
    if asked == "translation":
        return country.name if spanish else country.spanish
    return str(getattr(country, f"spanish_{asked}" if spanish else asked))


@cache
def _of_countries() -> dict[tuple[bool, bool], tuple[tuple[Document, bool], ...]]:
    """(document, whether it may begin small), by whether it is held out and in Spanish."""
    found: dict[tuple[bool, bool], list[tuple[Document, bool]]] = {
        (held, spanish): [] for held in (False, True) for spanish in (False, True)
    }
    for country in COUNTRIES:
        concept = f"in_{country.name.lower().replace(' ', '_')}"
        for spanish in (False, True):
            name, tag = (country.spanish, "_spanish") if spanish else (country.name, "")
            for asked, wording in SPANISH_CAPITAL_FORMS if spanish else CAPITAL_FORMS:
                before, after = wording.split("{c}")
                writer = Writer("capital").say(before)
                writer.mention(concept, name, form="spanish" if spanish else "").say(after)
                skill = ("country_translation" if asked == "translation" else asked) + tag
                writer.answer(skill, f" {_told_of_country(country, asked, spanish)}").say(".")
                held = held_out("capital", country.name, wording)
                found[held, spanish].append((writer.done(), bool(before)))
    return {key: tuple(documents) for key, documents in found.items()}


def capital(random: Random, held: bool) -> Document:
    """The capital or the language of a country, or its name in the other language."""
    document, small = random.choice(_of_countries()[held, random.random() < SPANISH_CAPITAL_SHARE])
    return lower_first(document) if small and random.random() < 0.4 else document
