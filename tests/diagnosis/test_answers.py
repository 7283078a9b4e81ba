"""Answers are judged whole; the wrong one, or what counts as an answer at all, can be named."""

from __future__ import annotations

import json

import pytest
import torch
from tests.attribution.random_transcoders import random_dictionary
from tests.families import D_MODEL, tiny, tiny_tokenizer
from tests.model.test_answers import saying

from inscape.core import InputError
from inscape.diagnosis import Case, Diagnosis, diagnose
from inscape.model import Model


def of(model: Model, *cases: Case) -> Diagnosis:
    dictionary = random_dictionary("resid_post.1", "resid_post.1", d=D_MODEL)
    return diagnose(model, [dictionary], cases, num_random=2, num_candidates=4)


def test_a_wrong_number_is_wrong_though_its_first_token_is_a_space() -> None:
    """The tokenizer splits digits: " 89" and " 81" begin with the same two tokens."""
    model = saying("= 81.")
    found = of(model, Case("48+41=", " 89"))
    assert found.mechanism != "correct"
    assert (found.correct, found.wrong) == (" 89", " 81")
    assert (found.shared, found.correct_token, found.wrong_token) == (" 8", "9", "1")
    assert found.lead > 0
    assert found.wrong_probability > 0.5 > found.correct_probability
    assert of(model, Case("40+41=", " 81")).mechanism == "correct"


def test_a_number_that_goes_on_is_no_answer_and_cannot_be_told_apart() -> None:
    with pytest.raises(InputError, match="goes on with '0'.*next|name the wrong answer"):
        of(saying("= 890"), Case("48+41=", " 89"))
    found = of(saying("= 890"), Case("48+41=", " 89"), Case("40+41=", " 81"))
    assert (found.num_prompts, found.num_failures) == (2, 1)
    assert "left out" in found.summary()


@pytest.fixture(scope="module")
def model() -> Model:
    return Model.wrap(tiny("llama", vocab_size=300), tiny_tokenizer())


def test_the_wrong_answer_can_be_named(model: Model) -> None:
    """What the model would rather say does not matter then: only which of the two is likelier."""
    prompt = "the dog sat in"
    better, worse = sorted((" Paris", " the mat"), key=lambda a: -model.score(prompt, a))
    assert not model.answers(prompt, better)
    assert of(model, Case(prompt, better, wrong=worse)).mechanism == "correct"
    found = of(model, Case(prompt, worse, wrong=better))
    assert (found.wrong, found.num_failures) == (better, 1)
    assert of(model, Case(prompt, worse)).wrong not in (better, worse)


def test_candidates_say_what_counts_as_an_answer(model: Model) -> None:
    prompt = "the dog sat in"
    answers = (" Paris", " the mat", " a cat", " sat")
    best, second, *rest = sorted(answers, key=lambda a: -model.score(prompt, a))
    assert of(model, Case(prompt, best, candidates=(second, *rest))).mechanism == "correct"
    found = of(model, Case(prompt, second, candidates=(*rest[::-1], best)))
    assert found.wrong == best
    named = of(model, Case(prompt, rest[-1], wrong=second, candidates=answers))
    assert named.wrong == second


def test_answers_of_which_one_begins_with_the_other_are_refused(model: Model) -> None:
    with pytest.raises(InputError, match="begins with the other.*go on until it differs"):
        of(model, Case("the dog sat in", " Paris", wrong=" Paris and the cat"))


def test_an_answer_that_is_both_correct_and_wrong_is_refused(model: Model) -> None:
    with pytest.raises(InputError, match="' Paris' is given as the correct and as the wrong"):
        of(model, Case("the dog sat in", " Paris", wrong=" Paris"))


def test_a_prompt_that_ends_in_a_space_is_noticed(model: Model) -> None:
    found = of(model, Case("the dog sat in ", "Paris"))
    assert "ends in a space" in found.summary()


# What is said where answers are given


def unsure(text: str) -> Model:
    """A model that would say `text`, each token of it with a probability of about 0.06."""
    model = saying(text)
    with torch.no_grad():
        model.module.lm_head.weight *= 0.15
    return model


def test_what_the_model_itself_writes_is_said_beside_the_answers_given() -> None:
    found = of(saying("= 81."), Case("48+41=", " 72", candidates=(" 89", " 65")))
    assert (found.writes, found.preferred, found.wrong) == (" 81", " 89", " 89")
    assert found.writes_probability is not None
    assert found.writes_probability > 0.5 > found.wrong_probability
    assert found.answers_given == (" 89", " 65")
    assert found.correct_means == "ahead of the answers given"
    text = found.summary()
    assert "the model itself writes ' 81' (p=" in text
    assert "of the answers given it prefers ' 89'" in text
    assert "'correct' means here: ahead of the answers given" in text
    assert "the model says" not in text
    assert Diagnosis.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_a_named_answer_that_is_not_the_likeliest_is_not_called_preferred() -> None:
    found = of(saying("= 81."), Case("48+41=", " 72", wrong=" 65", candidates=(" 89",)))
    assert (found.preferred, found.wrong) == (" 89", " 65")


def test_an_answer_ahead_of_those_given_is_not_called_what_the_model_writes() -> None:
    found = of(saying("= 81."), Case("48+41=", " 89", candidates=(" 72",)))
    assert (found.mechanism, found.writes) == ("correct", " 81")
    text = found.summary()
    assert "Of the answers given the model prefers the correct one, ' 89'" in text
    assert "It itself writes ' 81'" in text


def test_what_the_model_writes_is_correct_however_likely_a_named_answer_is() -> None:
    """A short wrong answer can be likelier as a whole than a long correct one that is written."""
    model = unsure("= 81.")
    assert model.answers("48+41=", " 81.")
    assert model.score("48+41=", " 7") > model.score("48+41=", " 81.")
    found = of(model, Case("48+41=", " 81.", wrong=" 7"))
    assert found.mechanism == "correct"
    assert "The model itself writes the correct answer ' 81.'" in found.summary()
    assert "there is nothing to diagnose" in found.summary()


def test_a_lead_that_is_none_at_the_token_looked_at_is_noted() -> None:
    found = of(unsure("= 81."), Case("48+41=", " 83333", wrong=" 7"))
    assert found.lead < 0
    assert "ahead by" in found.summary()
    assert "the correct answer is ahead at the first token that differs" in found.notes[-1]


def test_where_some_prompts_give_answers_both_meanings_are_told() -> None:
    model = saying("= 81.")
    found = of(model, Case("48+41=", " 72"), Case("40+49=", " 72", wrong=" 89"))
    assert found.correct_means.startswith("the model writes it; where answers are given")
    assert "'correct' means here" in found.summary()
    assert "the model says ' 81'" in found.summary()


def test_the_token_at_which_answers_differ_is_said() -> None:
    where = "at the first token that differs ('9' in the correct answer, '1' in the wrong one)"
    assert where in of(saying("= 81."), Case("48+41=", " 89")).summary()
    one_token = of(saying("=8"), Case("4=", "9", wrong="8"))
    assert one_token.num_failures == 1
    assert "first token that differs" not in one_token.summary()
