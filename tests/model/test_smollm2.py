"""The chain on a real model: opening, prompt, generation, an edit."""

from __future__ import annotations

import torch

from inscape.model import Model, PositionEdit

QUESTION = [{"role": "user", "content": "What is the capital of France?"}]


def test_its_name_opens_it_whole(smollm2: Model) -> None:
    assert (smollm2.name, smollm2.num_layers, smollm2.d_model) == ("smollm2", 30, 576)
    assert smollm2.vocab_size == len(smollm2.tokenizer) == 49152
    assert bool(smollm2.vocabulary_mask.all())
    assert smollm2.end_ids == [2]
    assert smollm2.hash == Model.wrap(smollm2.module).hash


def test_it_answers_as_transformers_own_generation_does(smollm2: Model) -> None:
    text = smollm2.tokenizer.apply_chat_template(
        QUESTION, tokenize=False, add_generation_prompt=True
    )
    ids = torch.tensor([smollm2.tokenizer.encode(text, add_special_tokens=False)])
    answer = smollm2.generate(ids, 12)
    assert "Paris" in smollm2.decode(answer[0, ids.shape[1] :])
    expected = smollm2.module.generate(  # type: ignore[operator]
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False
    )
    assert torch.equal(answer, expected)


def test_an_edited_continuation_is_the_same_with_and_without_the_cache(smollm2: Model) -> None:
    ids = torch.tensor([smollm2.tokenizer.encode("Once upon a time", add_special_tokens=False)])
    push = 40 * smollm2.unembedding()[smollm2.tokenizer.encode(" cats")[0]].float()
    edit = {"resid_post.14": PositionEdit(lambda x, offset: x + push)}
    steered = smollm2.generate(ids, 10, edits=edit)
    slow = smollm2.generate(ids, 10, edits={"resid_post.14": lambda x: x + push})
    assert torch.equal(steered, slow)
    assert not torch.equal(steered, smollm2.generate(ids, 10))
