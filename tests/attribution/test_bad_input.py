"""What users get wrong: each is one line that says what was expected, or a note in the graph."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.attribution.random_transcoders import TOKENS, random_dictionary, random_transcoders
from tests.families import tiny, tiny_tokenizer
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from inscape.attribution import exchange, explain_attention, trace, trajectory
from inscape.circuits import Example, circuit
from inscape.core import InputError, ModelError
from inscape.dictionary import Dictionary
from inscape.model import Model


@pytest.fixture(scope="module")
def model() -> Model:
    tokenizer = tiny_tokenizer()
    return Model.wrap(tiny("llama", vocab_size=len(tokenizer)), tokenizer)


def with_hash(dictionary: Dictionary, hash: str) -> Dictionary:
    dictionary.made_from = {"activations": {"model_hash": hash}}
    return dictionary


def test_dictionaries_of_another_model_are_said(model: Model) -> None:
    other = [with_hash(d, "another") for d in random_transcoders(model).values()]
    notes = " ".join(trace(model, TOKENS, other).notes)
    assert "trained on another model than" in notes
    assert other[0].name in notes
    own = [with_hash(d, model.hash) for d in random_transcoders(model).values()]
    assert "another model" not in " ".join(trace(model, TOKENS, own).notes)


def test_dictionaries_of_other_shapes_are_refused(model: Model) -> None:
    wide = random_dictionary("mlp_in.0", "mlp_out.0", d=16)
    with pytest.raises(InputError, match="reads mlp_in.0 of width 16; expected width 32"):
        trace(model, TOKENS, [wide])
    deep = random_dictionary("mlp_in.9", "mlp_out.9", d=model.d_model)
    with pytest.raises(InputError, match="is of layer 9; expected transcoders of a model with 3"):
        trace(model, TOKENS, [deep])


def test_layers_without_a_transcoder_are_neurons_and_said(model: Model) -> None:
    some = [random_transcoders(model)[1]]
    graph = trace(model, TOKENS, some)
    assert any("no transcoder at layers 0, 2" in note for note in graph.notes)
    kinds = {(node.dictionary or "").partition(".")[0] for node in graph.nodes}
    assert "mlp_act" in kinds


def test_a_prompt_on_which_nothing_is_active(model: Model) -> None:
    """Dictionaries that never fire leave errors and tokens, and an effect of nothing."""
    quiet = []
    for one in random_transcoders(model).values():
        one.b_enc.fill_(-1e6)
        quiet.append(one)
    graph = trace(model, " the cat", quiet)
    assert {node.kind for node in graph.nodes} == {"error", "embedding", "logit"}
    assert graph.scores.completeness < 1
    assert "none kept" in graph.summary()


def test_values_that_are_not_finite_are_named(model: Model) -> None:
    broken = Model.wrap(tiny("llama", vocab_size=model.module.config.vocab_size), tiny_tokenizer())
    with torch.no_grad():
        broken.structure.blocks[1].places["mlp_act"].module.weight[0, 0] = torch.nan
    for ask in (
        lambda: trace(broken, " the cat"),
        lambda: trajectory(broken, " the cat", answer=" sat"),
        lambda: exchange(broken, " the cat", " the dog", controls=1),
    ):
        with pytest.raises((ModelError, InputError), match="not finite|NaN"):
            ask()


def test_answers_longer_than_the_context(model: Model) -> None:
    with pytest.raises(InputError, match="at most 64, the context of"):
        trajectory(model, " the cat", answer=" sat on the" * 40)


def test_equal_candidates(model: Model) -> None:
    with pytest.raises(InputError, match="' sat' is given twice"):
        trace(model, " the cat", target=" sat", against=" sat")
    with pytest.raises(InputError, match="no token tells them apart"):
        trace(model, " the cat", target=" sat", against=" sat on")


def test_heads_and_positions_that_are_not_there(model: Model) -> None:
    with pytest.raises(InputError, match="layer 9"):
        explain_attention(model, " the cat", layer=9, head=0)
    with pytest.raises(InputError, match="head 7 of layer 0; expected one of 4"):
        explain_attention(model, " the cat", layer=0, head=7)
    with pytest.raises(InputError, match="key"):
        explain_attention(model, " the cat", layer=0, head=0, key=50)


def test_a_set_of_prompts_that_do_not_align_names_the_line(model: Model) -> None:
    good = Example(" the cat sat", ("a",), ("b",), " the dog sat", {"x": (5, 8)}, {"x": (5, 8)})
    bad = Example(
        " the cat sat", ("a",), ("b",), " dog", {"x": (5, 8)}, {"x": (1, 4)}, place="line 2"
    )
    with pytest.raises(InputError, match="line 2: its roles are"):
        circuit(model, [good, bad] * 8)


def test_a_target_outside_the_vocabulary() -> None:
    words = {"<unk>": 0, "Paris": 1, "Rome": 2, "is": 3}
    inner = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="<unk>")
    small = Model.wrap(tiny("llama"), tokenizer)
    assert trace(small, "Rome is", target=" Paris", verified=0).targets
    with pytest.raises(InputError, match="the tokenizer has no token for ' Lima'"):
        trace(small, "Rome is", target=" Lima")
    with pytest.raises(InputError, match="the tokenizer has no token for ' Lima'"):
        trajectory(small, "Rome is", candidates=(" Paris", " Lima"))


def test_logits_that_are_not_finite_give_no_conclusions() -> None:
    """One row of the unembedding is broken: only tokens that are not asked for have it."""
    spoken = Model.wrap(tiny("llama", vocab_size=len(tiny_tokenizer())), tiny_tokenizer())
    head: Any = spoken.module
    with torch.no_grad():
        head.lm_head.weight[0] = torch.nan
    examples = [
        Example(" the cat", (" sat",), (" on",), f" the {word}")
        for word in ("dog", "boat", "zebra")
    ]
    for call in (
        lambda: trajectory(spoken, " the cat", answer=" sat", candidates=(" a", " dog")),
        lambda: circuit(spoken, examples),
        lambda: trace(spoken, " the cat", target=" sat", against=" on"),
    ):
        with pytest.raises(ModelError, match="logits of .* are not finite"):
            call()
