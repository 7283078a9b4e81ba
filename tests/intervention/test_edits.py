"""Edits against hooks written by hand on the Hugging Face module."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.attribution.random_transcoders import TOKENS, random_dictionary
from tests.families import D_MODEL, tiny
from tests.intervention.dictionaries import always_on, perfect

from inscape.core import InputError, SiteError
from inscape.dictionary import Dictionary
from inscape.intervention import DirectionEdit, FeatureEdit, edits
from inscape.model import Model


@pytest.fixture(scope="module")
def model() -> Model:
    return Model.wrap(tiny("llama"))


TWO_ROWS = torch.tensor([TOKENS, [1, 40, 41, 42, 43, 44, 45]])


def logits(model: Model, *changes: Any) -> torch.Tensor:
    found = model.run(TWO_ROWS, edits=edits(model, changes), logits="all").logits
    assert found is not None
    return found


def read(model: Model, site: str, *changes: Any) -> torch.Tensor:
    return model.run(TWO_ROWS, edits=edits(model, changes), read=[site])[site]


def activity(dictionary: Dictionary, x: torch.Tensor) -> torch.Tensor:
    """Dense activations, by the textbook."""
    if dictionary.config.subtract_b_dec:
        x = x - dictionary.b_dec
    pre = x @ dictionary.W_enc.T + dictionary.b_enc
    top = pre.topk(dictionary.k, -1)
    return torch.zeros_like(pre).scatter(-1, top.indices, top.values.clamp(min=0))


def busiest(model: Model, dictionary: Dictionary) -> int:
    """The feature that is active at most of the tokens after the first."""
    x = model.run(TWO_ROWS, read=[dictionary.config.site_in])[dictionary.config.site_in]
    return int((activity(dictionary, x)[:, 1:] > 0).sum((0, 1)).argmax())


@pytest.mark.parametrize(
    ("mode", "value", "unit"),
    [("ablate", 0.0, 1.0), ("clamp", 2.5, 2.0), ("add", 1.5, 2.0), ("scale", 3.0, 7.0)],
)
def test_an_edit_equals_a_hook_written_by_hand(
    model: Model, mode: Any, value: float, unit: float
) -> None:
    dictionary = random_dictionary("resid_post.1", "resid_post.1", d=D_MODEL)
    feature = busiest(model, dictionary)

    def hook(module: Any, args: Any, output: torch.Tensor) -> torch.Tensor:
        old = activity(dictionary, output)[..., feature]
        new = {"ablate": 0 * old, "clamp": 0 * old + value * unit, "add": old + value * unit}
        new["scale"] = old * value
        delta = (new[mode] - old)[..., None] * dictionary.W_dec[feature]
        delta[:, 0] = 0  # beginning of text
        return output + delta

    handle = model.module.model.layers[1].register_forward_hook(hook)
    wanted = model.module(TWO_ROWS).logits
    handle.remove()
    found = logits(model, FeatureEdit(dictionary, feature, mode, value, unit=unit))
    assert not torch.allclose(wanted, logits(model), atol=1e-3)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


def test_a_transcoder_feature_reads_and_writes_in_the_same_pass(model: Model) -> None:
    first = random_dictionary("mlp_in.0", "mlp_out.0", d=D_MODEL, seed=1)
    second = random_dictionary("mlp_in.2", "mlp_out.2", d=D_MODEL, seed=2)
    one, two = busiest(model, first), busiest(model, second)

    def hook(dictionary: Dictionary, feature: int) -> Any:
        def apply(module: Any, args: Any, output: torch.Tensor) -> torch.Tensor:
            old = activity(dictionary, args[0])[..., feature]
            delta = -old[..., None] * dictionary.W_dec[feature]
            delta[:, 0] = 0
            return output + delta

        return apply

    layers = model.module.model.layers
    handles = [
        layers[0].mlp.register_forward_hook(hook(first, one)),
        layers[2].mlp.register_forward_hook(hook(second, two)),
    ]
    wanted = model.module(TWO_ROWS).logits
    for handle in handles:
        handle.remove()
    found = logits(model, FeatureEdit(first, one, "ablate"), FeatureEdit(second, two, "ablate"))
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(found, logits(model, FeatureEdit(first, one, "ablate")), atol=1e-4)


def test_the_error_term_is_kept(model: Model) -> None:
    dictionary = random_dictionary("resid_post.1", "resid_post.1", d=D_MODEL)
    feature = busiest(model, dictionary)
    same = logits(model, FeatureEdit(dictionary, feature, "scale", 1.0))
    torch.testing.assert_close(same, logits(model))  # though the reconstruction is far off


def test_clamp_is_idempotent(model: Model) -> None:
    dictionary = always_on("resid_post.1", D_MODEL)
    change = FeatureEdit(dictionary, 3, "clamp", 60.0)
    once = read(model, "resid_post.1", change)
    torch.testing.assert_close(read(model, "resid_post.1", change, change), once)
    assert (dictionary.encode(once[:, 1:]).of(3) - 60).abs().max() < 1e-4
    assert not torch.allclose(once, read(model, "resid_post.1"))


def test_several_changes_of_one_feature_follow_each_other(model: Model) -> None:
    dictionary = always_on("resid_post.1", D_MODEL)
    clamped = FeatureEdit(dictionary, 3, "clamp", 52.0)
    doubled = FeatureEdit(dictionary, 3, "scale", 2.0)
    both = logits(model, clamped, doubled)
    torch.testing.assert_close(
        both, logits(model, FeatureEdit(dictionary, 3, "clamp", 104.0)), atol=1e-4, rtol=1e-4
    )
    assert not torch.allclose(both, logits(model, doubled, clamped), atol=1e-2)


def test_positions_and_beginning_of_text(model: Model) -> None:
    dictionary = always_on("resid_post.0", D_MODEL)

    def changed(positions: list[int] | None) -> list[int]:
        change = FeatureEdit(dictionary, 0, "add", 5.0, positions=positions)
        x = model.run(TWO_ROWS, read=["resid_post.0"])["resid_post.0"]
        new = read(model, "resid_post.0", change)
        rows, columns = torch.nonzero((new - x).abs().sum(-1) > 1, as_tuple=True)
        assert rows.unique().tolist() == [0, 1]
        return sorted(set(columns.tolist()))

    assert changed(None) == [1, 2, 3, 4, 5, 6]
    assert changed([0, 2]) == [0, 2]
    assert changed([-1]) == [6]
    for outside in (99, 7, -8):
        with pytest.raises(InputError, match=f"position {outside} of a text of 7 tokens"):
            changed([outside])


def test_directions(model: Model) -> None:
    vector = torch.randn(D_MODEL, generator=torch.Generator().manual_seed(3))
    x = model.run(TWO_ROWS, read=["resid_post.1"])["resid_post.1"]

    def new(mode: Any, value: float) -> torch.Tensor:
        change = DirectionEdit("resid_post.1", vector, value, mode)
        return read(model, "resid_post.1", change)

    unit = vector / vector.norm()
    torch.testing.assert_close(new("add", 2.0)[:, 1:], x[:, 1:] + 2 * vector)
    assert torch.equal(new("add", 2.0)[:, 0], x[:, 0])
    assert (new("ablate", 1.0)[:, 1:] @ unit).abs().max() < 1e-4
    along = new("clamp", 1.5)[:, 1:] @ unit
    torch.testing.assert_close(along, torch.full_like(along, 1.5 * float(vector.norm())))


def test_features_and_directions_mix(model: Model) -> None:
    dictionary = always_on("resid_post.1", D_MODEL)
    eye = torch.eye(D_MODEL)
    mixed = logits(
        model, FeatureEdit(dictionary, 3, "add", 2.0), DirectionEdit("resid_post.1", eye[3], 1.0)
    )
    torch.testing.assert_close(mixed, logits(model, DirectionEdit("resid_post.1", eye[3], 3.0)))


def test_what_cannot_be_edited_is_refused(model: Model) -> None:
    dictionary = perfect("resid_post.1", D_MODEL)
    with pytest.raises(InputError, match="feature 64"):
        FeatureEdit(dictionary, 64, "ablate")
    with pytest.raises(InputError, match="strength of nan"):
        FeatureEdit(dictionary, 0, "add", float("nan"))
    for value in (float("inf"), None, "a"):
        for edit in (FeatureEdit, DirectionEdit):
            made = {FeatureEdit: (dictionary, 0, "add"), DirectionEdit: ("embed", torch.ones(32))}
            with pytest.raises(InputError, match="strength of"):
                edit(*made[edit], value=value)
    for number in (-1, None, float("nan"), "3"):
        with pytest.raises(InputError, match=f"{dictionary.name} has no feature"):
            FeatureEdit(dictionary, number, "ablate")  # type: ignore[arg-type]
    for positions in (5, ["a"], [1.5], [None]):
        with pytest.raises(InputError, match="position"):
            FeatureEdit(dictionary, 0, "ablate", positions=positions)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="the dictionary of an edit: 'resid_post.1'"):
        FeatureEdit("resid_post.1", 0, "ablate")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="mode 'scale'"):
        DirectionEdit("resid_post.1", torch.ones(32), mode="scale")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="the vector of a direction"):
        DirectionEdit("resid_post.1", [1.0] * 32)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="its values finite"):
        edits(model, [DirectionEdit("resid_post.1", torch.full((32,), torch.nan))])
    for changes in (5, None, [None], "resid_post.1/5"):
        with pytest.raises(InputError, match="an edit: .*; expected one Edit"):
            edits(model, changes)  # type: ignore[arg-type]
    with pytest.raises(SiteError):
        edits(model, [DirectionEdit(None, torch.ones(32))])  # type: ignore[arg-type]
    with pytest.raises(InputError, match="unit of nan"):
        FeatureEdit(dictionary, 0, "add", 1.0, unit=float("nan"))
    with pytest.raises(InputError, match="feature 5.5"):
        FeatureEdit(dictionary, 5.5, "ablate")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=f"{dictionary.name}/3 never fired"):
        FeatureEdit(dictionary, 3, "add", 8.0, unit=0.0)
    with pytest.raises(InputError, match="mode 'boost'"):
        FeatureEdit(dictionary, 0, "boost")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="width 32"):
        edits(model, [DirectionEdit("resid_post.1", torch.ones(31))])
    with pytest.raises(InputError, match="length zero"):
        edits(model, [DirectionEdit("resid_post.1", torch.zeros(32), mode="ablate")])
    with pytest.raises(SiteError):
        edits(model, [DirectionEdit("resid_post.9", torch.ones(32))])


@pytest.mark.parametrize("positions", [None, [2, 9, 12], [-1, 3]])
@pytest.mark.parametrize("mode", ["ablate", "clamp", "add", "scale"])
def test_steering_with_the_cache_equals_steering_without(
    model: Model, mode: Any, positions: list[int] | None
) -> None:
    dictionary = random_dictionary("mlp_in.1", "mlp_out.1", d=D_MODEL)
    feature = busiest(model, dictionary)
    direction = DirectionEdit("resid_post.0", torch.ones(D_MODEL), 0.2, positions=positions)
    hooks = edits(model, [FeatureEdit(dictionary, feature, mode, 2.0, positions), direction])
    slow = {site: replace(hook, fixed=False) for site, hook in hooks.items()}
    got = model.generate(TWO_ROWS, 12, edits=hooks)
    assert torch.equal(got, model.generate(TWO_ROWS, 12, edits=slow))
    cached = all(hook.fixed for hook in hooks.values())
    assert cached == (positions != [-1, 3])
