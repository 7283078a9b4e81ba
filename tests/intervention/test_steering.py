"""Steering and its baselines on tiny models."""

from __future__ import annotations

import pytest
import torch
from tests.families import D_MODEL, tiny, tiny_tokenizer
from tests.intervention.dictionaries import made
from tests.model.test_text import metaspace_tokenizer

from inscape.core import InputError
from inscape.dictionary import Dictionary
from inscape.intervention import (
    DirectionEdit,
    Dose,
    FeatureEdit,
    best_dose,
    difference_in_means,
    dose_response,
    prompted,
    random_direction,
    steer,
    text_loss,
)
from inscape.model import Model

PROMPTS = [" the cat", " the dog sat", " on the mat"]


@pytest.fixture(scope="module")
def model() -> Model:
    tokenizer = tiny_tokenizer()
    module = tiny("llama", vocab_size=len(tokenizer))
    module.model.norm.weight.fill_(1.0)
    return Model.wrap(module, tokenizer)


@pytest.fixture(scope="module")
def paris(model: Model) -> Dictionary:
    """One feature that writes the head's row of " Paris" into the last layer's output."""
    token, _ = model.answer_token(" Paris")
    row = model.unembedding()[token]
    zero = torch.zeros(1, D_MODEL)
    return made("resid_post.2", zero, -torch.ones(1), row[None].clone(), torch.zeros(D_MODEL))


def count(text: str) -> float:
    return float(text.count(" Paris"))


def test_added_features_change_what_is_said(model: Model, paris: Dictionary) -> None:
    found = steer(model, " the cat", [FeatureEdit(paris, 0, "add", 200.0)], 5)
    assert found.prompt == " the cat"
    assert found.steered == " Paris" * 5
    assert found.changed
    assert found.plain != found.steered
    assert len(found.plain_tokens) == 5
    assert found.plain_loss is not None
    assert found.steered_loss is not None
    assert found.steered_loss > found.plain_loss  # greedy text is what the model finds likely


def test_an_edit_that_does_nothing_says_the_same(model: Model, paris: Dictionary) -> None:
    for temperature in (0.0, 1.0):
        found = steer(
            model, " the cat", [FeatureEdit(paris, 0, "ablate")], 5, temperature=temperature
        )
        assert not found.changed
        assert found.plain_loss == found.steered_loss


def test_seeds_of_sampling(model: Model, paris: Dictionary) -> None:
    def sample(seed: int) -> list[int]:
        change = [FeatureEdit(paris, 0, "add", 0.1)]
        return steer(model, " the", change, 12, temperature=2.0, seed=seed).steered_tokens

    assert sample(1) == sample(1)
    assert sample(1) != sample(2)


def test_a_continuation_is_what_it_adds_to_the_prompt() -> None:
    """A sentencepiece token decoded alone loses its space, half a character its other half."""
    tokenizer = metaspace_tokenizer()
    model = Model.wrap(tiny("llama", vocab_size=300), tokenizer)
    paris, first, second = tokenizer.convert_tokens_to_ids(["▁Paris", "<0xC3>", "<0xA9>"])
    ids = [*model.prompt("Paris,").ids, paris, first]
    assert model.continuation(ids[:-1], len(ids) - 2) == " Paris"
    assert model.continuation([*ids, second], len(ids)) == "é"
    found = steer(model, "Paris an", [], 6)
    whole = model.decode([*model.prompt("Paris an").ids, *found.plain_tokens])
    assert "Paris an" + found.plain == whole


def test_chats_and_ids_are_steered_too(model: Model, paris: Dictionary) -> None:
    model.tokenizer.chat_template = (
        "{% for m in messages %}<s>{{ m['content'] }}</s>{% endfor %} on"
    )
    change = [FeatureEdit(paris, 0, "add", 200.0)]
    chat = steer(model, [{"role": "user", "content": "the cat"}], change, 3)
    assert (chat.prompt, chat.steered) == ("<s>the cat</s> on", " Paris" * 3)
    by_id = steer(model, list(model.prompt("the cat", bos="never").ids), change, 3)
    assert by_id.steered == " Paris" * 3
    for wrong in ([], [1] * 70, [300]):
        with pytest.raises(InputError):
            steer(model, wrong, change, 3)


