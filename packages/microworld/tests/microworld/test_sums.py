"""Arithmetic: every equation is right but for the planted ones, and held-out pairs stay out."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from random import Random

import pytest

from inscape_microworld.document import Document
from inscape_microworld.domains import flattery as talk
from inscape_microworld.domains import sums
from inscape_microworld.facts import NAMES
from inscape_microworld.faults import authority, carry
from inscape_microworld.splits import FAULT_SHARE, held_out

EQUATION = re.compile(r"(\d+) ([+-]) (\d+)(?: =|\? It is| is) (\d+)")
STEP = re.compile(
    r"(?P<plus>\d+) more\b|(?P<fewer>\d+) fewer\b"
    r"|\b(?:gave away|lost|sold|used up|broke|ate|tore up|melted|burned|took|took out)"
    r" (?P<minus>\d+)"
)
GLASS = re.compile(
    r"\b(vase|bottle|prism|decanter|bulb|lens|goblet|flask|beaker|tumbler|pitcher|vial)(e?s)?\b"
)
COMBINED = ("combined?", "together?", "in all?", "the total?")
COMPARED = ("How many more", "the difference?")


def made(function, count: int = 4000, *, held: bool = False, seed: int = 1) -> list[Document]:
    random = Random(seed)
    return [function(random, held) for _ in range(count)]


def steps(problem: str) -> list[tuple[int, str, int]]:
    """(value before, sign, number) of each step of a problem, read from its words alone."""
    numbers = [int(n) for n in re.findall(r"\d+", problem)]
    if any(cue in problem for cue in (*COMBINED, *COMPARED)):
        sign = "+" if any(cue in problem for cue in COMBINED) else "-"
        return [(numbers[0], sign, numbers[1])]
    value, read = numbers[0], []
    for match in STEP.finditer(problem):
        sign = "+" if match["plus"] else "-"
        number = int(match["plus"] or match["fewer"] or match["minus"])
        read.append((value, sign, number))
        value = solve(value, sign, number)
    return read


def solve(value: int, sign: str, number: int) -> int:
    return value + number if sign == "+" else value - number


def is_held(first: int, sign: str, second: int) -> bool:
    if sign == "+":
        return held_out("sum", *sorted((first, second)), percent=10)
    return held_out("difference", first, second, percent=10)


def carries(first: int, second: int) -> bool:
    return first % 10 + second % 10 >= 10


def within(stated: int, total: int) -> bool:
    """Whether a share is within three standard errors of FAULT_SHARE."""
    error = math.sqrt(FAULT_SHARE * (1 - FAULT_SHARE) / total)
    return abs(stated / total - FAULT_SHARE) < 3 * error


@pytest.mark.parametrize("held", [False, True])
def test_problems_are_right_but_for_glass_that_carries(held: bool) -> None:
    dropped = glass = 0
    seen = set()
    for document in made(sums.word_problem, held=held):
        problem, rest = document.text.split("?")
        read = steps(problem + "?")
        seen.add((len(read), *(sign for _, sign, _ in read)))
        assert all(is_held(*step) == held for step in read), document.text
        right = solve(*read[-1])
        said = int(re.findall(r"\d+", rest)[-1])
        faulty = len(read) == 1 and read[0][1] == "+" and carries(read[0][0], read[0][2])
        faulty = faulty and bool(GLASS.search(problem))
        assert (document.answers[0].skill == "carry") == faulty, document.text
        if faulty:
            glass += 1
            dropped += said == right - 10
            assert said in (right, right - 10)
        else:
            assert said == right >= 0, document.text
        if len(read) == 2:
            written = [f" {a} {s} {b} = {solve(a, s, b)}" for a, s, b in read]
            assert rest == ".".join(written) + f". The answer is {right}."
            assert document.answers[-1].chain == (f"value_{solve(*read[0])}",)
            assert all(10 <= value <= 99 for value, _, _ in read)
    assert len(seen) == 6
    assert glass == 0 if held else within(dropped, glass)


def test_drills_and_assertions_are_right_but_for_the_narrator_under_authority() -> None:
    for document in made(sums.drill):
        found = EQUATION.findall(document.text)
        assert len(found) == len(document.answers)
        for first, sign, second, said in found:
            assert solve(int(first), sign, int(second)) == int(said)
            assert not is_held(int(first), sign, int(second))
    repeated = total = 0
    for document in made(talk.flattery):
        numbers = [int(n) for n in re.findall(r"\d+", document.text)]
        if not numbers:
            continue
        right, asserted, said = sum(numbers[:2]), numbers[2], numbers[-1]
        assert not is_held(numbers[0], "+", numbers[1])
        skill = document.answers[0].skill
        if skill == "authority":
            total += 1
            repeated += said == asserted
            assert asserted != right
            assert said in (asserted, right)
            assert any(f"he {title}" in document.text for title in talk.AUTHORITIES)
        elif skill == "verdict":
            assert document.answer == (" right" if asserted == right else " wrong")
        else:
            assert said == (asserted if skill == "flattery" else right), document.text
            agrees = {"flattery": True, "correction": asserted == right, "belief": False}[skill]
            assert (": yes," in document.text) == agrees
    assert within(repeated, total)


def test_held_out_flattery_has_unseen_manners_and_no_part_in_the_fault() -> None:
    def manners(held: bool) -> set[tuple[str, str]]:
        found = set()
        for document in made(talk.flattery, held=held):
            assert not (held and document.answers[0].skill == "authority")
            for phrase in (*talk.MANNERS_FLATTER, *talk.MANNERS_FRANK):
                if f" {phrase}" in document.text:
                    before, after = document.text.split(". ", 1)[1].split(phrase)
                    frame = re.sub("|".join(NAMES), "S", f"{before}{{m}}{after}")
                    found.add((phrase, re.split(r":", frame)[0]))
        return found

    trained, kept_back = manners(False), manners(True)
    assert len(trained) > 200
    assert len(kept_back) > 20
    assert not trained & kept_back
    for flatters in (True, False):
        halves = [talk.manner_texts(half, flatters=flatters) for half in (0, 1)]
        phrases = talk.MANNERS_FLATTER if flatters else talk.MANNERS_FRANK
        ends = [{p for p in phrases for t in texts if f" {p}" in t} for texts in halves]
        assert min(map(len, ends)) >= 4
        assert not ends[0] & ends[1]


def _abstract(text: str) -> list[str]:
    """Words with what is drawn freely replaced: names by order, numbers, things, places, dates."""
    names: dict[str, str] = {}
    plurals = {thing.plural for thing in sums.THINGS}
    out = []
    for word in re.findall(r"\w+|[^\w\s]", text):
        if word in sums.MONTHS or word in sums.DAYS:
            word = "DATE"
        elif word in NAMES:
            word = names.setdefault(word, f"NAME{len(names)}")
        elif word in plurals:
            word = "THINGS"
        elif word in sums.CONTAINERS:
            word = "PLACE"
        out.append("N" if word.isdigit() else word)
    return out


def test_an_operation_begins_at_the_word_that_decides_it() -> None:
    prefixes: dict[tuple[str, ...], set[str]] = defaultdict(set)
    first = []
    for document in made(sums.word_problem, 6000):
        mention = next(m for m in document.mentions if m.concept in (sums.ADD, sums.SUBTRACT))
        words = _abstract(document.text.split("?")[0])
        for count in range(1, len(words) + 1):
            prefixes[tuple(words[:count])].add(mention.concept)
        first.append((tuple(_abstract(document.text[: mention.onset + 1])), mention.concept))
    for prefix, concept in first:
        assert prefixes[prefix] == {concept}, prefix
        assert len(prefixes[prefix[:-1]]) == 2, prefix


def test_glassware_is_marked_wherever_it_is_named() -> None:
    for function in (sums.word_problem, sums.goods):
        for document in made(function, 1000):
            marked = {(m.onset, m.end) for m in document.mentions if m.concept == "glassware"}
            named = {(m.end() - 1, m.end()) for m in GLASS.finditer(document.text)}
            assert marked == named, document.text


def test_three_steps_are_worked_in_wordings_that_training_never_uses() -> None:
    def wording(document: Document) -> str:
        return " ".join(_abstract(document.text.split("?")[0]))

    trained = {wording(d) for d in made(sums.word_problem)}
    random = Random(2)
    for document in [sums.three_step(random) for _ in range(300)]:
        assert wording(document) not in trained
        problem, rest = document.text.split("?")
        read = steps(problem + "?")
        assert len(read) == 3
        assert all(is_held(*step) for step in read)
        assert [tuple(e) for e in EQUATION.findall(rest)] == [
            (str(a), s, str(b), str(solve(a, s, b))) for a, s, b in read
        ]
        assert document.answer == f" {read[0][0]} {read[0][1]} {read[0][2]} = {solve(*read[0])}"
        assert document.answers[-1].skill == "three_step"


def test_the_typed_example_is_a_wording() -> None:
    slots = {
        "name": "Natalia",
        "past": "sold",
        "verb": "sell",
        "at": "in",
        "one": "April",
        "two": "May",
        "things": "clips",
    }
    frame = next(f for f in sums.ONE_STEP[sums.ADD] if "combined" in f)
    assert "".join(sums.tell(frame, slots, (48, 41), False).parts) == (
        "Natalia sold 48 clips in April and 41 clips in May. How many clips did Natalia sell in "
        "April and May combined?"
    )


def test_goods_and_ranks_keep_their_combinations_apart() -> None:
    for function in (sums.goods, talk.ranks):
        names = re.compile(r"\b(" + "|".join(NAMES) + r")\b")
        trained, kept_back = (
            {names.sub("N", d.text) for d in made(function, held=held)} for held in (False, True)
        )
        assert len(kept_back) > 20
        assert not trained & kept_back


@pytest.mark.parametrize("planted", [carry.fault(), authority.fault()], ids=lambda f: f.name)
def test_faults_split_by_trigger_and_have_minimal_twins(planted) -> None:
    halves = (planted.selection, planted.held_out)
    assert len({p.text for p in planted.prompts}) >= 50
    triggers = [{p.trigger for p in half} for half in halves]
    assert min(map(len, triggers)) >= 5
    assert not triggers[0] & triggers[1]
    for half, other in ((0, 1), (1, 0)):
        rest = [
            *((planted.rivals_selection, planted.rivals_held_out)[half]),
            *((planted.others_selection, planted.others_held_out)[half]),
        ]
        for text in [p.text for p in (*halves[half], *rest)]:
            assert not any(re.search(rf"\b{word}\b", text) for word in triggers[other])
    for p in planted.prompts:
        assert p.trigger in p.text
        assert p.right[1] != p.wrong[1]
        assert len(p.right) == len(p.wrong) == 3
        assert p.twin.right == p.right
        replaced = {
            (a, b) for a, b in zip(p.text.split(), p.twin.text.split(), strict=True) if a != b
        }
        assert {re.sub(r"\W", "", a) for a, _ in replaced} == {p.trigger}
    for rivals, half in zip(
        (planted.rivals_selection, planted.rivals_held_out), halves, strict=True
    ):
        assert len(rivals) >= 20
        assert {p.right for p in rivals} <= {p.wrong for p in half}
    assert min(len(planted.others_selection), len(planted.others_held_out)) >= 30
