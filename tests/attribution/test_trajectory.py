"""An answer followed token by token."""

from __future__ import annotations

import pytest
import torch
from tests.attribution.random_transcoders import TOKENS, random_dictionary
from tests.families import tiny, tiny_tokenizer

from inscape.attribution import trace
from inscape.attribution.trajectory import Trajectory, trajectory
from inscape.core import InputError
from inscape.model import Model


@pytest.fixture(scope="module")
def spoken() -> Model:
    tokenizer = tiny_tokenizer()
    return Model.wrap(tiny("llama", vocab_size=len(tokenizer)), tokenizer)


def test_each_token_of_an_answer_is_a_step(spoken: Model) -> None:
    site = "resid_post.1"
    one = random_dictionary(site, site, d=spoken.d_model)
    found = trajectory(spoken, " the cat", [one], answer=" sat on the", nodes=20)
    assert [step.token for step in found.steps] == [" sat", " on", " the"]
    assert found.answer == " sat on the"
    length = len(found.prompt_tokens)
    given = spoken.prompt(" the cat")
    for number, step in enumerate(found.steps):
        assert step.position == len(given) - 1 + number
        assert len(step.tokens) == length
        assert sum(step.tokens) + step.unknown == pytest.approx(1)
        assert all(share == 0 for share in step.tokens[step.position + 1 :])
        assert all(found.nodes[n].position <= step.position for n, _ in step.nodes)
        ids = [*given.ids, *spoken.answer(given, " sat on the").ids]
        logits = spoken.run(torch.tensor([ids[: step.position + 1]]), logits="last").logits
        assert logits is not None
        p = logits[0, -1].softmax(-1)[ids[step.position + 1]]
        assert step.probability == pytest.approx(float(p), rel=1e-4)
        assert step.margins[-1] == pytest.approx(step.margin, abs=1e-4)
    assert {course.dictionary for course in found.courses} <= {one.name}
    assert all(len(course.values) == len(found.steps) + 1 for course in found.courses)


def test_a_step_is_the_graph_of_its_token(spoken: Model) -> None:
    """With every feature a node, the influence on a token is that of its own graph."""
    for prompt in (" the cat", " the dog sat", " the Paris", " zebra on", " cat", " dog the"):
        step = trajectory(spoken, prompt, answer=" sat on", nodes=10**6).steps[0]
        if len(spoken.answer(prompt, step.rival).ids) == 1:  # no single byte, of which text is made
            break
    graph = trace(spoken, prompt, target=step.token, against=step.rival, max_features=10**6)
    by_token = [node.influence for node in graph.nodes if node.kind == "embedding"]
    rest = [node.influence for node in graph.nodes if node.kind == "rest"]
    ends = sum(by_token) + sum(rest)
    expected = [share / ends for share in by_token]
    assert step.tokens[: len(expected)] == pytest.approx(expected, abs=1e-3)


def test_the_models_own_answer_and_candidates(spoken: Model) -> None:
    found = trajectory(
        spoken, " the cat", max_new_tokens=4, nodes=5, candidates=(" Paris", " dog"), cue=" is"
    )
    assert len(found.steps) == 4
    assert all(step.margin > 0 for step in found.steps)
    assert len(found.leads) == 5
    given = spoken.extended(" the cat", spoken.answer(" the cat", " is").ids)
    lead = spoken.score(given, " Paris") - spoken.score(given, " dog")
    assert found.leads[0] == pytest.approx(lead, abs=1e-4)
    assert found.held_from is not None
    assert all(x * found.leads[-1] > 0 for x in found.leads[found.held_from :])
    text = found.summary()
    assert "' Paris'" in text
    assert "before each token and after the last" in text
    assert Trajectory.from_json(found.to_json()).steps == found.steps


def test_unusable_answers(spoken: Model) -> None:
    with pytest.raises(InputError, match="the answer is empty"):
        trajectory(spoken, " the cat", answer="")
    with pytest.raises(InputError, match="1 candidates"):
        trajectory(spoken, " the cat", answer=" sat", candidates=(" a",))
    with pytest.raises(InputError, match="max_new_tokens 5 was given with an answer"):
        trajectory(spoken, " the cat", answer=" sat", max_new_tokens=5)
    with pytest.raises(InputError, match="64"):
        trajectory(spoken, " the cat", answer=" sat" * 100)


def test_ids_without_a_tokenizer() -> None:
    model = Model.wrap(tiny("gpt2"))
    found = trajectory(model, TOKENS, max_new_tokens=2, nodes=8)
    assert len(found.steps) == 2
