"""Text to tokens and back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import transformers
from tests.families import tiny, tiny_tokenizer
from tokenizers import Tokenizer, decoders, models, normalizers, processors

from inscape.core import InputError, ModelError
from inscape.model import Model


def wrapped(tokenizer: Any) -> Model:
    return Model.wrap(tiny("llama", vocab_size=300), tokenizer)


def metaspace_tokenizer() -> Any:
    """In llama's manner: a space is ▁, one is put in front, bytes stand in for the rest."""
    words = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    words += [*"▁ParisLondn,a1", "▁▁", "▁P", "▁Pa", "Pa", "ri", "▁Pari", "▁Paris"]
    vocabulary = {word: i for i, word in enumerate(dict.fromkeys(words))}
    merges = [("▁", "▁"), ("▁", "P"), ("▁P", "a"), ("P", "a"), ("r", "i")]
    merges += [("▁Pa", "ri"), ("▁Pari", "s")]
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, byte_fallback=True, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


@pytest.mark.parametrize("tokenizer", [tiny_tokenizer(), metaspace_tokenizer()])
def test_exactly_one_bos_whoever_adds_it(tokenizer: Any) -> None:
    model = wrapped(tokenizer)
    for text in ("Paris, Paris", "<s>Paris", ""):
        ids = model.encode(text)
        assert ids[0] == 1
        assert ids.count(1) == 1
        assert 2 not in ids
    assert model.decode(model.encode("Paris, London")).strip() == "Paris, London"


def test_no_bos_where_the_tokenizer_has_none() -> None:
    model = wrapped(tiny_tokenizer(bos=False))
    assert model.bos_id is None
    assert model.decode(model.encode("the cat")) == "the cat"
    assert 1 not in model.encode("the cat")
    with pytest.raises(InputError, match="the prompt is empty"):
        model.prompt("")


def test_gpt2s_bos_is_its_end_of_text() -> None:
    tokenizer = tiny_tokenizer(bos=False)
    tokenizer.bos_token = tokenizer.eos_token
    model = Model.wrap(tiny("llama", vocab_size=300), tokenizer, bos="always")
    assert model.encode("cat")[:1] == [2]


def test_token_texts_make_up_the_text() -> None:
    for tokenizer in (tiny_tokenizer(), metaspace_tokenizer()):
        model = wrapped(tokenizer)
        pieces = [model.token_text(i) for i in model.encode("Paris  Paris, an")[1:]]
        assert "".join(pieces).removeprefix(" ") == "Paris  Paris, an"
        assert " Paris" in pieces
    assert model.token_text(1) == "<s>"


def test_a_truncation_that_the_tokenizers_file_asks_for_cuts_no_text(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    text = "the cat sat on the mat, and nobody saw it there at all"
    whole = wrapped(tokenizer).encode(text)
    tokenizer.backend_tokenizer.enable_truncation(max_length=8)
    tokenizer.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "tokenizer.json").read_text())["truncation"]["max_length"] == 8
    model = wrapped(transformers.AutoTokenizer.from_pretrained(tmp_path))
    assert len(whole) > 12
    assert model.encode(text) == whole
    assert list(model.prompt(text).ids) == whole


def test_spaces_before_punctuation_stay() -> None:
    """A tokenizer's own clean-up would make "x!= y" of it."""
    tokenizer = tiny_tokenizer()
    tokenizer.clean_up_tokenization_spaces = True
    tokenizer.clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output = True
    text = "x != y , it 's .5 and a.b == c ?"
    cleaned = tokenizer.decode(tokenizer.encode(text), clean_up_tokenization_spaces=True)
    assert text not in cleaned
    model = wrapped(tokenizer)
    assert model.decode(model.encode(text)) == text
    assert "".join(model.prompt(text).texts[1:]) == text


def test_cut_characters_are_shown_as_bytes() -> None:
    for tokenizer in (tiny_tokenizer(), metaspace_tokenizer()):
        model = wrapped(tokenizer)
        ids = [i for i in model.encode("é")[1:] if model.token_text(i).strip()]
        assert [model.token_text(i) for i in ids] == ["<0xC3>", "<0xA9>"]
        assert model.decode(model.encode("é")).strip() == "é"


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([-1], "token id -1; expected 0 to 299"),
        ([300], "token id 300; expected"),
        ([10**30], "token id 10000.*; expected"),
        (["a"], "token id 'a'; expected"),
        ([1.5], "token id 1.5; expected"),
        ([True], "token id True; expected"),
        ([[1, 2], [3]], r"token id \[1, 2\]; expected"),
        ("ab", "token ids of type str"),
        (None, "token ids of type NoneType"),
    ],
)
def test_ids_that_are_none_are_refused(ids: Any, message: str) -> None:
    for model in (wrapped(tiny_tokenizer()), wrapped(None)):
        uses = [lambda: model.continuation(ids, 0)]  # noqa: B023
        uses += [lambda: model.decode(ids)] if model.tokenizer else []  # noqa: B023
        uses += [lambda: model.token_text(ids[0])] if isinstance(ids, list) else []  # noqa: B023
        for use in uses:
            with pytest.raises(InputError, match=message):
                use()


def test_answer_token_is_the_first_of_the_continuation() -> None:
    for tokenizer in (tiny_tokenizer(), metaspace_tokenizer()):
        model = wrapped(tokenizer)
        for answer in (" Paris", "Paris", ",", " Paris, an"):
            token, more = model.answer_token(answer)
            whole = model.encode("an" + answer)
            rest = whole[len(model.encode("an")) :]
            assert (token, more) == (rest[0], len(rest) > 1), answer
        token, more = model.answer_token(" Paris")
        assert (model.token_text(token), more) == (" Paris", False)
    with pytest.raises(InputError, match="answer is empty"):
        model.answer_token("")


def test_prompts_fit_the_context() -> None:
    model = wrapped(tiny_tokenizer())
    assert model.prompt("the cat").tokens.tolist() == [model.encode("the cat")]
    with pytest.raises(InputError, match="at most 64"):
        model.prompt("x" * 64)


def test_without_a_tokenizer_text_is_refused() -> None:
    model = wrapped(None)
    assert model.tokenizer is None
    assert (model.bos_id, model.special_ids) == (None, {1, 2})
    for use in (model.encode, model.prompt, model.answer_token):
        with pytest.raises(ModelError, match="without a tokenizer"):
            use("text")


def test_stories260k_speaks(shared: Path) -> None:
    model = Model.open(shared / "stories260k", device="cpu")
    prompt = model.prompt("Once upon a time")
    assert prompt.ids[0] == model.bos_id == 1
    story = model.decode(model.generate(prompt, 40)[0])
    assert story.startswith(
        "Once upon a time, there was a little girl named Lily. "
        "She loved to play outside in the park."
    )
    assert "".join(prompt.texts[1:]) == " Once upon a time"
