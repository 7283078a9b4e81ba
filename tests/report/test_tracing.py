"""Tables of trajectories, circuits, exchanges, attention and scores."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.families import tiny, tiny_tokenizer

from inscape.attribution import Exchange, Member, explain_attention, score_graphs, trace, trajectory
from inscape.circuits import Circuit, CircuitMember, Faithfulness
from inscape.core import Share
from inscape.model import Model
from inscape.report.parts import share


@pytest.fixture(scope="module")
def model() -> Model:
    tokenizer = tiny_tokenizer()
    return Model.wrap(tiny("llama", vocab_size=len(tokenizer)), tokenizer)


def test_an_answer_token_by_token(model: Model) -> None:
    found = trajectory(
        model, " the <b>cat", answer=" sat on", candidates=(" a", " zebra"), nodes=10
    )
    shown = found._repr_html_()
    assert "<b>cat" not in shown
    assert "&lt;b&gt;cat" in shown
    assert shown.count("<tr") >= len(found.steps)
    assert "is ahead" in shown
    assert "rests on" in shown


def test_attention_and_scores(model: Model) -> None:
    shown = explain_attention(model, " the cat sat on", layer=1, head=2)._repr_html_()
    assert "Why head 2 of layer 1 looks" in shown
    shown = score_graphs(model, [" the cat", " a dog"], verified=4)._repr_html_()
    assert "Graphs of 2 prompts through neurons alone" in shown


def test_an_exchange() -> None:
    found = Exchange(
        model="m",
        prompt="a <i>",
        other="b",
        answers=(" x", " y"),
        before=(0.9, 0.1, " x"),
        after=(0.2, 0.8, " y"),
        turned=True,
        controls=Share(0, 20),
        members=[Member(3, 1, 7, 0.5, -1.0)],
        prompt_tokens=["a", " <i>"],
        names=lambda dictionary, feature: "cats" if feature == 7 else None,
    )
    shown = found._repr_html_()
    assert "cats" in shown
    assert "mlp_act.3/7" in shown
    assert "a &lt;i&gt;" in shown
    assert "a <i>" not in shown


def test_a_circuit() -> None:
    measured = Faithfulness(3.0, 1.5, 2.9, 1.4, 0.93, (0.8, 1.1), 0.1, says=False)
    found = Circuit(
        model="m",
        about="who receives",
        members=[
            CircuitMember(
                "head", 20, 0, "last", "attn_head.20", "", {"giver again": 0.7, "x": 0.05}, 0.5, 0.2
            ),
            CircuitMember("mlp", 3, 0, "giver", "mlp_act.3", "", {}, 0.1, 0.05),
        ],
        usable=Share(30, 40),
        num_chosen=15,
        num_held=15,
        held_templates=["t"],
        lead=3.0,
        other_lead=-2.0,
        swing=1.0,
        turned=Share(14, 15),
        named=Share(12, 15),
        by_template={"t": Share(14, 15)},
        controls=[Share(0, 15), Share(1, 15)],
        faithfulness={"mean": measured},
        cpr=0.9,
        cmd=0.1,
        curve=[(0.5, 0.8), (1.0, 1.0)],
        overlap=0.8,
        num_units=1000,
    )
    shown = found._repr_html_()
    for text in ("head 0 of layer 20 at the last token", "giver again 0.70", "says little"):
        assert text in shown
    assert "the neurons of layer 3" in shown
    assert share(Share(14, 15)) in shown
    assert share(Share(12, 15)) in shown


def test_a_graph_shows_what_was_predicted_beside_what_was_measured(model: Model) -> None:
    graph = trace(model, " the cat sat", node_share=1.0, max_features=80)
    assert graph.verification is not None
    shown = graph._repr_html_()
    assert "redicted effects hold" in shown or "redicted effects FAIL" in shown
    assert "best together" in shown
    tested = [one for one in graph.supernodes if one.measured is not None]
    assert shown.count("alike features: without them") == min(len(tested), 8) > 0
    failed = replace(graph, verification=replace(graph.verification, holds=False))
    assert "redicted effects FAIL" in failed._repr_html_()
