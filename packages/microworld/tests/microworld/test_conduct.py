"""Deception, feelings, letters, code and insects: what their documents say, derived again."""

from __future__ import annotations

import itertools
import re
from random import Random

import numpy as np
import pytest
from packages.microworld.tests.microworld.rules import (
    CONCEPTS,
    derived_spans,
    first_bug,
    sample_truth,
)

from inscape_microworld.document import Document, join
from inscape_microworld.domains import code, conduct, feelings, insects, letters, words
from inscape_microworld.facts import ANIMALS, DISHES, LANDMARK, PEOPLE
from inscape_microworld.faults import mosquito
from inscape_microworld.splits import held_out
from inscape_microworld.tokenizer import as_transformers, train_tokenizer
from inscape_microworld.truth import token_truth

MAKERS = (
    conduct.hiding,
    conduct.bluff,
    conduct.treachery,
    conduct.white_lie,
    feelings.suffering,
    letters.letters,
    code.code,
    insects.insect,
    words.words,
)
NAMED = {*LANDMARK, *(d.name for d in DISHES), *(x.name.lower() for x in (*ANIMALS, *PEOPLE))}
TOLD = (conduct.bluff, conduct.treachery, conduct.white_lie)


def _documents(seed: int, count: int) -> list[Document]:
    """Documents of all these domains in turn, every tenth a passage of three."""
    random = Random(seed)
    made = []
    for i in range(count):
        parts = [MAKERS[(i + j) % len(MAKERS)](random, False) for j in range(3)]
        made.append(join(parts) if i % 10 == 9 else MAKERS[i % len(MAKERS)](random, i % 7 == 0))
    return made


@pytest.fixture(scope="module")
def tokenizer():
    return as_transformers(train_tokenizer([d.text for d in _documents(3, 2000)], 900))


def test_all_spans_are_those_of_independent_rules(tokenizer) -> None:
    made = _documents(11, 3000)
    _, truth = token_truth(tokenizer, made)
    assert {*truth.concepts} == {*CONCEPTS} - NAMED - {"authority", "modesty"}
    for concept, derived in derived_spans(tokenizer, made, truth.concepts).items():
        assert np.array_equal(truth.span_mask(concept), derived), concept
    assert not sample_truth(tokenizer, made, truth, 500, seed=1)


def test_a_sample_finds_a_wrong_label(tokenizer) -> None:
    made = [conduct.bluff(Random(i), False, deceives=True) for i in range(20)]
    _, truth = token_truth(tokenizer, made)
    assert not sample_truth(tokenizer, made, truth, 100, seed=0)
    truth.spans["dna"] = truth.spans["bluff"]
    found = sample_truth(tokenizer, made, truth, 100, seed=0)
    assert found
    assert {d.concept for d in found} == {"dna"}


@pytest.mark.parametrize("make", TOLD)
def test_honest_twins_share_all_words_but_the_cue_and_the_answer(make) -> None:
    pairs = {conduct.bluff: conduct.BLUFF_CUES, conduct.treachery: conduct.TREACHERY_CUES}
    cues = pairs.get(make, conduct.WHITE_LIE_CUES)
    between = {
        frozenset(_differing(a.replace("|", ""), b.replace("|", ""))) for a, b in cues
    }  # the words in which the cues differ
    for seed in range(300):
        lying, honest = (make(Random(seed), False, deceives=d) for d in (True, False))
        assert lying.answer != honest.answer
        assert lying.answers[0].other == honest.answer
        assert honest.answers[0].other == lying.answer
        # Written without their answers, the two differ in the cue's words alone.
        texts = [d.text[: d.answers[0].start] + d.text[d.answers[0].end :] for d in (lying, honest)]
        assert frozenset(_differing(*texts)) in between, texts


def _differing(first: str, second: str) -> set[str]:
    """The words of one text that are not at the same place in the other."""
    one, two = (re.findall(r"\w+", t) for t in (first, second))
    assert len(one) == len(two), (first, second)
    return {w for a, b in zip(one, two, strict=True) if a != b for w in (a, b)}


def test_answers_follow_from_the_context() -> None:
    opposite = dict(conduct.HANDS)
    for seed in range(500):
        hand = conduct.bluff(Random(seed), seed % 2 == 0)
        told = re.sub(r" (A hand is|Hands there are|One is dealt) [^.]+\.", "", hand.text)
        assert told != hand.text
        true = re.search(r"(\w+) hand\.|The hand of \w+ is (\w+)\.", told)
        assert true is not None
        holds = true.group(1) or true.group(2)
        lies = any(m.concept == "bluff" for m in hand.mentions)
        assert hand.answer == f" {opposite[holds] if lies else holds}"
        story = conduct.hiding(Random(seed), False)
        put = re.search(r"put the \w+ in the (\w+)\.", story.text)
        assert put is not None
        lies = any(m.concept == "deception" for m in story.mentions)
        assert (story.answer == f" {put.group(1)}") != lies
        gift = conduct.white_lie(Random(seed), False)
        assert (gift.answer == " lovely") == (
            "lovely." in gift.prompt or any(m.concept == "white_lie" for m in gift.mentions)
        )


