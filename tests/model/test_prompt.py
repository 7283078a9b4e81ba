"""Prompts: BOS, chat templates, roles, and the positions that count."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from tests.families import tiny, tiny_tokenizer

from inscape.core import InputError
from inscape.intervention import DirectionEdit, edits
from inscape.model import Inputs, Model

TEMPLATE = (
    "{% for m in messages %}"
    "{% if m['role'] == 'tool' %}{{ raise_exception('no tools') }}{% endif %}"
    "{{ '<|turn|>' + m['role'] + '\n' + m['content'].strip() + '<|end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|turn|>assistant\n' }}{% endif %}"
)
LOUD = 40  # a token with a massive norm in the model of `loud`


def chatty(**options: Any) -> Model:
    """A model whose "BOS" opens a turn, as SmolLM2's does, and is not added to plain text."""
    tokenizer = tiny_tokenizer(adds=False)
    tokenizer.add_special_tokens({"bos_token": "<|turn|>", "eos_token": "<|end|>"})
    tokenizer.chat_template = TEMPLATE
    return Model.wrap(tiny("llama", vocab_size=310), tokenizer, **options)


def loud() -> Model:
    module = tiny("llama")
    module.get_input_embeddings().weight[LOUD] *= 300
    return Model.wrap(module)


def test_bos_is_added_where_the_tokenizer_adds_it() -> None:
    model = chatty()
    assert model.bos_id is None
    assert model.prompt("the cat").ids == tuple(model.encode("the cat"))
    assert model.prompt("the cat").texts[0] == "the"
    front = model.tokenizer.bos_token_id
    assert model.prompt("the cat", bos="always").ids == (front, *model.encode("the cat"))
    assert model.prompt("<|turn|>the cat", bos="always").ids.count(front) == 1
    assert chatty(bos="always").prompt("the cat").ids[0] == front
    assert model.prompt([7, 8]).ids == (7, 8)
    assert model.prompt([7, 8], bos="always").ids == (front, 7, 8)
    adding = Model.wrap(tiny("llama", vocab_size=300), tiny_tokenizer())
    assert adding.prompt("cat").ids == (1, *adding.prompt("cat", bos="never").ids)


def test_a_bos_with_id_zero_is_an_id() -> None:
    tokenizer = tiny_tokenizer(bos=False)
    tokenizer.bos_token = "<unk>"
    model = Model.wrap(tiny("llama", vocab_size=300), tokenizer, bos="always")
    assert model.bos_id == 0
    prompt = model.prompt("the cat")
    assert prompt.ids[0] == 0
    assert prompt.counted.tolist() == [False, *(len(prompt) - 1) * [True]]


def test_what_is_no_rule_for_bos_is_refused() -> None:
    with pytest.raises(InputError, match="bos is 'sometimes'"):
        chatty(bos="sometimes")
    without = Model.wrap(tiny("llama", vocab_size=300), tiny_tokenizer(bos=False))
    with pytest.raises(InputError, match="no beginning-of-text token"):
        without.prompt("the cat", bos="always")


def test_a_special_token_can_be_named_as_what_a_text_begins_with() -> None:
    model = chatty(bos="<|turn|>")
    (turn,) = model.tokenizer.convert_tokens_to_ids(["<|turn|>"])
    assert model.bos_id == turn
    assert model.prompt("the cat").ids[0] == turn
    assert model.prompt("<|turn|>the cat").ids.count(turn) == 1
    assert model.prompt([7, 8]).ids == (7, 8)
    assert chatty().prompt("the cat", bos="<|turn|>").ids == model.prompt("the cat").ids
    unknown = chatty(bos="<unk>")
    assert unknown.prompt("the cat").counted.tolist()[0] is False
    with pytest.raises(InputError, match="bos is 'cat'"):
        chatty(bos="cat")


def test_messages_go_through_the_template_and_keep_their_roles() -> None:
    model = chatty(bos="always")
    messages = [
        {"role": "system", "content": "user"},
        {"role": "user", "content": "  the cat\nsat "},
    ]
    prompt = model.prompt(messages)
    text = model.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert prompt.text == text
    assert list(prompt.ids) == model.tokenizer.encode(text, add_special_tokens=False)
    said = {
        role: "".join(t for t, r in zip(prompt.texts, prompt.roles, strict=True) if r == role)
        for role in ("system", "user", "assistant")
    }
    assert said == {"system": "user", "user": "the cat\nsat", "assistant": ""}
    expected = [role is not None for role in prompt.roles]
    expected[-1] = True  # the template's last token, at which the answer is computed
    assert prompt.counted.tolist() == expected
    begun = model.prompt([*messages, {"role": "assistant", "content": "the dog"}])
    assert begun.texts[-1] in "the dog"
    assert begun.roles[-1] == "assistant"


