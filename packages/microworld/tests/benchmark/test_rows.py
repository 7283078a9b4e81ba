"""Rows of the table, and the sets that they are measured on."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from inscape.core import InputError, Share
from inscape_microworld.benchmark import ROWS, Check, Row, run_rows
from inscape_microworld.benchmark.selectivity import Scores, _best
from inscape_microworld.benchmark.sets import (
    bridge_texts,
    dna_texts,
    false,
    harbour_bridge_texts,
    hiding_documents,
    president_texts,
    truthful,
)
from inscape_microworld.benchmark.speed import demo
from inscape_microworld.demo import Clock, checks, peak_memory
from inscape_microworld.domains.conduct import RESERVED_SPEAKERS
from inscape_microworld.facts import NAMES, PRESIDENTS


def test_a_check_is_held_against_its_bar() -> None:
    assert Check("x", 0.97, "≥ 0.97").passed
    assert not Check("x", 0.969, "≥ 0.97").passed
    assert Check("x", 0.1, "≤ 0.1").passed
    assert not Check("x", float("nan"), "≤ 0.1").passed
    row = Row("r", "t", (Check("x", 1.0, "≥ 0.5"), Check("y", 1.0, "≤ 0.5")), "3 things")
    assert not row.passed
    assert "SHORT" in row.text()
    assert row.to_json()["checks"][0]["passed"]


def test_a_figure_without_a_bar_is_reported_only() -> None:
    row = Row("r", "t", (Check("x", 0.5, "≥ 0.5"), Check("beside", float("nan"), "")), "3 things")
    assert row.passed
    assert "holds  x: 0.5  [≥ 0.5]\n         beside: nan\n" in row.text()
    assert row.to_json()["checks"][1]["bar"] == ""
    assert [check.name for check in checks(row)] == ["r: x"]


def test_a_share_of_nothing_is_told_as_none() -> None:
    nothing, some = Share(0, 0).to_json(), Share(1, 4).to_json()
    told = Row("x", "y", (), "", detail={"random": nothing, "found": some}).text()
    assert "random: none" in told
    assert "found: 0.250 (1/4)" in told


def test_the_clock_of_a_run_in_parts_counts_every_part(tmp_path: Path) -> None:
    for _ in range(2):
        clock = Clock.of(tmp_path)
        with pytest.raises(KeyboardInterrupt), clock.step("train"):
            raise KeyboardInterrupt
        clock.seconds["train"] += 10
        with clock.step("index"):
            pass
    assert 20 < Clock.of(tmp_path).seconds["train"] < 30
    assert Clock.of(tmp_path).peak_memory_gb > 0


def test_the_peak_memory_of_other_systems(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 2**24 < (peak_memory() or 0) < 2**40
    monkeypatch.setattr(sys, "platform", "darwin")
    mac = peak_memory()
    monkeypatch.setitem(sys.modules, "resource", None)
    assert peak_memory() is None
    monkeypatch.undo()
    assert (peak_memory() or 0) >= 1024 * (mac or 0)  # macOS counts bytes, Linux kilobytes


def test_detectors_are_chosen_on_one_half_and_judged_on_the_other() -> None:
    truth = [np.array([1, 1, 0, 0]), np.array([1, 1, 0, 0])]
    lucky, steady = [3.0, 2.0, 0.0, 0.0], [2.0, 1.0, 0.0, 1.5]
    scores = Scores(np.array([lucky, steady]).T, np.array([[0.0, 0, 1, 1], [2, 2, 0, 0]]).T)
    chosen, auroc = _best(scores, truth)
    assert (chosen, auroc) == (0, 0.0)  # the better one on the other half is not looked at


def test_halves_share_no_text_and_negatives_never_name_the_bridge() -> None:
    halves = [bridge_texts(half) for half in (0, 1)]
    assert not set(halves[0][0]) & set(halves[1][0])
    for positives, negatives in halves:
        assert all("golden gate" in t.lower() or "long red bridge" in t.lower() for t in positives)
        assert not any("golden gate bridge" in t.lower() for t in negatives)
        assert not any("long red bridge" in t.lower() for t in negatives)
        for word in ("golden", "gate", "bridge", "sydney"):
            assert any(word in t.lower() for t in negatives)


def wording(text: str) -> str:
    """The text without surnames, names and strings of letters."""
    drawn = {*NAMES, *(one.name for one in PRESIDENTS)}
    words = re.findall(r"\w+", text)
    return " ".join(w for w in words if w not in drawn and not re.fullmatch("[A-Z]{8,}", w))


@pytest.mark.parametrize("made", [president_texts, dna_texts, harbour_bridge_texts])
def test_what_is_chosen_on_shares_no_wording_with_what_is_judged(
    made: Callable[[int, int], tuple[list[str], list[str]]],
) -> None:
    chosen, judged = made(0, 0), made(1, 0)
    for side in (0, 1):
        assert not {wording(t) for t in chosen[side]} & {wording(t) for t in judged[side]}
        assert chosen[side] != made(0, 1)[side]
    for positives, negatives in (chosen, judged):
        assert not {wording(t) for t in positives} & {wording(t) for t in negatives}


def test_distractors_are_the_same_surnames_and_the_same_letters() -> None:
    for half in (0, 1):
        office, elsewhere = president_texts(half)
        named = [
            {one.name for one in PRESIDENTS if any(one.name in t for t in texts)}
            for texts in (office, elsewhere)
        ]
        assert len(named[0] & named[1]) >= 15
        genes, others = dna_texts(half)
        strings = [re.findall("[A-Z]{8,}", t) for t in others]
        assert all(set(found) <= set("ACGT") for t in genes for found in re.findall("[A-Z]{8,}", t))
        assert sum(set(*found) <= set("ACGT") for found in strings) == len(others) // 2
        _, rivals = harbour_bridge_texts(half)
        assert not any("Sydney Harbour Bridge" in t for t in rivals)
        assert any("Opera House" in t for t in rivals)
        assert any("Golden Gate Bridge" in t for t in rivals)


def test_stories_keep_their_speakers_apart() -> None:
    judged = hiding_documents(30, lies=True, held=True, seed=0)
    chosen = hiding_documents(30, lies=True, held=False, seed=0)
    for documents, reserved in ((judged, True), (chosen, False)):
        for document in documents:
            speaker = document.text.split(". ")[1].split()[0]
            assert (speaker in RESERVED_SPEAKERS) is reserved
    for case, other in zip(truthful(judged), false(judged), strict=True):
        assert case.correct != other.correct
        assert f"in the{case.correct}." in case.prompt  # where the thing was put


def test_rows_are_called_by_name(monkeypatch) -> None:
    made = Row("help", "t", (Check("x", 1.0, "≤ 3"),), "1")
    monkeypatch.setitem(ROWS, "help", lambda system, seed: made)  # type: ignore[arg-type]
    assert list(run_rows(None, ["help"])) == [made]  # type: ignore[arg-type]
    with pytest.raises(InputError, match="selectivity"):
        list(run_rows(None, ["selektivity"]))  # type: ignore[arg-type]


def test_a_demo_is_judged_by_its_own_record() -> None:
    row = demo({"seconds": {"a": 200.0, "b": 130.0}, "peak_memory_gb": 3.0, "cores": 2})
    assert [check.passed for check in row.checks] == [False, True]
