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
