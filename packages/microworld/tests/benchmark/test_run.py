"""The benchmark as a whole: parts by name, any system, faults with their verdicts."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from inscape.core import InputError, Share
from inscape_microworld import fault, open_model
from inscape_microworld.benchmark import PARTS, Benchmark, run_benchmark
from inscape_microworld.benchmark.baselines import principal, untrained
from inscape_microworld.benchmark.diagnoses import FaultScore, row, score_fault
from inscape_microworld.benchmark.naming import concept_names
from inscape_microworld.benchmark.run import OF_SYSTEM
from inscape_microworld.benchmark.scored import Sparse, benchmark_documents, run_documents

SITE = "resid_post.1"


@pytest.fixture(scope="module")
def bench() -> Benchmark:
    model = open_model()
    scored = run_documents(model, benchmark_documents(200), [SITE])
    features = principal(scored, SITE)
    features.name = "mine"
    return Benchmark(model, features, d_dict=256, k=8, num_documents=1000)


def test_any_system_is_scored_beside_the_baselines(bench: Benchmark, monkeypatch) -> None:
    monkeypatch.setattr("inscape_microworld.benchmark.run.NUM_LANDMARK_DOCUMENTS", 1500)
    rows = list(run_benchmark(bench, ["concepts", "crossform", "wordings", "distractors"]))
    assert [r.name for r in rows] == ["concepts", "crossform", "wordings", "distractors"]
    for made in rows:
        json.dumps(made.to_json())
        names = {check.name for check in made.checks}
        for system in ("mine", "neurons", "random directions", "untrained dictionary"):
            assert any(system in name for name in names), (made.name, system)
        assert [c for c in made.checks if c.bar] or made.name == "distractors"
        assert all("mine" in check.name for check in made.checks if check.bar)
    concepts = {c.name: c.figure for c in rows[0].checks}
    assert concepts["mine, union"] >= concepts["mine, single"]


def test_unknown_parts_are_told_with_the_known_ones(bench: Benchmark) -> None:
    with pytest.raises(InputError, match="crossform"):
        list(run_benchmark(bench, ["cross"]))
    assert {"concepts", "crossform", "wordings", "reasoning", "tens", "ones"} < set(PARTS)


def test_without_dictionaries_of_an_atlas_what_needs_them_is_left_out(bench: Benchmark) -> None:
    assert list(run_benchmark(bench, OF_SYSTEM)) == []
    with pytest.raises(InputError, match="mine is scored by itself"):
        _ = bench.of_system


def test_a_feature_is_called_after_the_concept_that_it_tells(bench: Benchmark) -> None:
    scored = bench.scored
    spans = [np.flatnonzero(scored.truth.span_mask(name)) for name in ("deception", "addition")]
    rows = np.concatenate(spans).astype(np.int32)
    indptr = np.array([0, len(spans[0]), len(rows), len(rows)])
    made = Sparse("planted", indptr, rows, np.ones(len(rows), np.float32))
    assert concept_names(scored, [made]) == {made.name: ["deception", "addition", None]}


def score(name: str, kind: str, verdict: str, blamed: tuple[str, ...], hits: int) -> FaultScore:
    shares = {
        "features": Share(hits, 10),
        "leave one token out": Share(1, 10),
        "input × gradient": Share(0, 10),
    }
    after = {"held-out failures": Share(hits, 10)}
    return FaultScore(
        name=name,
        kind=kind,
        mechanism="outvoted",
        verdict=verdict,
        concept="eel",
        blamed=blamed,
        shown=Share(10, 10),
        twins=Share(10, 10),
        trigger=shares,
        chance=0.1,
        before=after,
        after=after,
        random=Share(0, 10),
        baselines=(),
        num_features=2,
    )


def test_verdicts_count_by_fault_and_repairs_by_prompt() -> None:
    made = row(
        [
            score("a", "edit", "outvoted", ("eel", "dna"), 9),
            score("b", "soft", "undecided", ("dna", "eel"), 5),
        ]
    )
    figures = {check.name: check.figure for check in made.checks}
    assert figures["trigger token, features"] == 0.7
    assert figures["responsible concept"] == 0.5
    assert figures["responsible concept among the strongest five"] == 1
    assert figures["mechanism, edited kinds"] == 1
    assert figures["mechanism, all kinds"] == 0.5
    assert figures["held-out prompts repaired"] == 0.7
    json.dumps(made.to_json())


@pytest.mark.parametrize("name", ["unseen", "order"])
def test_a_fault_is_scored_with_and_without_rivals(bench: Benchmark, name: str) -> None:
    """An untrained dictionary: what is told has to be whole, not good."""
    scored = bench.scored
    residual = untrained(scored, SITE, 256, 8)
    system = SimpleNamespace(
        model=bench.model, site=SITE, residual=residual, dictionaries=[residual]
    )
    whole = fault(name)
    some = replace(
        whole,
        selection=whole.selection[:6],
        held_out=whole.held_out[:4],
        rivals_selection=whole.rivals_selection[:3],
        rivals_held_out=whole.rivals_held_out[:3],
        others_selection=whole.others_selection[:3],
        others_held_out=whole.others_held_out[:3],
    )
    found = score_fault(system, some, concept_of=lambda dictionary, feature: f"c{feature}")
    assert found.shown.value > 0.5
    assert found.twins == Share(10, 10)
    assert found.before["held-out failures"].value < 0.5
    assert ("wrong answer is right" in found.after) is bool(whole.rivals_held_out)
    assert {s.total for s in found.trigger.values()} == {4}
    assert 0 < found.chance < 0.5
    assert [b.name for b in found.baselines]
    json.dumps(row([found]).to_json())
