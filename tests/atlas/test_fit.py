"""After an import: its figures on a text, and the likely cause of what is wrong."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from tests.families import tiny
from torch import Tensor

from inscape.atlas import fit
from inscape.core import DataError
from inscape.dictionary import Dictionary, DictionaryConfig
from inscape.model import Model


@pytest.fixture(scope="module")
def model() -> Model:
    module: Any = tiny("gpt2")
    draw = torch.Generator().manual_seed(5)
    # The last block adds a large constant: its layer's mean is far from the others'.
    module.transformer.h[2].mlp.c_proj.bias += torch.randn(32, generator=draw) * 20
    module.transformer.h[1].ln_2.weight *= 0.01
    return Model.wrap(module)


@pytest.fixture(scope="module")
def rows() -> list[Any]:
    draw = torch.Generator().manual_seed(1)
    ids = torch.randint(3, 97, (15, 39), generator=draw).tolist()
    return [([1, *row], [True] * 40, number) for number, row in enumerate(ids)]


def acts(model: Model, rows: list[Any], site: str) -> Tensor:
    ids = torch.tensor([ids for ids, _, _ in rows])
    return model.run(ids, read=[site])[site][:, 1:].reshape(-1, 32)


def made(x: Tensor, site: str, *, threshold: float = 0.0) -> Dictionary:
    """12 principal directions of x, each sign a feature above a threshold, around x's mean."""
    _, _, directions = torch.linalg.svd(x - x.mean(0))
    both = torch.cat([directions[:12], -directions[:12]])
    config = DictionaryConfig(
        kind="threshold",
        site_in=site,
        site_out=site,
        d_in=32,
        d_out=32,
        d_dict=24,
        k=12,
        subtract_b_dec=True,
    )
    weights = {"W_enc": both, "b_enc": torch.zeros(24), "W_dec": both, "b_dec": x.mean(0)}
    return Dictionary(config, {**weights, "threshold": torch.full((24,), threshold)})


def warning(model: Model, dictionary: Dictionary, rows: list[Any]) -> str:
    found = fit(model, dictionary, rows).warning
    assert found is not None
    return found


def test_what_fits_is_measured_without_a_warning(model: Model, rows: list[Any]) -> None:
    found = fit(model, made(acts(model, rows, "resid_post.1"), "resid_post.1"), rows)
    assert found.warning is None
    assert found.fvu < 0.5
    assert found.l0 == pytest.approx(12, abs=0.01)
    assert found.num_tokens == 15 * 39
    assert "L0 12 (documented: 12)" in found.line()


def test_the_wrong_layer_is_named(model: Model, rows: list[Any]) -> None:
    elsewhere = made(acts(model, rows, "resid_post.2"), "resid_post.1")
    said = warning(model, elsewhere, rows)
    assert "FVU is" in said
    assert "likely cause: the wrong layer (resid_post.2 fits better): FVU 0." in said


def test_a_neighbour_that_fits_better_is_named(model: Model, rows: list[Any]) -> None:
    first, second = (acts(model, rows, f"resid_post.{layer}") for layer in (0, 1))
    there = made(first, "resid_post.1")
    nearer = {**there.weights, "b_dec": 0.7 * first.mean(0) + 0.3 * second.mean(0)}
    found = fit(model, Dictionary(there.config, nearer), rows)
    assert found.fvu < 1
    assert found.warning is not None
    said = re.fullmatch(
        r"the wrong layer \(resid_post.0 fits better\): FVU ([\d.]+) instead of ([\d.]+)",
        found.warning,
    )
    assert said is not None
    assert float(said[1]) < 0.75 * float(said[2])
    assert float(said[2]) == pytest.approx(found.fvu, rel=0.1)  # of the first 512 tokens


def test_a_missing_scale_is_named(model: Model, rows: list[Any]) -> None:
    x = acts(model, rows, "resid_post.1")
    scaled = made(x * 8, "resid_post.1", threshold=4 * float((x - x.mean(0)).std()))
    said = warning(model, scaled, rows)
    assert "likely cause: a missing scale (activations of 8 times their size fit): FVU" in said


