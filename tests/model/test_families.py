"""Every family by inspection; adapters that do not fit; what cannot be traced."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.hooks import AlignDevicesHook, add_hook_to_module
from benchmarks.realmodel.families import check_family
from tests.attribution.random_transcoders import random_dictionary
from tests.families import OTHER_LAYOUTS, TINY_FAMILIES, TRACED_FAMILIES, UNTRACED_FAMILIES, tiny
from tests.model.raw import RAW, part
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface, masking_utils

from inscape.attribution import trace
from inscape.core import ModelError, SiteError
from inscape.intervention import FeatureEdit, edits, splice
from inscape.model import Adapter, Model


@pytest.mark.parametrize("family", [*TRACED_FAMILIES, *OTHER_LAYOUTS])
def test_a_family_holds(family: str) -> None:
    check = check_family(family)
    assert check.reason == ""
    assert check.holds, check


@pytest.mark.parametrize("family", UNTRACED_FAMILIES)
def test_a_family_that_cannot_be_traced_holds_in_all_else(family: str) -> None:
    check = check_family(family)
    assert check.holds, check
    assert "layer 0" in check.reason


@pytest.mark.parametrize("family", ["mamba", "qwen3_next", "bert-generation"])
def test_dictionaries_and_steering_work_where_tracing_does_not(family: str) -> None:
    model = Model.wrap(tiny(family))
    ids = torch.arange(3, 12)[None]
    dictionary = random_dictionary("resid_post.1", "resid_post.1", d=model.d_model)
    clean = model.run(ids, read=["resid_post.1"], logits="all")
    code = dictionary.encode(clean["resid_post.1"])
    steered = edits(model, [FeatureEdit(dictionary, int(code.indices[0, 0]), "add", 20.0)])
    logits = model.run(ids, edits=steered, logits="all").logits
    spliced = model.run(ids, edits=splice(model, dictionary), logits="all").logits
    for changed in (logits, spliced):
        assert not torch.allclose(changed, clean.logits, atol=1e-2)
    assert model.generate(ids, 3, edits=steered).shape == (1, 12)
    with pytest.raises(ModelError, match="cannot be traced: .*layer 0"):
        trace(model, ids[0].tolist(), {0: random_dictionary("mlp_in.0", "mlp_out.0", d=32)})


@pytest.mark.parametrize("family", TINY_FAMILIES)
def test_inspection_finds_the_parts_that_are_named_by_hand(family: str) -> None:
    module, raw = tiny(family), RAW[family]
    structure = Model.wrap(module).structure
    for layer, block in enumerate(structure.blocks):
        assert block.mlp is part(module, raw.mlp, layer)
        assert block.mlp_added is part(module, raw.mlp_added, layer)
        assert block.places["attn_out"].module is part(module, raw.attn_added, layer)
        named = [part(module, path, layer) for path in raw.norms]
        found = {norm.module: norm for norm in block.norms}
        assert all(norm in found for norm in named if norm is not block.mlp_added)
        assert {norm.offset for norm in block.norms} == {raw.unit_offset}
    assert structure.final_norm is part(module, raw.final)


@pytest.mark.parametrize(
    ("named", "equation"),
    [
        ({"attn_added": "self_attn"}, r"resid_pre \+ attn_out = resid_mid at layer 0 .* off by 0"),
        ({"mlp_added": "mlp"}, r"resid_mid \+ mlp_out = resid_post at layer 0 .* off by 0"),
        ({"mlp": "self_attn"}, "at layer 0 does not hold"),
        ({"final_norm": "model.layers.2.input_layernorm"}, r"head\(final\) = logits does not"),
    ],
)
def test_an_adapter_that_does_not_fit_names_the_equation(
    monkeypatch: pytest.MonkeyPatch, named: dict[str, str], equation: str
) -> None:
    wrong = Adapter(model_type="gemma2", **named)
    monkeypatch.setattr("inscape.model.model.adapter_for", lambda *types: wrong)
    with pytest.raises(ModelError, match=equation) as error:
        Model.wrap(tiny("gemma2"))
    assert "the adapter of 'gemma2' does not fit" in str(error.value)
    assert "\n" not in str(error.value)


def test_an_adapter_that_names_what_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = Adapter(model_type="llama", mlp="feed_forward")
    monkeypatch.setattr("inscape.model.model.adapter_for", lambda *types: wrong)
    with pytest.raises(ModelError, match="no part 'feed_forward'"):
        Model.wrap(tiny("llama"))


def test_a_block_that_scales_its_stream_is_named_by_its_layer() -> None:
    module = tiny("llama")
    layer = module.model.layers[1]
    layer.register_forward_hook(lambda m, args, output: 1.5 * output)
    model = Model.wrap(module)
    with pytest.raises(SiteError, match=r"resid_mid \+ mlp_out = resid_post at layer 1 .* off"):
        model.site("mlp_out.2")
    run = model.run(torch.arange(3, 9)[None], read=["resid_post.1", "resid_pre.2"])
    assert torch.equal(run["resid_post.1"], run["resid_pre.2"])
    with pytest.raises(ModelError, match="cannot be traced: resid_mid"):
        model.check_traceable()


class _ByKeyword(torch.nn.Module):
    def __init__(self, norm: torch.nn.Module) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(hidden_states=x)


def test_a_norm_that_is_called_by_keyword_is_held_as_well() -> None:
    """It was read from the positional arguments alone: an IndexError inside the pass."""
    module, ids = tiny("llama"), torch.arange(3, 9)[None]
    plain = Model.wrap(module)
    usual = _gradient(plain, ids)
    for layer in module.model.layers:
        layer.input_layernorm = _ByKeyword(layer.input_layernorm)
        layer.post_attention_layernorm = _ByKeyword(layer.post_attention_layernorm)
    assert torch.equal(_gradient(Model.wrap(module), ids), usual)


def _gradient(model: Model, ids: Tensor) -> Tensor:
    """Of the final norm's output by the embedding, linearised."""
    leaves: list[Tensor] = []

    def leaf(x: Tensor) -> Tensor:
        leaves.append(x.detach().requires_grad_())
        return leaves[-1]

    with model.linearised():
        run = model.run(ids, read=["final"], edits={"embed": leaf}, grad=True)
    weights = torch.linspace(-1, 1, model.d_model)
    return torch.autograd.grad((run["final"] * weights).sum(), leaves[0])[0]


