"""Neurons as a dictionary: their signs, edits of them, what they write, their folder."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.families import D_MODEL, tiny
from torch import Tensor

from inscape.core import InputError, SiteError
from inscape.dictionary import Code, Dictionary, DictionaryConfig, neurons
from inscape.exchange import export_dictionary
from inscape.intervention import DirectionEdit, FeatureEdit, edits, splice
from inscape.model import Model

FAMILIES = ["gpt2", "llama", "gemma2", "olmo2", "opt", "granite", "phi3"]


def tokens() -> Tensor:
    return torch.randint(3, 97, (2, 7), generator=torch.Generator().manual_seed(5))


@pytest.fixture(params=FAMILIES)
def model(request: pytest.FixtureRequest) -> Model:
    return Model.wrap(tiny(request.param), name=request.param)


def test_both_signs_of_every_neuron_are_features(model: Model) -> None:
    dictionary = neurons(model, 1)
    acts = model.run(tokens(), read=["mlp_act.1"])["mlp_act.1"]
    width = model.width("mlp_act.1")
    assert (dictionary.d_dict, dictionary.name) == (2 * width, "mlp_act.1")
    dense = dictionary.encode(acts).dense(2 * width)
    flat = acts.reshape(-1, width)
    assert torch.equal(dense[:, :width], flat.clamp(min=0))
    assert torch.equal(dense[:, width:], (-flat).clamp(min=0))
    chosen = [0, 3, width + 3]
    assert torch.equal(
        dictionary.pre(acts, chosen), torch.stack([acts[..., 0], acts[..., 3], -acts[..., 3]], -1)
    )
    code = dictionary.encode(acts)
    assert bool((code.values[:, 1:] <= code.values[:, :-1]).all())


def test_a_code_of_zeros_is_empty() -> None:
    code = Code.both_signs(torch.tensor([[0.0, -2.0, 0.0, 1.0]]))
    assert code.active.tolist() == [[True, True, False, False]]
    assert code.indices.tolist() == [[5, 3, 0, 0]]


def test_ablating_a_neuron_is_zeroing_its_column(model: Model) -> None:
    dictionary, width, neuron = neurons(model, 1), model.width("mlp_act.1"), 17

    def zeroed(x: Tensor) -> Tensor:
        x[..., neuron] = 0
        return x

    wanted = model.run(tokens(), edits={"mlp_act.1": zeroed}, logits="all").logits
    both = [FeatureEdit(dictionary, f, "ablate") for f in (neuron, width + neuron)]
    found = model.run(tokens(), edits=edits(model, both), logits="all").logits
    clean = model.run(tokens(), logits="all").logits
    # Position 0 is no special token here, and all of them count.
    assert torch.allclose(found, wanted, atol=1e-5)
    assert not torch.allclose(clean, wanted, atol=1e-3)


def test_what_a_neuron_writes_is_its_row_of_the_down_projection(model: Model) -> None:
    dictionary, width = neurons(model, 1), model.width("mlp_act.1")
    read = ["mlp_act.1", "mlp_out.1"]
    clean = model.run(tokens(), read=read)
    steered = [
        FeatureEdit(dictionary, 5, "add", 2.0),
        FeatureEdit(dictionary, width + 9, "add", 1.0),
    ]
    run = model.run(tokens(), read=read, edits=edits(model, steered))
    moved = run["mlp_act.1"] - clean["mlp_act.1"]
    assert torch.allclose(moved[..., 5], torch.tensor(2.0), atol=1e-5)
    assert torch.allclose(moved[..., 9], torch.tensor(-1.0), atol=1e-5)
    if model.name in ("gemma2", "olmo2"):  # a norm follows
        return
    written = 2 * dictionary.W_dec[5] + dictionary.W_dec[width + 9]
    assert torch.allclose(
        run["mlp_out.1"] - clean["mlp_out.1"], written.expand(2, 7, -1), atol=1e-4
    )
    again = dictionary(clean["mlp_act.1"])
    assert torch.allclose(again, clean["mlp_out.1"], atol=1e-4)


def test_spliced_in_they_change_nothing(model: Model) -> None:
    clean = model.run(tokens(), logits="all").logits
    spliced = model.run(tokens(), edits=splice(model, neurons(model, 2)), logits="all").logits
    assert torch.allclose(clean, spliced, atol=1e-5)


def test_a_direction_is_as_wide_as_its_site() -> None:
    model = Model.wrap(tiny("llama"))
    change = DirectionEdit("mlp_act.1", torch.ones(64), 3.0)
    run = model.run(tokens(), read=["mlp_act.1"], edits=edits(model, [change]))
    clean = model.run(tokens(), read=["mlp_act.1"])
    assert torch.allclose(run["mlp_act.1"] - clean["mlp_act.1"], torch.tensor(3.0), atol=1e-5)
    with pytest.raises(InputError, match="width 64"):
        edits(model, [DirectionEdit("mlp_act.1", torch.ones(D_MODEL))])


def test_their_folder_holds_them(tmp_path: Path) -> None:
    model = Model.wrap(tiny("gpt2"))
    dictionary = neurons(model, 0)
    dictionary.save(tmp_path / "n")
    again = Dictionary.open(tmp_path / "n")
    assert again.config == dictionary.config
    assert torch.equal(again.W_dec, dictionary.W_dec)
    x = torch.randn(4, 128)
    assert torch.equal(again(x), dictionary(x))


def test_what_has_no_neurons_or_cannot_hold_them(tmp_path: Path) -> None:
    with pytest.raises(SiteError, match="mixture of experts"):
        neurons(Model.wrap(tiny("mixtral")), 0)
    with pytest.raises(SiteError, match="layer from 0 to 2"):
        neurons(Model.wrap(tiny("llama")), 3)
    dictionary = neurons(Model.wrap(tiny("llama")), 0)
    with pytest.raises(InputError, match="has no place for"):
        export_dictionary(dictionary, tmp_path / "out", "sparsify")
    settings = dictionary.config.model_dump() | {"d_dict": 64}
    with pytest.raises(InputError, match="64 features of 64 neurons"):
        DictionaryConfig(**settings)
