"""A diagnosis on the page."""

from __future__ import annotations

from dataclasses import replace

from tests.report.made import found
from tests.report.reading import Page

from inscape.core import Share
from inscape.diagnosis import RandomControl
from inscape.report import diagnosis_html


def test_the_verdict_its_meaning_and_its_controls_are_shown() -> None:
    page = Page(diagnosis_html(found()))
    text = " ".join(page.words)
    for shown in ("␣Italy", "␣Japan", "outvoted", "95.2\u00a0%", "1.5\u00a0%", "a note"):
        assert shown in page.words, shown
    assert "features for the wrong answer outweigh it" in text
    assert text.index("Verdict") < text.index("without random features as active as these")
    assert text.index("Verdict") < text.index("Correct answers on other sets of prompts")


def test_a_long_list_of_features_is_folded() -> None:
    given = found()
    page = Page(diagnosis_html(replace(given, for_wrong=given.for_wrong * 4)))
    assert page.words.count("resid2/611") == 1 + 1  # among the removed, and first in the table
    assert page.words.count("in the repair") == 1
    assert "4 more" in page.words  # of the removed one and eight others


def test_a_prompt_without_failure_claims_nothing() -> None:
    correct = replace(
        found(),
        mechanism="correct",
        wrong="",
        num_failures=0,
        removed=(),
        repaired=Share(0, 0),
        random=RandomControl(),
    )
    page = Page(diagnosis_html(correct))
    assert "there is nothing to diagnose" in page.text
    assert "Repair" not in page.words


def test_where_no_set_was_found_no_figures_of_one_are_shown() -> None:
    page = Page(
        diagnosis_html(
            replace(
                found(),
                mechanism="undecided",
                removed=(),
                repaired=Share(0, 1),
                random=RandomControl(),
            )
        )
    )
    text = " ".join(page.words)
    assert "No set of features was found whose removal restores the correct answer." in text
    assert "without the features found" not in text
    assert "without random features" not in text
    assert "with the correct answer's own features doubled" in text


def test_what_was_looked_at_and_where_answers_differ_is_shown() -> None:
    told = replace(
        found(),
        searched={"resid2": 9216, "mlp.5": 4},
        num_removed_alone=50,
        correct_token=" Ja",
        num_prompts=1,
        num_failures=1,
    )
    text = Page(diagnosis_html(told)).text
    assert "Looked at: 9,220 features of 2 dictionaries (resid2, mlp.5); the 50 with" in text
    assert "at the first token that differs (' Ja' in the correct answer" in text
    assert (
        "first token that differs"
        not in Page(diagnosis_html(replace(told, correct_token=" Japan"))).text
    )


def test_where_answers_are_given_correct_is_explained() -> None:
    told = replace(
        found(),
        correct_means="ahead of the answers given",
        writes=" the",
        writes_probability=0.4,
        answers_given=(" Italy", " Spain"),
        preferred=" Spain",
    )
    page = Page(diagnosis_html(told))
    assert "the model itself writes" in page.words
    assert "␣the" in page.words
    assert "Of the answers given the model prefers " in page.words
    assert any("'correct' means here: ahead of the answers" in words for words in page.words)
    assert "ahead of the answers given" in page.words
    assert "answered correctly" not in page.words
    assert "the model itself writes" not in Page(diagnosis_html(found())).words


def test_a_feature_stands_where_its_removal_puts_it() -> None:
    given = found()
    widens = replace(given.removed[0], feature=8, margin=-0.3)
    answer = replace(given.removed[0], feature=5, tokens=((9, "8", 2.0),), in_answer=True)
    silent = replace(given.removed[0], feature=6, tokens=())
    told = replace(given, removed=(answer, silent, widens))
    text = Page(diagnosis_html(told)).text
    parts = [
        text.index(f"resid2/{feature}", text.index("each removed alone")) for feature in (5, 8)
    ]
    assert parts[0] < text.index("Features for the correct answer") < parts[1]
    assert "only on the answer’s tokens:" in text
    assert "not active on this prompt" in text
    lines = told.summary()
    assert "active only on the answer's tokens '8' (2.0): the wrong answer's lead shrinks" in lines
    assert "resid2/6 [eel dishes: unagi, anago], not active on this prompt" in lines
    assert "the wrong answer's lead widens by 0.30" in lines