def test_a_prompt_without_room_is_refused(model: Model, paris: Dictionary) -> None:
    with pytest.raises(InputError):
        steer(model, " the cat", [FeatureEdit(paris, 0, "ablate")], 100)


def test_text_loss_is_the_usual_cross_entropy(model: Model) -> None:
    tokens = model.prompt(" the cat sat on the mat").tokens
    labels = tokens.clone()
    labels[:, :4] = -100
    wanted = model.module(tokens, labels=labels).loss
    assert text_loss(model, tokens[0], 4) == pytest.approx(float(wanted), rel=1e-5)
    assert text_loss(model, tokens[0], tokens.shape[1]) is None


def test_dose_response(model: Model, paris: Dictionary) -> None:
    change = FeatureEdit(paris, 0, "add", unit=100.0)
    doses = dose_response(model, PROMPTS, [change], [0.0, 2.0], count, max_new_tokens=4)
    assert [d.strength for d in doses] == [0.0, 2.0]
    assert doses[0].effect < 1
    assert doses[1].effect == 4
    assert doses[1].interval == (4.0, 4.0)
    assert doses[1].loss > doses[0].loss
    assert doses[0].num_prompts == 3
    by_function = dose_response(
        model,
        PROMPTS,
        lambda s: [FeatureEdit(paris, 0, "add", s, unit=100.0)],
        [2.0],
        count,
        max_new_tokens=4,
    )
    assert by_function == doses[1:]


def test_best_dose_is_the_strongest_that_stays_fluent() -> None:
    doses = [
        Dose(s, effect, (effect, effect), loss, 3)
        for s, effect, loss in [(0, 0.0, 2.0), (1, 0.5, 2.2), (2, 0.9, 2.6), (4, 1.0, 5.0)]
    ]
    assert best_dose(doses, max_extra_loss=0.7).strength == 2
    assert best_dose(doses, max_extra_loss=0.3).strength == 1
    with pytest.raises(InputError, match="strength 0"):
        best_dose(doses[1:], max_extra_loss=1.0)


def test_difference_in_means(model: Model) -> None:
    positive, negative = [" the cat", " the dog sat"], [" on", " Paris"]

    def mean(texts: list[str]) -> torch.Tensor:
        rows = [
            model.run(model.prompt(t), read=["resid_post.1"])["resid_post.1"][0, 1:] for t in texts
        ]
        return torch.cat(rows).mean(0)

    found = difference_in_means(model, "resid_post.1", positive, negative)
    torch.testing.assert_close(found, mean(positive) - mean(negative), atol=1e-5, rtol=1e-5)
    last = difference_in_means(model, "resid_post.1", [" the cat"], [" on"], pool="last")
    ends = [
        model.run(model.prompt(t), read=["resid_post.1"])["resid_post.1"][0, -1]
        for t in (" the cat", " on")
    ]
    torch.testing.assert_close(last, ends[0] - ends[1], atol=1e-5, rtol=1e-5)
    with pytest.raises(InputError, match="no texts"):
        difference_in_means(model, "resid_post.1", positive, [])


def test_random_directions_have_equal_norm(model: Model) -> None:
    like = torch.arange(1.0, D_MODEL + 1)
    one, same, other = (random_direction(like, seed=s) for s in (1, 1, 2))
    assert torch.equal(one, same)
    assert float(one.norm()) == pytest.approx(float(like.norm()))
    assert abs(float(one @ other)) < 0.9 * float(like.norm()) ** 2
    steered = steer(model, " the cat", [DirectionEdit("resid_post.2", one, 1.0)], 4)
    assert steered.plain != steered.steered


def test_prompting_is_measured_alike(model: Model) -> None:
    plain = dose_response(model, PROMPTS, [], [0.0], count, max_new_tokens=4)[0]
    assert prompted(model, PROMPTS, "", count, max_new_tokens=4).effect == plain.effect
    asked = prompted(model, PROMPTS, " Paris Paris", len, max_new_tokens=4)
    assert asked.num_prompts == 3
    assert asked.effect > 0
