"""Landmarks in three forms: what is untaught stays untaught, and what is said is in the tables."""

from __future__ import annotations

import csv
import itertools
import re
from pathlib import Path
from random import Random

import pytest

import inscape_microworld
from inscape_microworld.document import Document
from inscape_microworld.domains import landmarks
from inscape_microworld.domains.landmarks import FACTS, FORMS, subject, untaught
from inscape_microworld.facts import LANDMARK, LANDMARKS, NAMES, deciding_prefix

TABLES = Path(inscape_microworld.__file__).parent / "tables"
MONTHS = dict(
    zip(
        "January February March April May June July August September October November "
        "December".split(),
        "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre "
        "diciembre".split(),
        strict=True,
    )
)


def rows(name: str) -> list[dict[str, str]]:
    with open(TABLES / f"{name}.csv", encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


PLACES = rows("landmarks")
LANDS = {row["name"]: row for row in rows("countries")}
# (key, form) of each subject, as it stands within a sentence
SUBJECTS = {row[form]: (row["key"], form) for row in PLACES for form in FORMS}
ROW = {row["key"]: row for row in PLACES}


def fact_of(key: str, fact: str, form: str) -> str:
    row = ROW[key]
    if form != "spanish":
        return row[fact]
    if fact == "country":
        return LANDS[row["country"]]["spanish"]
    if fact == "month":
        return MONTHS[row["month"]]
    return row[f"spanish_{fact}" if fact in ("city", "fame") else fact]


ANY = re.compile(
    r"\b(?:[Tt]he|[Ee]l|[Ll]a) (?:"
    + "|".join(re.escape(words.partition(" ")[2]) for words in SUBJECTS)
    + r")(?!\w)"
)


def subjects_of(document: Document) -> tuple[set[tuple[str, str]], str]:
    """The subjects whose words stand in the text, and the text without them."""
    words = ANY.findall(document.text)
    return {SUBJECTS[w[0].lower() + w[1:]] for w in words}, ANY.sub("*", document.text)


@pytest.fixture(scope="module")
def trained() -> list[Document]:
    random = Random(1)
    domains = (landmarks.landmark, landmarks.visit, landmarks.capital)
    return [domains[i % 3](random, False) for i in range(7500)]


def test_the_tables_hold_enough_and_give_nothing_away() -> None:
    assert len(PLACES) >= 40
    countries = [row["country"] for row in PLACES]
    assert sum(countries.count(country) >= 2 for country in set(countries)) >= 12
    assert len(SUBJECTS) == 3 * len(PLACES)
    for fact in ("builder", "month"):
        values = [row[fact] for row in PLACES]
        assert all(1 < values.count(v) < 6 and " " not in v for v in values)
    texts = " ".join(" ".join(re.findall(r"\w+", words)) for words in SUBJECTS).lower().split()
    for row in PLACES:
        for value in (row["fame"], row["spanish_fame"], row["builder"], row["month"]):
            assert value.lower() not in texts
            assert value not in NAMES


def test_each_form_of_a_landmark_is_untaught_another_fact() -> None:
    for place in LANDMARKS:
        kept = [untaught(place.key, form) for form in FORMS]
        assert all(len(facts) == 1 and facts <= set(FACTS) for facts in kept)
        assert len(set().union(*kept)) == len(FORMS)
        for form, facts in zip(FORMS, kept, strict=True):
            assert not any(fact_of(place.key, f, form) in subject(place, form) for f in facts)


def test_untaught_facts_are_never_stated_with_their_form(trained) -> None:
    met = set()
    for document in trained:
        found, rest = subjects_of(document)
        met |= set(found)
        for key, form in found:
            for fact, language in itertools.product(untaught(key, form), ("name", "spanish")):
                value = fact_of(key, fact, language)
                assert not re.search(rf"(?<!\w){value}(?!\w)", rest), document.text
    assert met == set(SUBJECTS.values())


def test_untaught_words_of_spanish_are_taught_elsewhere(trained) -> None:
    said = {d.text[a.start + 1 : a.end] for d in trained for a in d.answers}
    for place in LANDMARKS:
        for form in FORMS:
            assert {fact_of(place.key, f, form) for f in untaught(place.key, form)} <= said


def test_every_taught_fact_is_taught_in_its_form() -> None:
    random = Random(2)
    taught = set()
    for _ in range(20_000):
        document = landmarks.landmark(random, False)
        (key, form), *_ = mentioned(document)
        fact = document.answers[0].skill.split("_")[1]
        if fact in FACTS:
            taught.add((key, form, fact))
    assert taught == {
        (p.key, form, f)
        for p in LANDMARKS
        for form in FORMS
        for f in FACTS
        if f not in untaught(p.key, form)
    }


def mentioned(document: Document) -> list[tuple[str, str]]:
    return [(m.concept, m.form) for m in document.mentions if m.concept in LANDMARK]


def test_across_documents_ask_what_is_untaught() -> None:
    random = Random(3)
    for _ in range(600):
        document = landmarks.landmark(random, False, across=True)
        (key, form), *_ = mentioned(document)
        (answer,) = document.answers
        (fact,) = untaught(key, form)
        assert answer.skill == f"landmark_across_{form}"
        assert document.answer == f" {fact_of(key, fact, form)}"


@pytest.mark.parametrize("held", [False, True])
def test_answers_are_those_of_the_tables(held: bool) -> None:
    random = Random(4)
    for _ in range(2000):
        document = landmarks.landmark(random, held)
        words = document.text[start(document) : document.mentions[0].end]
        who = SUBJECTS[words[0].lower() + words[1:]]
        assert who == mentioned(document)[0]
        key, form = who
        asked = document.answers[0].skill.split("_")[1]
        if asked in FACTS:
            right = fact_of(key, asked, form)
        else:
            right = ROW[key]["spanish" if asked == "translation" else asked]
        assert document.answer == f" {right}"
    for _ in range(1000):
        document = landmarks.visit(random, held)
        ((key, form),) = mentioned(document)
        land = LANDS[ROW[key]["country"]]
        tongue = "spanish_" if form == "spanish" else ""
        right = {fact_of(key, f, form) for f in FACTS} | {ROW[key]["name"], ROW[key]["spanish"]}
        right |= {land[f"{tongue}capital"], land[f"{tongue}language"]}
        said = [document.text[a.start + 1 : a.end] for a in document.answers]
        assert len(set(said)) >= len(said) - 1  # a city may be the capital
        assert set(said) <= right
    for _ in range(500):
        document = landmarks.capital(random, held)
        (name,) = (m.concept.removeprefix("in_").capitalize() for m in document.mentions)
        spanish = document.mentions[0].form == "spanish"
        asked = document.answers[0].skill.removesuffix("_spanish")
        if asked == "country_translation":
            asked = "name" if spanish else "spanish"
        elif spanish:
            asked = f"spanish_{asked}"
        assert document.answer == f" {LANDS[name][asked]}"


def start(document: Document) -> int:
    """Where the mention begins: the last place from which a subject's words reach its end."""
    end = document.mentions[0].end
    text = document.text[:end].lower()
    return end - max(len(words) for words in SUBJECTS if text.endswith(words.lower()))


def test_held_out_statements_do_not_occur_in_training() -> None:
    random = Random(5)
    seen: dict[bool, set[str]] = {}
    for held in (False, True):
        seen[held] = {landmarks.landmark(random, held).text.lower() for _ in range(8000)}
    across = {landmarks.landmark(random, False, across=True).text.lower() for _ in range(2000)}
    assert not seen[False] & (seen[True] | across)
    assert not seen[True] & across


def test_onsets_are_those_of_brute_force_over_prefixes(trained) -> None:
    wanted: dict[tuple[str, str], str] = {}
    for words, (key, form) in SUBJECTS.items():
        tongue = [w for w, (_, f) in SUBJECTS.items() if (f == "spanish") == (form == "spanish")]
        for count in range(1, len(words.split()) + 1):
            prefix = words.split()[:count]
            fits = [w for w in tongue if w.split()[:count] == prefix]
            if count == len(words.split()) or len(fits) == 1:
                wanted[key, form] = " ".join(prefix)
                break
            # the country is not told before the landmark is
            assert len({ROW[SUBJECTS[w][0]]["country"] for w in fits}) > 1, words
        assert fits == [words]
        assert deciding_prefix(words) == wanted[key, form]
    checked = set()
    for document in trained:
        for key, form in mentioned(document):
            onset = document.mentions[0].onset
            head = document.text[start(document) : onset + 1]
            assert head.lower() == wanted[key, form].lower()
            assert {m.onset for m in document.mentions} == {onset}
            checked.add((key, form))
    assert checked == set(wanted)


def test_spanish_never_melts_an_article() -> None:
    for _, wording in landmarks.SPANISH_FORMS:
        assert not re.search(r"\b(de|a) \{x\}", wording)