def test_what_the_model_cannot_read_is_said_in_one_line() -> None:
    model = chatty()
    plain = Model.wrap(tiny("llama", vocab_size=300), tiny_tokenizer())
    user = [{"role": "user", "content": "Hi"}]
    for message, failing in (
        ("has no chat template", lambda: plain.prompt(user)),
        ("refuses the messages .*no tools", lambda: model.prompt([{**user[0], "role": "tool"}])),
        ("the message {'role': 'user'}", lambda: model.prompt([{"role": "user"}])),
        ("token id 310; expected 0 to 309", lambda: model.prompt([7, 310])),
        ("token id -1; expected", lambda: model.prompt([-1])),
        ("a prompt of floats", lambda: model.prompt([1.5])),
        ("a prompt of float;", lambda: model.prompt(3.5)),
        ("a prompt of int;", lambda: model.prompt(3)),
        ("a prompt of int;", lambda: model.prompt(torch.tensor(3))),
        ("a prompt of lists", lambda: model.prompt([[7, 8], [9]])),
        ("a prompt of lists", lambda: model.prompt(torch.tensor([[7, 8], [9, 10]]))),
        ("a prompt of bytes", lambda: model.prompt(b"Hi")),
        ("a prompt of dict;", lambda: model.prompt(user[0])),
        ("a prompt of NoneType", lambda: model.prompt(None)),
        ("token id 1000.*; expected", lambda: model.prompt([10**30])),
        ("the message {'content': 'Hi'}", lambda: model.prompt([{"content": "Hi"}])),
        ("the prompt is empty", lambda: model.prompt("", bos="never")),
        ("the prompt is empty", lambda: model.prompt([])),
        (r"character 2 of the text, '\\ud800'", lambda: model.prompt("a \ud800 b")),
        ("tokens of type list", lambda: model.run([1, 2])),
        ("logits='foo'", lambda: model.run(torch.tensor([[1]]), logits="foo")),
    ):
        with pytest.raises(InputError, match=message) as error:
            failing()
        assert "\n" not in str(error.value)


def test_ids_come_as_lists_arrays_and_tensors() -> None:
    model = chatty()
    for ids in ([7, 8], (7, 8), np.array([7, 8]), torch.tensor([7, 8]), torch.tensor([[7, 8]])):
        assert model.prompt(ids).ids == (7, 8)
    assert Model.wrap(tiny("llama")).prompt([7, 8]).texts == ("<7>", "<8>")


def test_bytes_of_one_character_are_shown_as_that_character() -> None:
    model = chatty()
    prompt = model.prompt("a日é!")
    assert prompt.texts == ("a", "日", "日", "日", "é", "é", "!")
    assert model.prompt(list(prompt.ids[:3])).texts == ("a", "<0xE6>", "<0x97>")


def test_sinks_and_special_tokens_do_not_count() -> None:
    model = loud()
    prompt = model.prompt([1, 7, LOUD, 9, 2, 11])
    expected = [False, True, False, True, False, True]
    assert prompt.counted.tolist() == expected
    # A batch counts as its rows do alone, whatever is beside them, and padding does not.
    rows = torch.tensor([[1, 7, LOUD, 9, 2, 11], [5, 6, 8, 0, 0, 0]])
    words = torch.tensor([[True] * 6, [True] * 3 + [False] * 3])
    assert model.counted(rows, words).tolist() == [expected, [True] * 3 + [False] * 3]
    model.sink_medians = {"resid_post.0": 1e9, "mlp_out.0": 1e-9}
    assert model.prompt([7, LOUD]).counted.tolist() == [True, True]
    model.sink_medians = {"resid_post.0": 1e-9}
    assert model.prompt([7, LOUD]).counted.tolist() == [False, False]


def test_edits_leave_alone_what_does_not_count() -> None:
    model = loud()
    change = edits(model, [DirectionEdit("resid_post.1", torch.ones(32), 5.0)])
    prompt = model.prompt([7, 1, LOUD, 9])  # a first word, then a BOS in the middle of the text

    def moved(given: Any) -> list[bool]:
        old, new = (model.run(given, read=["resid_post.1"], edits=e) for e in ({}, change))
        return (new["resid_post.1"] != old["resid_post.1"]).any(-1)[0].tolist()

    assert moved(prompt) == [True, False, False, True]
    assert moved(prompt.tokens) == [True, False, True, True]  # ids alone: by their number
    chosen = torch.tensor([[False, True, True]])
    assert moved(Inputs(prompt.tokens, counted=chosen)) == [False, True, True, True]
    slow = {site: replace(edit, fixed=False) for site, edit in change.items()}
    cached, plain = (model.generate(prompt, 4, edits=chosen) for chosen in (change, slow))
    assert torch.equal(cached, plain)


def test_smollm2_reads_what_its_own_tokenizer_gives(smollm2: Model) -> None:
    text = "Golden Gate Bridge is in the city of"
    messages = [{"role": "user", "content": "Where is unagi from?"}]
    tokenizer = smollm2.tokenizer
    assert list(smollm2.prompt(text).ids) == tokenizer.encode(text)
    chat = smollm2.prompt(messages)
    rendered = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert list(chat.ids) == tokenizer.encode(rendered, add_special_tokens=False)
    said = [t for t, role in zip(chat.texts, chat.roles, strict=True) if role == "user"]
    assert "".join(said) == "Where is unagi from?"
    assert chat.counted.tolist() == [*(role is not None for role in chat.roles[:-1]), True]
    assert smollm2.answers("The capital of France is", " Paris")
    assert not smollm2.answers("59 + 37 =", " 9")
    assert smollm2.answer("The capital of France is ", "Paris").notes
    assert smollm2.answer("59 + 37 = ", "96").notes == ()  # its space is a token of its own