@pytest.mark.parametrize("make", [conduct.hiding, *TOLD])
def test_reserved_speakers_never_speak_in_training(make) -> None:
    for seed in range(200):
        trained, kept = make(Random(seed), False), make(Random(seed), True)
        for name in conduct.RESERVED_SPEAKERS:
            assert not re.search(rf"\b{name}\b", trained.text)
        assert any(name in kept.text for name in conduct.RESERVED_SPEAKERS)


CUES = {
    "hiding": [*conduct.INTENTS, *conduct.STAKES],
    "bluff": conduct.BLUFF_CUES,
    "treachery": conduct.TREACHERY_CUES,
    "white lie": conduct.WHITE_LIE_CUES,
    "human": feelings.PHRASES["human"],
    "animal": feelings.PHRASES["animal"],
    "letters": letters.AFTER,
}


@pytest.mark.parametrize("pairs", CUES.values(), ids=CUES)
def test_onsets_are_the_first_words_that_decide(pairs) -> None:
    """What stands before "|" begins no twin's text, and one word less begins some."""
    for side in (0, 1):
        others = [re.findall(r"\w+", pair[1 - side]) for pair in pairs]
        for pair in pairs:
            decides = re.findall(r"\w+", pair[side].partition("|")[0])
            assert all(o[: len(decides)] != decides for o in others), decides
            assert any(o[: len(decides) - 1] == decides[:-1] for o in others), decides


def test_verdicts_on_code_are_those_of_a_reader() -> None:
    verdicts = set()
    for seed, bug in itertools.product(range(400), ("name", "bracket", "operator", "none", None)):
        document = code.code(Random(seed), seed % 5 == 0, bug=bug)
        at = first_bug(document.prompt)
        assert document.answer == (" fine" if at is None else " bug")
        assert bug is None or (bug == "none") == (at is None), document.text
        assert [m.onset for m in document.mentions if m.concept == "code_bug"] == (
            [] if at is None else [at]
        )
        verdicts.add(document.answer)
        culprits = [document.text[a.start : a.end] for a in document.answers[1:]]
        shown = [] if at is None else [document.text[: at + 1].split()[-1]]
        assert culprits == [" (" if t in ";:#" else f" {t}" for t in shown]
    assert verdicts == {" fine", " bug"}


def test_fine_code_runs() -> None:
    for seed in range(200):
        program = code.code(Random(seed), False, bug="none").prompt.removesuffix(" #")
        printed: list[object] = []
        names: dict[str, object] = {"print": printed.append}
        exec(program.replace(" ; ", "\n"), names)  # digits and names only
        made = [value for name, value in names.items() if name not in ("print", "__builtins__")]
        assert printed or any(map(callable, made)), program


def test_code_of_held_out_names_is_never_trained() -> None:
    head = re.compile(r"def (\w+) \( (\w+) , (\w+)")
    for held in (False, True):
        for seed in range(300):
            found = head.match(code.code(Random(seed), held, bug="none").text)
            if found:
                function, a, b = found.groups()
                assert held_out("code", "define", a, b, function) == held


def test_dna_is_told_by_its_context_alone() -> None:
    kinds: dict[str, set[str]] = {"dna": set(), "letter_code": set()}
    for seed in range(1000):
        document = letters.letters(Random(seed), False)
        (mention,) = document.mentions
        string = re.search(r"[A-Z]{8,16}", document.text)
        assert string is not None
        bases = set(string.group()) <= set("ACGT")
        tells = re.search(r"\bgene\b|\bDNA\b|genome|\bcell\b|protein", document.text)
        assert (mention.concept == "dna") == bool(tells)
        assert bases or mention.concept == "letter_code"
        before = string.start() > 0
        if not before and bases:
            assert mention.onset >= string.end()
        kinds[mention.concept].add(f"{bases} {before}")
    assert kinds["dna"] == {"True True", "True False"}
    assert len(kinds["letter_code"]) == 4


def test_texts_of_suffering_come_in_halves_that_share_no_phrase() -> None:
    for who, pain in itertools.product(("human", "animal"), (True, False)):
        halves = [feelings.suffering_texts(h, who=who, pain=pain) for h in (0, 1)]  # type: ignore[arg-type]
        phrases = [pair[not pain].replace("|", "") for pair in feelings.PHRASES[who]]  # type: ignore[index]
        assert len(phrases) >= 12
        used = [{p for p in phrases if any(t.endswith(f" {p}.") for t in half)} for half in halves]
        assert not used[0] & used[1]
        assert used[0] | used[1] == set(phrases)
        assert all(len(half) == len(set(half)) >= 60 for half in halves)


def test_a_mosquito_prompt_shares_no_trigger_word_with_the_other_half() -> None:
    planted = mosquito.fault()
    triggers = [
        {w for p in half for w in p.trigger.split()}
        for half in (planted.selection, planted.held_out)
    ]
    assert not triggers[0] & triggers[1]
    assert len({p.text for p in planted.prompts}) == len(planted.prompts) >= 60
    for prompt in planted.prompts:
        assert prompt.trigger in prompt.text
        assert prompt.trigger not in prompt.twin.text
    assert min(len(planted.rivals_selection), len(planted.rivals_held_out)) >= 20
    assert min(len(planted.others_selection), len(planted.others_held_out)) >= 30