def _opaque(module: Any, q: Tensor, k: Tensor, v: Tensor, mask: Any, **_: Any) -> Any:
    """Attention whose softmax no one can see, as in flash attention's kernels."""
    groups = module.num_key_value_groups if hasattr(module, "num_key_value_groups") else 1
    k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
    weights = (q @ k.transpose(2, 3) * module.scaling + mask).exp()
    return (weights / weights.sum(-1, keepdim=True) @ v).transpose(1, 2), None


@pytest.mark.parametrize("family", ["llama", "olmo2", "gpt_neox"])
def test_patterns_are_held_in_every_attention_implementation(family: str) -> None:
    module, ids = tiny(family), torch.arange(3, 12)[None]
    AttentionInterface.register("opaque", _opaque)
    AttentionMaskInterface.register("opaque", masking_utils.eager_mask)
    module.set_attn_implementation("eager")
    wanted = _gradient(Model.wrap(module), ids)
    for implementation in ("sdpa", "opaque"):
        module.set_attn_implementation(implementation)
        model = Model.wrap(module)
        assert torch.allclose(_gradient(model, ids), wanted, atol=1e-5), implementation
        assert module.config._attn_implementation == implementation


def test_patterns_that_cannot_be_held_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A freeze that fails in silence gives a graph that looks reasonable."""

    def by_hand(x: Tensor, dim: int = -1, dtype: torch.dtype | None = None) -> Tensor:
        weights = (x - x.amax(dim, keepdim=True)).exp()
        return weights / weights.sum(dim, keepdim=True)

    module = tiny("llama")
    module.set_attn_implementation("eager")
    model = Model.wrap(module)
    monkeypatch.setattr(torch.nn.functional, "softmax", by_hand)
    with pytest.raises(ModelError, match="layer 0, LlamaAttention, is not linear in what it reads"):
        model.check_traceable()


def test_attention_without_a_gradient_is_noticed() -> None:
    module = tiny("llama")
    attention = module.model.layers[1].self_attn
    attention.forward = torch.no_grad()(attention.forward)
    with pytest.raises(ModelError, match="layer 1, LlamaAttention, passes no gradient on"):
        Model.wrap(module).check_traceable()


@pytest.mark.parametrize("family", ["mixtral", "qwen3_moe", "gpt_oss", "deepseek_v3", "granitemoe"])
def test_the_experts_of_each_token_are_named(family: str) -> None:
    model, tokens = Model.wrap(tiny(family)), torch.arange(3, 15).reshape(2, 6)
    experts = model.experts(tokens)
    assert list(experts) == [1, 2] if family == "deepseek_v3" else [0, 1, 2]
    for layer, chosen in experts.items():
        assert chosen.shape == (2, 6, 2)
        assert 0 <= int(chosen.min()) <= int(chosen.max()) < 4
        assert torch.equal(model.experts(tokens[1:])[layer][0], chosen[1])
        with pytest.raises(SiteError, match="mixture of experts"):
            model.site(f"mlp_act.{layer}")


@pytest.mark.parametrize(
    ("part", "families"), [("traced", TRACED_FAMILIES), ("untraced", UNTRACED_FAMILIES)]
)
def test_the_page_on_models_lists_what_is_tested(
    repository: Path, part: str, families: tuple[str, ...]
) -> None:
    page = (repository / "docs" / "models.md").read_text()
    listed = page.partition(f"<!-- {part} -->")[2].partition(f"<!-- /{part} -->")[0]
    names = sorted(name for name in families if "," not in name)
    wanted = textwrap.fill(", ".join(names) + ".", 100, break_on_hyphens=False)
    assert listed.strip() == wanted


def test_hooks_that_other_libraries_put_on_modules_stay() -> None:
    """accelerate replaces the forward of every module to move its inputs."""
    module, ids = tiny("qwen3"), torch.arange(3, 12)[None]
    plain = Model.wrap(module)
    wanted = (
        _gradient(plain, ids),
        plain.run(ids, edits={"mlp_out.1": torch.zeros_like}, logits="all"),
    )
    for inner in module.modules():
        if list(inner.parameters(recurse=False)):
            add_hook_to_module(inner, AlignDevicesHook(execution_device="cpu", io_same_device=True))
    add_hook_to_module(module.model.layers[1].self_attn, AlignDevicesHook(execution_device="cpu"))
    hooked = module.model.layers[1].self_attn.forward
    model = Model.wrap(module)
    assert torch.equal(_gradient(model, ids), wanted[0])
    run = model.run(ids, edits={"mlp_out.1": torch.zeros_like}, logits="all")
    assert torch.equal(run.logits, wanted[1].logits)
    assert module.model.layers[1].self_attn.forward is hooked
