"""Dictionaries of several sites in a pass, against hooks and formulas written by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.families import D_MODEL, tiny
from torch import Tensor

from inscape.dictionary import Dictionary, DictionaryConfig
from inscape.intervention import FeatureEdit, edits, fidelity, splice
from inscape.model import Model

LAYERS, SIZE = 3, 20
TOKENS = torch.tensor([[1, 5, 9, 13, 17, 21, 25], [1, 40, 41, 42, 43, 44, 45]])
COUNTED = TOKENS != 1  # beginning-of-text is left alone


@pytest.fixture(scope="module")
def model() -> Model:
    return Model.wrap(tiny("llama"))


def draw(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 0.3


def clt(*, skip: bool = False, **over: Any) -> Dictionary:
    """Reads mlp_in.0-2, writes mlp_out.0-2; 20 features a layer."""
    width = LAYERS * D_MODEL
    settings: dict[str, Any] = {
        "kind": "threshold",
        "site_in": "mlp_in.0+mlp_in.1+mlp_in.2",
        "site_out": "mlp_out.0+mlp_out.1+mlp_out.2",
        "d_in": width,
        "d_out": width,
        "d_dict": LAYERS * SIZE,
        "subtract_b_dec": False,
        "widths": (D_MODEL,) * LAYERS,
        "skip": skip,
        **over,
    }
    config = DictionaryConfig(**settings)
    shapes = config.shapes().items()
    weights = {key: draw(*shape, seed=n) for n, (key, shape) in enumerate(shapes)}
    return Dictionary(config, weights, name="clt")


def crosscoder() -> Dictionary:
    site = "resid_post.0+resid_post.2"
    config = DictionaryConfig(
        kind="topk",
        k=6,
        site_in=site,
        site_out=site,
        d_in=2 * D_MODEL,
        d_out=2 * D_MODEL,
        d_dict=30,
        subtract_b_dec=False,
        widths=(D_MODEL,) * 2,
    )
    shapes = config.shapes().items()
    weights = {key: draw(*shape, seed=n) for n, (key, shape) in enumerate(shapes)}
    return Dictionary(config, weights, name="cross")


class ByHand:
    """A pass of the Hugging Face module in which `change(layer, input, output)` replaces what an
    MLP (or a block) gives."""

    def __init__(self, model: Model, where: str, change: Any) -> None:
        self.model, self.where, self.change = model, where, change

    def logits(self) -> Tensor:
        handles = []
        for n, block in enumerate(self.model.module.model.layers):
            module = block.mlp if self.where == "mlp" else block

            def hook(module: Any, args: Any, output: Tensor, n: int = n) -> Tensor:
                new: Tensor = self.change(n, args[0], output)
                return torch.where(COUNTED[..., None], new, output)

            handles.append(module.register_forward_hook(hook))
        try:
            found: Tensor = self.model.module(TOKENS).logits
        finally:
            for handle in handles:
                handle.remove()
        return found


def logits(model: Model, hooks: Any) -> Tensor:
    found = model.run(TOKENS, edits=hooks, logits="all").logits
    assert found is not None
    return found


def own(one: Dictionary, layer: int, x: Tensor) -> Tensor:
    """Dense activations of a layer's features, by the textbook."""
    part = slice(layer * SIZE, (layer + 1) * SIZE)
    pre = x @ one.W_enc[part].T + one.b_enc[part]
    if one.threshold is not None:
        return pre.relu() * (pre > one.threshold[part])
    top = pre.relu().topk(one.k)
    return torch.zeros_like(pre).scatter(-1, top.indices, top.values)


def row(one: Dictionary, feature: int, target: int) -> Tensor:
    """What a feature writes to a layer: W_dec is layer after layer, feature after feature."""
    layer, number = divmod(feature, SIZE)
    start = sum(SIZE * (LAYERS - n) for n in range(layer))
    return one.W_dec[start + number * (LAYERS - layer) + target - layer]


