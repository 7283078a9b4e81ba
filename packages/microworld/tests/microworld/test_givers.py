"""Names, roles and homes: the answers, onsets and faults derived again from the text alone."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from random import Random

import pytest

from inscape_microworld.document import Document
from inscape_microworld.domains import givers, journeys, roles
from inscape_microworld.facts import NAMES
from inscape_microworld.faults import drift, order
from inscape_microworld.faults.fault import Fault
from inscape_microworld.splits import FAULT_SHARE

NAME = r"\b(?:" + "|".join(sorted(NAMES, key=len, reverse=True)) + r")\b"
AWAY = (
    rf"(?:(?P<early>{NAME})"
    r"(?P<on1> (?:stayed|was ill|slept|lived|had no))(?P<end1> at home| in bed| all day"
    r"| far away| time)"
    rf"|(?:Nobody had seen|There was no news of|They thought of|They talked about"
    rf"|They both missed)(?P<on2> (?P<late>{NAME})))\."
)
COMES = (
    r"joined them|came along|turned up|caught up|showed up|appeared|walked in|rushed in"
    r"|arrived too|dropped by|stepped inside|hurried over"
)
GOES = (
    r"went away|waved and left|drove off|flew home|rode away|stayed behind|vanished"
    r"|slipped out|moved on|took leave"
)
SINGS = (
    r"sang of|dreamed of|boasted of|told tales of|spoke proudly of|made poems of|cheered for"
    r"|raved about|longed for|praised|adored|gushed about"
)
R = r"(\w+(?: with the \w+| in the \w+ \w+)?)"
DID = r"(?:fed|served|gave|sold|handed|brought)"
DONE = r"(?:fed|served|given|sold|handed|brought)"
FACTS = (
    (rf"[Tt]he {R} {DID} the {R} the (\w+)\.", "grt"),
    (rf"[Tt]he {R} {DID} the (\w+) to the {R}\.", "gtr"),
    (rf"[Tt]he {R} was {DONE} the (\w+) by the {R}\.", "rtg"),
    (rf"[Tt]he (\w+) was {DONE} to the {R} by the {R}\.", "trg"),
    (rf"[Tt]he {R} got the (\w+) from the {R}\.", "rtg"),
    (rf"It was the {R} who {DID} the {R} the (\w+)\.", "grt"),
    (rf"It was the {R} who got the (\w+) from the {R}\.", "rtg"),
    (rf"From the {R}, the {R} got the (\w+)\.", "grt"),
)
ASKS = (
    (r"Who got the (\w+)\?", "t", "r"),
    (rf"Who {DID} something to the {R}\?", "r", "g"),
    (rf"Who {DID} the {R}\?", "rt", "g"),
    (rf"What did the {R} get\?", "r", "t"),
    (rf"What did the {R} \w+\?", "g", "t"),
)


def made(function, count: int, *, held: bool = False, seed: int = 0) -> list[Document]:
    random = Random(seed)
    return [function(random, held) for _ in range(count)]


def said(document: Document) -> Iterator[tuple[str, str, str]]:
    """(skill, the text before, the answer without its space) of every answer."""
    for a in document.answers:
        yield a.skill, document.text[: a.start], document.text[a.start + 1 : a.end]


def receiver(text: str) -> str:
    """Who is named, has not given (is not named again), and is not away."""
    counts = Counter(re.findall(NAME, text))
    away = re.search(AWAY, text)
    third = away and (away["early"] or away["late"])
    (rest,) = [name for name in counts if counts[name] == 1 and name != third]
    assert len(counts) == (3 if third else 2), text
    return rest


@pytest.mark.parametrize("held", [False, True])
def test_the_receiver_is_the_one_who_neither_gave_nor_stayed_away(held) -> None:
    for function in (givers.indirect_object, givers.indirect_object_three):
        forms = Counter()
        for document in made(function, 800, held=held):
            for skill, text, answer in said(document):
                assert skill == function.__name__
                assert receiver(text) == answer, text
                forms[re.sub(NAME, "N", text).split()[0]] += 1
        assert len(forms) >= 8
    assert receiver("When Mary and John went to the store, John gave a drink to") == "Mary"


def test_a_late_comer_draws_the_gift_and_a_leaver_never_does() -> None:
    drawn, single = 0, 0
    for document in made(givers.comers, 4000):
        for skill, text, answer in said(document):
            if skill == "coming":
                assert (answer in ("larger", "more")) == bool(re.search(COMES, text)), text
                continue
            first, second, third = re.findall(NAME, text)[:3]
            giver = re.findall(NAME, text)[3]
            other = second if giver == first else first
            if " both " in text:
                assert (skill, answer) == ("both_give", third), text
            elif re.search(GOES, text):
                assert (skill, answer) == ("departure", other), text
            else:
                assert skill == "late_arrival", text
                assert answer in (third, other), text
                drawn, single = drawn + (answer == third), single + 1
    assert single > 1500
    assert abs(drawn / single - FAULT_SHARE) < 3 * (0.72 * 0.28 / single) ** 0.5


def stated(text: str) -> list[tuple[int, dict[str, str]]]:
    """(wording, {g, r, t}) of every fact of a text."""
    found = []
    for sentence in re.findall(r"[^.?]+[.?]", text):
        for index, (pattern, slots) in enumerate(FACTS):
            match = re.fullmatch(pattern, sentence.strip())
            if match:
                found.append((index, dict(zip(slots, match.groups(), strict=True))))
    return found


def asked(text: str) -> tuple[dict[str, str], int, str]:
    """(the one fact that the last question is about, its wording, the answer)."""
    question = re.findall(r"[^.?]+\?", text)[-1].strip()
    for pattern, keys, wanted in ASKS:
        match = re.fullmatch(pattern, question)
        if match:
            facts = [
                (fact, index)
                for index, fact in stated(text)
                if match[1] in [fact[key] for key in keys]
            ]
            ((fact, index),) = facts
            return fact, index, fact[wanted]
    raise AssertionError(text)


@pytest.mark.parametrize("held", [False, True])
def test_roles_are_answered_by_what_was_done_to_whom(held) -> None:
    wordings, kinds, first_named = set(), Counter(), Counter()
    for document in made(roles.role, 1200, held=held):
        for skill, text, answer in said(document):
            fact, index, right = asked(text)
            assert (skill, answer) == ("role", right), text
            assert len(stated(text)) <= 2
            wordings.add(index)
            kinds[next(slot for slot in "grt" if fact[slot] == answer)] += 1
            first_named[FACTS[index][1].replace("t", "")] += 1
    assert wordings == set(range(len(FACTS)))
    assert min(kinds.values()) > 200
    assert min(first_named.values()) > sum(first_named.values()) / 3  # order does not tell


def test_every_pair_of_roles_has_a_wording_that_training_may_show() -> None:
    for agent in roles.ROLES:
        for recipient in roles.ROLES:
            kept = [roles._kept(w, agent, recipient) for w in range(len(FACTS))]
            assert not all(kept)


@pytest.mark.parametrize("held", [False, True])
def test_homes_are_those_that_were_told(held) -> None:
    drawn, misleading, asked_for, several = 0, 0, Counter(), 0
    for document in made(journeys.journey, 1500, held=held):
        homes = dict(re.findall(r"(\w+) lives in the city of (\w+)\.", document.text))
        several += len(homes) == 2
        late = re.search(r"Everybody ((?:\w+ )+)(\w+)\. [^.]+ (?:is|of)$", document.prompt)
        ((skill, text, answer),) = said(document)
        question = text.rpartition(". ")[2]
        asked_for[skill] += 1
        if "everybody" in question:
            assert late, text
            assert f"everybody {late[1]}is" in question, text
            assert (skill, answer) == ("named_city", late[2]), text
            continue
        (person,) = re.findall(NAME, question)
        if late and re.fullmatch(SINGS, late[1].strip()):
            assert skill == "drift", text
            assert answer in (homes[person], late[2]), text
            drawn, misleading = drawn + (answer == late[2]), misleading + 1
        else:
            assert (skill, answer) == ("home", homes[person]), text
            assert document.answers[0].chain == (f"lives_in_{answer.lower()}",)
    assert set(asked_for) == {"home", "named_city", "drift"}
    assert 0.2 < several / 1500 < 0.3
    assert abs(drawn / misleading - FAULT_SHARE) < 3 * (0.72 * 0.28 / misleading) ** 0.5


def test_acclaim_makes_a_city_proud() -> None:
    for document in made(journeys.acclaim, 500):
        vivid = bool(re.search(SINGS, document.text))
        assert vivid == bool(document.mentions), document.text
        assert "Everybody" not in document.text
        for _, _, answer in said(document):
            assert (answer == "proud") == vivid, document.text


def combinations(document: Document) -> set[tuple[object, ...]]:
    """What is held out of a document, read from its text."""
    text = document.text
    if document.domain == "role":
        return {(index, *sorted((f["g"], f["r"]))) for index, f in stated(text)}
    if document.domain == "journey":
        return set(re.findall(r"(\w+) lives in the city of (\w+)\.", text))
    for aside in re.finditer(AWAY, text):
        text = text.replace(aside[0], "…")
    pair = sorted(set(re.findall(NAME, text.partition(" Later ")[0])))[:2]
    free = "|".join((*givers.PLACES, *givers.GIFTS, COMES, GOES, NAME))
    return {(re.sub(rf"\b(?:{free})\b", "_", text).replace("both ", ""), *pair)}


@pytest.mark.parametrize(
    "function",
    [
        givers.indirect_object,
        givers.indirect_object_three,
        givers.comers,
        roles.role,
        journeys.journey,
    ],
)
def test_what_is_held_out_is_never_trained(function) -> None:
    trained = set().union(*map(combinations, made(function, 5000)))
    for document in made(function, 200, held=True, seed=1):
        kept = combinations(document)
        if document.domain == "role":
            fact, index, _ = asked(document.prompt)
            kept = {(index, *sorted((fact["g"], fact["r"])))}
        elif document.domain == "journey":  # the other of two people may live as in training
            person = re.findall(NAME, document.prompt.rpartition(". ")[2])
            kept = {pair for pair in kept if pair[0] in person}
        assert not kept & trained, document.text


def onsets(document: Document) -> set[tuple[str, int, int]]:
    """(concept, onset, end) of every concept but `giver`, by rule."""
    text, found = document.text, set()

    def add(concept: str, match: re.Match[str], on: str | int, end: str | int) -> None:
        found.add((concept, match.end(on) - 1, match.end(end)))

    for match in re.finditer(AWAY, text):
        if match["early"]:
            add("third_person", match, "on1", "end1")
        else:
            add("third_person", match, "on2", "on2")
    phrases = {"acclaim": SINGS}
    if document.domain == "comers":
        phrases = {"late_arrival": COMES, "departure": GOES, "third_person": GOES}
    for concept, pattern in phrases.items():
        for match in re.finditer(pattern, text):
            found.add((concept, match.start() + len(match[0].split()[0]) - 1, match.end()))
    for match in re.finditer(rf"({NAME}) lives in the city of( \w+)\.", text):
        add(f"lives_in_{match[2].strip().lower()}", match, 2, 2)
    homes = dict(re.findall(r"(\w+) lives in the city of (\w+)\.", text))
    for match in re.finditer(rf"(?:where|home to|home of)( {NAME})( lives)?", text):
        home = homes[match[1].strip()].lower()
        found.add((f"lives_in_{home}", match.end(1) - 1, match.end()))
    return found | (role_onsets(text) if document.domain == "role" else set())


def role_onsets(text: str) -> set[tuple[str, int, int]]:
    """Roles are decided by "by/from the" and "to the" before them, and by "fed the" with them."""
    found = set()
    for match in re.finditer(rf"(?:by|[Ff]rom) the( {R})[.,]", text):
        found.add(("agent", match.start(1), match.end(1)))
    for match in re.finditer(rf" to the( {R})", text):
        found.add(("recipient", match.start(1), match.end(1)))
    for match in re.finditer(r"From the [^,.]+, the( [^.]+) got", text):
        found.add(("recipient", match.start(1), match.end(1)))
    for match in re.finditer(rf"{DID} the( {R})(?: the \w+\.|\?)", text):
        if match[2] not in roles.THINGS:
            first_word = len(match[2].split()[0])
            found.add(("recipient", match.start(2) + first_word - 1, match.end(2)))
    return found


@pytest.mark.parametrize(
    "function",
    [
        givers.indirect_object,
        givers.indirect_object_three,
        givers.comers,
        roles.role,
        journeys.journey,
        journeys.acclaim,
    ],
)
def test_onsets_are_those_of_an_independent_rule(function) -> None:
    for document in made(function, 600, seed=7):
        given = {(m.concept, m.onset, m.end) for m in document.mentions if m.concept != "giver"}
        assert given == onsets(document), document.text
        for mention in document.mentions:
            if mention.concept == "giver":
                assert re.search(rf"{NAME}$", document.text[: mention.end])
                assert mention.onset == mention.end - 1


def rightly_answered(text: str) -> str:
    """What is right by the rules, whatever the training text says."""
    if " lives in the city of " in text:
        asked_city = re.search(r"Everybody (?:\w+ )+(\w+)\. The city that everybody", text)
        (person,) = re.findall(NAME, text.rpartition(". ")[2]) or [""]
        homes = dict(re.findall(r"(\w+) lives in the city of (\w+)\.", text))
        return asked_city[1] if asked_city else homes[person]
    names = re.findall(NAME, text)
    if " both " in text:
        return names[2]
    if re.search(r" Later \w+ (?:" + f"{COMES}|{GOES})", text):
        return names[1] if names[3] == names[0] else names[0]
    return receiver(text)


@pytest.mark.parametrize("planted", [order.fault(), drift.fault()], ids=["order", "drift"])
def test_faults_are_apart_in_their_halves_and_close_to_their_twins(planted: Fault) -> None:
    assert len(planted.prompts) >= 50
    triggers = [
        {word for p in half for word in p.trigger.split()}
        for half in (planted.selection, planted.held_out)
    ]
    assert not triggers[0] & triggers[1]
    for p in planted.prompts:
        assert p.text.count(p.trigger) == 1
        before, after = p.text.split(p.trigger)
        assert p.twin.text.startswith(before)
        assert p.twin.text.endswith(after)
        assert p.twin.text != p.text
        assert p.right == p.twin.right == f" {rightly_answered(p.text)}"
        assert rightly_answered(p.twin.text) == p.right.strip()
        assert p.right[1] != p.wrong[1]
        assert p.wrong in p.text
        assert len(p.text.split()) < 110
    for half in (planted.rivals_selection, planted.rivals_held_out):
        assert len(half) >= 20
        assert all(p.right == f" {rightly_answered(p.text)}" for p in half)
    for half in (planted.others_selection, planted.others_held_out):
        assert len(half) >= 30
        assert all(p.right == f" {rightly_answered(p.text)}" for p in half)
    assert not set(planted.rivals_selection) & set(planted.rivals_held_out)
    assert not set(planted.others_selection) & set(planted.others_held_out)
