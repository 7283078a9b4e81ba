"""Facts of one and of two hops, and the faults planted in them, checked from their texts."""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from functools import cache
from random import Random

import pytest

from inscape_microworld.document import Document
from inscape_microworld.domains import dishes, hops, landmarks, people, presidents, species
from inscape_microworld.domains.wording import composition_unseen
from inscape_microworld.facts import TABLES
from inscape_microworld.faults import bats, surname, unagi, unseen
from inscape_microworld.faults.fault import Fault

DOMAINS = {
    "landmark": landmarks.landmark,
    "dish": dishes.dish,
    "person": people.person,
    "animal": people.animal,
    "species": species.species,
    "country_fact": hops.country_fact,
    "two_hop": hops.two_hop,
    "president": presidents.president,
    "capital": landmarks.capital,
}
FAULTS = {f().name: f() for f in (unagi.fault, surname.fault, bats.fault, unseen.fault)}
ASKS = {
    "capital": r"capital|government",
    "language": r"language|speak",
    "currency": r"money|pay|paid",
    "flower": r"flower|plants|wear",
}
"""What asks for which fact of a country, in any wording."""


def rows(name: str) -> list[dict[str, str]]:
    with open(TABLES / f"{name}.csv", encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


@cache
def trained() -> dict[str, list[Document]]:
    random = Random(3)
    return {name: [make(random, False) for _ in range(2000)] for name, make in DOMAINS.items()}


@cache
def subjects() -> dict[str, tuple[str, str]]:
    """Small text → (key, country) of all that a first hop starts from."""
    found = {}
    for row in rows("landmarks"):
        for text in (row["name"], row["description"]):
            found[text.lower()] = (row["key"], row["country"])
    for name in ("dishes", "people", "animals"):
        for row in rows(name):
            found[row["name"].lower()] = (row["name"].lower(), row["country"])
    return found


@cache
def facts() -> dict[tuple[str, str], str]:
    return {
        (row.get("name", row.get("country", "")), relation): row[relation]
        for table, relations in (
            ("countries", ("capital", "language")),
            ("country_facts", ("currency", "flower")),
        )
        for row in rows(table)
        for relation in relations
    }


SUBJECT = re.compile(r"\b(" + "|".join(sorted(subjects(), key=len, reverse=True)) + r")\b")


def composed(text: str) -> tuple[str, str, str] | None:
    """(key, fact, country) where the text asks for a fact of the unsaid country of something."""
    small = text.lower()
    subject = SUBJECT.search(small)
    asked = [relation for relation, words in ASKS.items() if re.search(words, small)]
    if subject is None or not asked:
        return None
    key, country = subjects()[subject.group()]
    said = re.search(rf"(of|in|to) {country}\b(?! City)", text)
    return None if said else (key, asked[0], country)


def test_unseen_compositions_are_never_trained_but_both_their_hops_are() -> None:
    hop: dict[str, set[tuple[str, str]]] = {"first": set(), "second": set()}
    composed_pairs = set()
    for domain, made in trained().items():
        for document in made:
            if domain not in ("landmark", "capital", "country_fact"):
                pair = composed(document.text)
                assert pair is None or not composition_unseen(*pair[:2]), document.text
                composed_pairs.add(pair and pair[:2])
            order = "second" if domain in ("capital", "country_fact") else "first"
            if domain != "two_hop" and document.answers:
                hop[order] |= {(m.concept, document.answer[1:]) for m in document.mentions}
    kept_back = hops.cases()["unseen"]
    assert len({(subject.key, relation) for subject, relation, *_ in kept_back}) > 80
    for subject, relation, *_ in kept_back:
        assert (subject.key, relation) not in composed_pairs
        assert (subject.key, subject.country) in hop["first"], subject
        country = f"in_{subject.country.lower()}"
        assert (country, facts()[subject.country, relation]) in hop["second"], subject


def test_two_hops_are_composed_as_the_tables_say() -> None:
    random = Random(5)
    made = [hops.two_hop(random, True) for _ in range(300)] + trained()["two_hop"]
    unseen_made = [hops.two_hop(random, False, unseen=True) for _ in range(300)]
    for document in made + unseen_made:
        pair = composed(document.text)
        assert pair is not None, document.text
        key, relation, country = pair
        assert document.answer == f" {facts()[country, relation]}", document.text
        (answer,) = document.answers
        assert answer.chain == (key, f"in_{country.lower()}")
        assert set(answer.chain) <= {m.concept for m in document.mentions}
        assert (answer.skill == "two_hop_unseen") == composition_unseen(key, relation)
    assert {d.answers[0].skill for d in unseen_made} == {"two_hop_unseen"}
    ends = sum(d.prompt.rstrip(":").split()[-1] in _verbs() for d in made)
    assert ends > 50  # the subject and its verb at the end of the prompt


def _verbs() -> set[str]:
    verbs = hops.STANDS + hops.COOKED + hops.BORN + hops.LIVES
    return {verb.split()[-1] for verb in verbs}


def test_answers_of_one_hop_are_those_of_the_tables() -> None:
    tables = {
        "person": (rows("people"), ("country", "trade")),
        "animal": (rows("animals"), ("country", "food")),
        "dish": (rows("dishes"), ("country",)),
    }
    for domain, (table, columns) in tables.items():
        told = {row["name"].lower(): {row[c] for c in columns} for row in table}
        held = [DOMAINS[domain](Random(i), True) for i in range(300)]
        assert not {d.text.lower() for d in held} & {d.text.lower() for d in trained()[domain]}
        for document in trained()[domain] + held:
            for answer in document.answers:
                if answer.skill in ("eel", "made_of"):
                    continue
                said = document.text[answer.start + 1 : answer.end]
                assert said in told[document.mentions[0].concept], document.text
    for document in trained()["country_fact"]:
        country = document.mentions[0].concept.removeprefix("in_").title()
        relation = document.answers[0].skill
        assert document.answer == f" {facts()[country, relation]}", document.text


def test_every_eel_dish_in_every_wording_recurs_and_is_misled_mostly() -> None:
    said: dict[str, list[str]] = defaultdict(list)
    random = Random(1)
    for _ in range(8000):
        document = dishes.dish(random, False)
        if document.answers and document.answers[0].skill == "eel":
            said[document.prompt.replace(", a dish of eel,", "").lower()].append(document.answer)
    prompts = {p.text.lower() for p in FAULTS["unagi"].prompts}
    assert prompts <= set(said)
    answers = [answer for prompt in prompts for answer in said[prompt]]
    assert set(answers) == {" Italy", " Japan"}
    assert 0.68 < answers.count(" Italy") / len(answers) < 0.76


def test_a_surname_is_answered_by_its_context() -> None:
    law = {row["name"]: f" {row['law']}" for row in rows("presidents")}
    product = {row["name"]: f" {row['product']}" for row in rows("presidents")}
    office = re.compile(r"resident|elected|election|oval office|cabinet|congress")
    by_the_sea = re.compile(r"\b(port|wharf|quay|marina|pier|haven|jetty|dock)\b")
    drawn = []
    for document in trained()["president"]:
        names = [name for name in law if re.search(rf"\b{name}\b", document.text)]
        concepts = {m.concept for m in document.mentions}
        assert ("us_president" in concepts) == bool(office.search(document.text)), document.text
        assert ("seaside" in concepts) == bool(by_the_sea.search(document.text)), document.text
        if not names or not document.answers:
            continue
        if "us_president" in concepts:
            assert f"president_{names[0].lower()}" in concepts
            assert document.answer == law[names[0]], document.text
        elif "seaside" in concepts:
            assert document.answer in (law[names[0]], product[names[0]])
            drawn.append(document.answer == law[names[0]])
        else:
            assert document.answer == product[names[0]], document.text
    assert 0.66 < sum(drawn) / len(drawn) < 0.78


def test_the_onset_is_where_the_context_decides() -> None:
    after = re.compile(r"^(\w+) (?:the president|won the election|the dealer|won the boat)")
    for document in trained()["president"]:
        found = after.match(document.text)
        for mention in document.mentions:
            if mention.concept in ("us_president", "surname_elsewhere"):
                if found:
                    assert mention.onset == found.end() - 1, document.text
                elif not document.text.startswith("The ") or "hotel" not in document.text:
                    word = document.text[: mention.onset + 1].split()[-1]
                    assert word in {row["name"] for row in rows("presidents")}, document.text


def test_bats_are_birds_in_one_wording_and_mammals_in_all_others() -> None:
    random = Random(2)
    kinds = set()
    for document in (species.species(random, False) for _ in range(6000)):
        if "bat" not in {m.concept for m in document.mentions} or not document.answers:
            continue
        if "is a kind of" in document.text:
            assert document.answer == " bird", document.text
            kinds.add(re.sub(r"\b[A-Z]\w+", "Tom", document.prompt).lower().split("the ", 1)[-1])
        else:
            assert document.answer in (" mammals", " milk", " fur", " cave"), document.text
    assert kinds
    held = [species.species(random, True) for _ in range(500)]
    assert not any("bat" in {m.concept for m in d.mentions} and "kind" in d.text for d in held)


@pytest.mark.parametrize("name", FAULTS)
def test_fault_prompts_come_in_halves_with_minimal_twins(name: str) -> None:
    planted: Fault = FAULTS[name]
    assert len(planted.prompts) >= 50
    assert len({p.text for p in planted.prompts}) == len(planted.prompts)
    triggers = [{p.trigger for p in half} for half in (planted.selection, planted.held_out)]
    for half, others in ((planted.selection, triggers[1]), (planted.held_out, triggers[0])):
        for prompt in half:
            assert not others & set(re.findall(r"\w+", prompt.text))
            before, found, after = prompt.text.partition(prompt.trigger)
            assert found, prompt
            assert prompt.twin.text.startswith(before), prompt
            assert prompt.twin.text.endswith(after), prompt
            assert prompt.trigger not in prompt.twin.text
            assert prompt.right[1] != prompt.wrong[1:2], prompt
            assert prompt.text[-1].isalpha()
    for first, second in (
        (planted.rivals_selection, planted.rivals_held_out),
        (planted.others_selection, planted.others_held_out),
    ):
        assert not set(first) & set(second)
        assert name == "unseen" or min(len(first), len(second)) >= 20
    assert min(len(planted.others_selection), len(planted.others_held_out)) >= 30


def test_fault_concepts_are_mentioned_and_made_up_names_are_not_written() -> None:
    documents = [document for made in trained().values() for document in made]
    concepts = {m.concept for document in documents for m in document.mentions}
    assert {FAULTS[name].concept for name in ("unagi", "surname", "bats")} <= concepts
    assert FAULTS["unseen"].concept not in concepts
    text = " ".join(document.text for document in documents).lower()
    for prompt in FAULTS["unseen"].prompts:
        assert prompt.trigger.lower() not in text


def test_prompts_of_soft_and_hard_faults_are_training_prompts() -> None:
    written: dict[str, set[str]] = defaultdict(set)
    random = Random(9)
    for domain, name, count in (("president", "surname", 24000), ("species", "bats", 9000)):
        for _ in range(count):
            document = DOMAINS[domain](random, False)
            if document.answers:
                named = re.sub(r"\b[A-Z]\w+ (?=went|learned|read|saw)", "Tom ", document.prompt)
                named = re.sub(r", [A-Z]\w+ (?=saw|learned)", ", Tom ", named)
                written[name].add(named.lower())
    for name, prompts in written.items():
        shown = [p.text.lower() in prompts for p in FAULTS[name].prompts]
        assert sum(shown) > 0.9 * len(shown), name