@pytest.mark.parametrize("over", [{}, {"kind": "topk", "k": 4, "scope": "layer"}])
@pytest.mark.parametrize(("mode", "value"), [("ablate", 0.0), ("clamp", 4.0), ("add", 3.0)])
@pytest.mark.parametrize("feature", [3, SIZE + 7])
def test_an_edit_of_a_cross_layer_feature_writes_each_layer(
    model: Model, over: Any, mode: Any, value: float, feature: int
) -> None:
    one = clt(**over)
    layer = feature // SIZE
    found: dict[str, Tensor] = {}

    def change(n: int, x: Tensor, output: Tensor) -> Tensor:
        if n == layer:
            found["old"] = own(one, layer, x)[..., feature % SIZE]
        if n < layer:
            return output
        old = found["old"]
        new = {"ablate": old * 0, "clamp": old * 0 + value, "add": old + value}[mode]
        return output + (new - old)[..., None] * row(one, feature, n)

    wanted = ByHand(model, "mlp", change).logits()
    got = logits(model, edits(model, [FeatureEdit(one, feature, mode, value)]))
    assert float((found["old"] > 0).float().mean()) > 0.1
    assert not torch.allclose(wanted, logits(model, None), atol=1e-3)
    torch.testing.assert_close(got, wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("skip", [False, True])
def test_a_cross_layer_transcoder_is_spliced_in(model: Model, skip: bool) -> None:
    one = clt(skip=skip)
    codes: dict[int, Tensor] = {}

    def change(n: int, x: Tensor, output: Tensor) -> Tensor:
        codes[n] = own(one, n, x)
        new = one.b_dec[n * D_MODEL : (n + 1) * D_MODEL].expand_as(output)
        for layer in range(n + 1):
            rows = torch.stack([row(one, layer * SIZE + f, n) for f in range(SIZE)])
            new = new + codes[layer] @ rows
        return new if one.W_skip is None else new + x @ one.W_skip[n].T

    wanted = ByHand(model, "mlp", change).logits()
    torch.testing.assert_close(logits(model, splice(model, one)), wanted, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", ["cross", "topk over the layers"])
def test_a_code_that_rests_on_later_sites_is_that_of_a_clean_pass(model: Model, kind: str) -> None:
    one = crosscoder() if kind == "cross" else clt(kind="topk", k=5)
    assert not one.config.causal
    clean = model.run(TOKENS, read=one.reads)
    x = one.concat_sites({site: clean[site] for site in one.reads})
    code = one.encode(x).dense(one.d_dict).reshape(*TOKENS.shape, -1)
    feature = int((code > 0)[:, 1:].sum((0, 1)).argmax())
    places = {0: 0, 2: 1} if kind == "cross" else {n: n for n in range(LAYERS)}

    def change(n: int, x: Tensor, output: Tensor) -> Tensor:
        if n not in places:
            return output
        old = code[..., feature]
        decoder = one.decoder_at(one.writes[places[n]])[feature]
        return output + (-2.0 * old)[..., None] * decoder

    where = "block" if kind == "cross" else "mlp"
    wanted = ByHand(model, where, change).logits()
    got = logits(model, edits(model, [FeatureEdit(one, feature, "scale", -1.0)]))
    assert not torch.allclose(wanted, logits(model, None), atol=1e-3)
    torch.testing.assert_close(got, wanted, atol=1e-5, rtol=1e-5)

    def replace(n: int, x: Tensor, output: Tensor) -> Tensor:
        if n not in places:
            return output
        whole = one.split_sites(one(clean_x))
        return whole[one.writes[places[n]]]

    clean_x = x
    wanted = ByHand(model, where, replace).logits()
    torch.testing.assert_close(logits(model, splice(model, one)), wanted, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", ["clt", "cross"])
def test_generation_under_such_an_edit_is_that_of_whole_passes(model: Model, kind: str) -> None:
    one = clt() if kind == "clt" else crosscoder()
    hooks = edits(model, [FeatureEdit(one, 4, "clamp", 6.0)])
    assert all(edit.fixed == (kind == "clt") for edit in hooks.values())
    tokens = TOKENS[:1]
    found = model.generate(tokens, 5, edits=hooks)
    slow = tokens
    for _ in range(found.shape[1] - tokens.shape[1]):
        last = model.run(
            slow, edits=edits(model, [FeatureEdit(one, 4, "clamp", 6.0)]), logits="last"
        )
        assert last.logits is not None
        slow = torch.cat([slow, last.logits[:, -1].argmax(-1)[:, None]], 1)
    assert torch.equal(found, slow)


def test_fidelity_sums_over_the_sites(model: Model) -> None:
    for one in (clt(skip=True), crosscoder()):
        found = fidelity(model, one, [TOKENS])
        run = model.run(TOKENS, read=[*one.reads, *one.writes])
        x, y = (torch.cat([run[s][COUNTED] for s in part], -1) for part in (one.reads, one.writes))
        error = (y - one(x)).square().sum() / (y - y.mean(0)).square().sum()
        assert found.fvu == pytest.approx(float(error), rel=1e-4)
        assert found.l0 == pytest.approx(one.encode(x).l0(), rel=1e-6)
        assert abs(found.ce_dict - found.ce_clean) > 0.01