def test_a_gain_left_out_is_named(model: Model, rows: list[Any]) -> None:
    x = acts(model, rows, "mlp_in.1") / model.structure.blocks[1].mlp_norm.weight  # type: ignore
    before = made(x, "mlp_in.1", threshold=0.2 * float((x - x.mean(0)).std()))
    assert "(it reads what comes before it): FVU" in warning(model, before, rows)


def test_another_activation_is_named(model: Model, rows: list[Any]) -> None:
    x = acts(model, rows, "resid_post.1")
    good = made(x, "resid_post.1")
    junk = torch.randn(400, 32, generator=torch.Generator().manual_seed(3))
    weights = {
        "W_enc": torch.cat([good.W_enc, junk * 1e-5]),
        "b_enc": torch.cat([good.b_enc, torch.full((400,), 1e-4)]),
        "W_dec": torch.cat([good.W_dec, junk * 2e3]),
        "b_dec": good.b_dec,
        "threshold": torch.zeros(424),
    }
    config = good.config.model_copy(update={"d_dict": 424})
    said = warning(model, Dictionary(config, weights), rows)
    assert said.startswith("FVU is")
    assert "; L0 is" in said
    assert "the activation (the 12 largest of each token fits better): FVU" in said


def test_a_dictionary_of_another_model_has_no_cause(model: Model, rows: list[Any]) -> None:
    draw = torch.Generator().manual_seed(7)
    said = warning(model, made(torch.randn(99, 32, generator=draw) * 9 + 50, "resid_post.1"), rows)
    assert said.endswith("is it a dictionary of this model?")


def test_no_text_is_said(model: Model, rows: list[Any]) -> None:
    with pytest.raises(DataError, match="no text"):
        fit(model, made(acts(model, rows, "resid_post.1"), "resid_post.1"), [])


SINK, FIRST_SINK = 7, 1
"""The position and the first layer of a token with a norm like those of trained models."""


@pytest.fixture
def sinking() -> tuple[Model, Tensor]:
    """A model with an attention sink from layer FIRST_SINK on, and the direction of the sink."""
    module: Any = tiny("gpt2")
    found = Model.wrap(module)
    direction = torch.randn(32, generator=torch.Generator().manual_seed(2))

    def sink(mlp: Any, inputs: Any, out: Tensor) -> Tensor:
        there = torch.zeros(out.shape[1], 1)
        there[SINK : SINK + 1] = 3000.0
        return out + there * direction

    module.transformer.h[FIRST_SINK].mlp.register_forward_hook(sink)
    return found, direction


def without_sink(model: Model, rows: list[Any], site: str) -> Tensor:
    x = acts(model, rows, site).view(15, 39, 32)
    return torch.cat([x[:, : SINK - 1], x[:, SINK:]], 1).reshape(-1, 32)


def test_a_sink_does_not_make_a_layer_the_wrong_one(
    sinking: tuple[Model, Tensor], rows: list[Any]
) -> None:
    model, _ = sinking
    there = made(without_sink(model, rows, "resid_post.1"), "resid_post.1")
    found = fit(model, there, rows)
    assert found.num_tokens == 15 * 38
    assert found.warning is None
    elsewhere = made(without_sink(model, rows, "resid_post.2"), "resid_post.0")
    assert "the wrong layer (resid_post.2 fits better)" in warning(model, elsewhere, rows)


def test_a_token_that_is_a_sink_at_another_layer_alone_does_not_speak_for_that_layer(
    sinking: tuple[Model, Tensor], rows: list[Any]
) -> None:
    model, direction = sinking
    x = without_sink(model, rows, "resid_post.0")
    model.sink_medians = {"resid_post.0": float(x.norm(dim=1).median())}  # the sink is none here
    there = made(x, "resid_post.0")
    unit = direction / direction.norm()
    both = there.W_enc - (there.W_enc @ unit)[:, None] * unit
    both[0] = unit  # explains all of the sink
    found = fit(
        model, Dictionary(there.config, {**there.weights, "W_enc": both, "W_dec": both}), rows
    )
    assert found.num_tokens == 15 * 39
    assert found.warning is None
