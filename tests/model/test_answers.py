"""Answers are judged whole, also where a tokenizer splits numbers into digits."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from tests.families import tiny, tiny_tokenizer
from tests.model.test_text import metaspace_tokenizer

from inscape.core import InputError
from inscape.intervention import DirectionEdit, edits
from inscape.model import Model


def saying(text: str) -> Model:
    """A model without attention that says `text` after its first character, token by token."""
    tokenizer = tiny_tokenizer(digits=True)
    module = tiny("llama", vocab_size=300, tie_word_embeddings=False)
    for layer in module.model.layers:
        for part in (layer.self_attn.o_proj, layer.mlp.down_proj):
            part.weight.zero_()
    ids = tokenizer.encode(text, add_special_tokens=False)
    rows = module.model.embed_tokens.weight
    module.lm_head.weight.zero_()
    for token, following in itertools.pairwise(ids):
        normed = module.model.norm(rows[token])
        module.lm_head.weight[following] += normed * 20 / normed.square().sum()
    return Model.wrap(module, tokenizer)


SUM = "48+41="


def test_an_answer_has_the_tokens_that_it_has_behind_its_prompt() -> None:
    for tokenizer in (tiny_tokenizer(digits=True), metaspace_tokenizer()):
        model = Model.wrap(tiny("llama", vocab_size=300), tokenizer)
        for prompt, text in (("an", " Paris"), ("Paris,", " Paris, an"), ("=", " 89")):
            answer = model.answer(prompt, text)
            assert [*model.encode(prompt), *answer.ids] == model.encode(prompt + text)
            assert answer.notes == ()
    assert [model.token_text(i) for i in answer.ids][-2:] == ["8", "9"]


def test_the_log_probability_is_that_of_every_token() -> None:
    model = Model.wrap(tiny("llama", vocab_size=300), tiny_tokenizer(digits=True))
    pairs = [(SUM, " 89"), (" the cat", " sat on the mat"), ([1, 70, 71], " 8")]
    wanted = []
    for prompt, text in pairs:
        ids = [*model.prompt(prompt).ids, *model.answer(prompt, text).ids]
        logits = model.run(torch.tensor([ids]), logits="all").logits
        assert logits is not None
        logs = torch.log_softmax(logits[0], -1)
        first = len(model.prompt(prompt))
        wanted.append(float(sum(logs[i - 1, ids[i]] for i in range(first, len(ids)))))
    assert [model.score(p, a) for p, a in pairs] == pytest.approx(wanted, rel=1e-4)
    assert [j.log_probability for j in model.judge(pairs)] == pytest.approx(wanted, rel=1e-4)


def test_many_answers_in_small_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Model.wrap(tiny("llama", vocab_size=300), tiny_tokenizer())
    pairs = [(" the" + " cat" * (i % 7), " sat" + " on" * (i % 3)) for i in range(20)]
    together = [j.log_probability for j in model.judge(pairs)]
    monkeypatch.setattr("inscape.model.answers.TOKENS", 12)
    monkeypatch.setattr("inscape.model.answers.ROWS", 3)
    assert [j.log_probability for j in model.judge(pairs)] == pytest.approx(together, rel=1e-4)


@pytest.mark.parametrize(
    ("said", "answer", "judged"),
    [
        ("= 81.", " 81", True),
        ("= 81.", " 81.", True),
        ("= 81.", " 89", False),  # the first digit alone was held for the answer
        ("= 81.", " 8", False),  # what is said is another number
        ("= 810", " 81", False),
        ("= the cat", " the", True),
    ],
)
def test_answered_is_what_the_greedy_continuation_begins_with(
    said: str, answer: str, judged: bool
) -> None:
    model = saying(said)
    prompt = model.prompt(SUM)
    text = model.continuation(model.generate(prompt, 4)[0], len(prompt))
    assert text.startswith(said[1:])
    assert model.answers(SUM, answer) is judged


def test_answers_under_edits_leave_alone_what_does_not_count() -> None:
    model = Model.wrap(tiny("llama", vocab_size=300), tiny_tokenizer(digits=True))
    change = edits(model, [DirectionEdit("resid_post.1", torch.ones(32), 3.0)])
    pairs = [(SUM, " 89"), (" the cat sat", " on")]
    together = [j.log_probability for j in model.judge(pairs, edits=change)]
    apart = [model.score(p, a, edits=change) for p, a in pairs]
    assert together == pytest.approx(apart, rel=1e-4)
    assert together != pytest.approx([model.score(p, a) for p, a in pairs], rel=1e-3)


@pytest.mark.parametrize(
    ("prompt", "answer", "note"),
    [
        ("the cat sat ", "on", "the prompt ends in a space, which a model says as part of ' on'"),
        ("the cat sat", "on", "they read 'saton'; write ' on'"),
        ("the cat sat in Par", "Paris", "'Paris' begins with 'Par', with which the prompt ends"),
        ("the cat sat", " sat on", "' sat on' begins with 'sat', with which the prompt ends"),
        ("the cat sat:th", "e mat", "are other tokens when they are one text"),
    ],
)
def test_what_is_odd_between_prompt_and_answer_is_said(prompt: str, answer: str, note: str) -> None:
    model = Model.wrap(tiny("llama", vocab_size=300), tiny_tokenizer())
    (said,) = model.answer(prompt, answer).notes
    assert note in said


def test_tokens_that_merge_over_the_boundary_are_said() -> None:
    model = Model.wrap(tiny("llama", vocab_size=300), metaspace_tokenizer())
    answer = model.answer("P", "aris")
    assert len(answer.notes) == 1
    assert model.answer("an,", " an").notes == ()


def test_what_is_no_answer_is_refused() -> None:
    model = saying(SUM)
    for message, use in (
        ("found int in place of text", lambda: model.score("the cat", 5)),
        ("found NoneType in place of text", lambda: model.answer("the cat", None)),
        ("5 to be judged; expected a pair", lambda: model.judge([5])),
        ("'ab' to be judged; expected a pair", lambda: model.judge(["ab"])),
        ("the candidates 'ab'; expected a list", lambda: model.first_difference("a", "ab")),
        ("the candidates None; expected a list", lambda: model.first_difference("a", None)),
        ("found int in place of text", lambda: model.first_difference("a", [1, 2])),
    ):
        with pytest.raises(InputError, match=message):
            use()


def test_candidates_part_at_their_first_token_that_differs() -> None:
    model = Model.wrap(tiny("llama", vocab_size=300), tiny_tokenizer(digits=True))
    split = model.first_difference(SUM, [" 89", " 81"])
    assert split.prompt.ids == (*model.prompt(SUM).ids, *model.answer(SUM, " 8").ids)
    assert [model.token_text(t) for t in split.tokens] == ["9", "1"]
    assert split.notes == ("' 8', with which ' 89' and ' 81' begin, was fed in behind the prompt",)
    words = model.first_difference("the cat", [" sat", " on the mat"])
    assert words.prompt.ids == model.prompt("the cat").ids
    assert words.notes == tuple(
        f"of {answer.text!r} the token {model.token_text(token)!r} is compared"
        for answer, token in zip(words.answers, words.tokens, strict=True)
        if len(answer) > 1
    )
    assert words.notes
    several = model.first_difference(SUM, [" 89", " 81", " 7"])
    assert [model.token_text(t) for t in several.tokens] == ["8", "8", "7"]
    alone = model.first_difference(SUM, [" 89"])
    assert model.token_text(alone.tokens[0]) == "8"
    assert alone.prompt.counted.all() or not alone.prompt.counted[0]


@pytest.mark.parametrize(
    ("candidates", "message"),
    [
        ([" 89", " 89"], "' 89' is given twice"),
        ([" 8", " 89"], "' 89' begins with ' 8': no token tells them apart"),
        ([" 89", ""], "the answer is empty"),
        ([], "no candidate"),
    ],
)
def test_candidates_that_cannot_be_told_apart(candidates: list[Any], message: str) -> None:
    model = Model.wrap(tiny("llama", vocab_size=300), tiny_tokenizer(digits=True))
    with pytest.raises(InputError, match=message) as error:
        model.first_difference(SUM, candidates)
    assert "\n" not in str(error.value)
