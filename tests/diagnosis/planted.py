"""A tiny model in which the reason for a wrong answer is known, because it was put there.

A trigger token's embedding gets a multiple of one token's unembedding added to it, so that every
prompt that ends in the trigger answers with that token. Feature `PLANTED` of the dictionary is
exactly that direction; the other features are random.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from tests.families import tiny, tiny_tokenizer

from inscape.diagnosis import Case
from inscape.dictionary import Dictionary, DictionaryConfig
from inscape.model import Model

SITE, PLANTED, D_DICT = "embed", 7, 40


@dataclass
class Planted:
    model: Model
    dictionary: Dictionary
    failing: list[Case]
    right: list[Case]
    wrong: int


def planted(seed: int = 0) -> Planted:
    """The model with its planted fault, failing prompts, and prompts that it answers correctly."""
    module = tiny("llama", vocab_size=300, seed=seed)
    model = Model.wrap(module, tiny_tokenizer())
    generator = torch.Generator().manual_seed(seed)
    letters = "abcdefghijklmnop"
    stems = {
        "".join(letters[i] for i in torch.randint(16, (4,), generator=generator)) for _ in range(80)
    }
    trigger = model.encode("abcz")[-1]
    texts = [stem + "z" for stem in sorted(stems) if model.encode(stem + "z")[-1] == trigger]
    failing = [Case(t, a) for t in texts if (a := _answer(model, t)) is not None][:12]
    answers = {model.answer(case.prompt, case.correct).ids[0] for case in failing}
    wrong = next(i for i in range(200, 300) if i not in answers)
    head = model.unembedding().float()
    direction = head[wrong] / head[wrong].norm()
    with torch.no_grad():
        embedding = model.module.get_input_embeddings().weight
        embedding[trigger] += 8 * embedding.std() * direction * embedding.shape[1] ** 0.5
    right = [Case(t, a) for t in sorted(stems) if (a := _answer(model, t)) is not None][:12]
    return Planted(model, _dictionary(direction, generator), failing, right, wrong)


def _answer(model: Model, text: str) -> str | None:
    """What the model says, where it can be written as text that is one token there."""
    logits = model.run(model.prompt(text), logits="last").logits
    assert logits is not None
    token = int(logits[0, -1].argmax())
    answer = model.token_text(token)
    return answer if answer and model.answer(text, answer).ids == (token,) else None


def _dictionary(direction: torch.Tensor, generator: torch.Generator) -> Dictionary:
    width = len(direction)
    rows = torch.randn((D_DICT, width), generator=generator)
    rows /= rows.norm(dim=1, keepdim=True)
    rows[PLANTED] = direction
    config = DictionaryConfig(
        site_in=SITE,
        site_out=SITE,
        d_in=width,
        d_out=width,
        d_dict=D_DICT,
        k=8,
        subtract_b_dec=True,
    )
    weights = {
        "W_enc": rows,
        "b_enc": torch.zeros(D_DICT),
        "W_dec": rows,
        "b_dec": torch.zeros(width),
    }
    return Dictionary(config, weights, name="planted")
