"""What is read at each site, in every family."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.families import NUM_LAYERS, TINY_FAMILIES, VOCAB_SIZE, tiny
from tests.model.raw import RAW, part
from torch import Tensor

from inscape.core import InputError, SiteError
from inscape.model import Model, Site


def tokens(batch: int = 2, pos: int = 11, seed: int = 0) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    return torch.randint(3, VOCAB_SIZE, (batch, pos), generator=random)


@pytest.fixture(params=RAW)
def model(request: pytest.FixtureRequest) -> Model:
    return Model.wrap(tiny(request.param), name=request.param)


def close(a: Tensor, b: Tensor) -> bool:
    return torch.allclose(a, b, atol=2e-5, rtol=1e-5)


def test_additions_to_the_stream_add_up(model: Model) -> None:
    run = model.run(tokens(), read=model.sites())
    assert torch.equal(run["embed"], run["resid_pre.0"])
    for layer in range(NUM_LAYERS):
        pre, post = run[f"resid_pre.{layer}"], run[f"resid_post.{layer}"]
        attn, mlp = run[f"attn_out.{layer}"], run[f"mlp_out.{layer}"]
        for added in (attn, mlp):  # so that a wrong addend cannot hide in the tolerance
            assert added.abs().mean() > 0.01
        assert close(pre + attn + mlp, post)
        if not RAW[model.name].parallel:
            assert close(pre + attn, run[f"resid_mid.{layer}"])
            assert close(run[f"resid_mid.{layer}"] + mlp, post)
        if layer + 1 < NUM_LAYERS:
            assert torch.equal(post, run[f"resid_pre.{layer + 1}"])


def test_mlp_reads_mlp_in_and_adds_mlp_out(model: Model) -> None:
    raw = RAW[model.name]
    run = model.run(tokens(), read=model.sites())
    for layer in range(NUM_LAYERS):
        x = run[f"mlp_in.{layer}"]
        with torch.no_grad():
            for path in raw.mlp_path[raw.mlp_path.index(raw.mlp) :]:
                x = part(model.module, path, layer)(x)
        assert close(x, run[f"mlp_out.{layer}"])


def test_final_through_the_head_gives_the_logits(model: Model) -> None:
    ids = tokens()
    with torch.no_grad():
        true = model.module(ids, use_cache=False).logits
    run = model.run(ids, read=["final"], logits="all")
    assert run.logits is not None
    assert torch.equal(run.logits, true)
    assert close(model.unembed(run["final"]), true)
    plain = run["final"] @ model.unembedding().T
    cap = getattr(model.module.config, "final_logit_softcapping", None)
    assert close(plain if cap is None else cap * torch.tanh(plain / cap), true)
    last = model.run(ids, logits="last").logits
    assert last is not None
    assert last.shape == (2, 1, VOCAB_SIZE)
    assert close(last, true[:, -1:])


def test_stopping_early_reads_the_same(model: Model) -> None:
    ids = tokens()
    full = model.run(ids, read=model.sites(), logits="all")
    for site in model.sites():
        assert torch.equal(model.run(ids, read=[site])[site], full[site]), site


def test_stops_right_after_the_last_site(model: Model) -> None:
    raw, calls = RAW[model.name], []
    watched = [part(model.module, raw.mlp, 1), part(model.module, raw.blocks, 2)]
    handles = [m.register_forward_pre_hook(lambda m, args: calls.append(m)) for m in watched]
    model.run(tokens(), read=["attn_out.1", "resid_post.0"])
    assert calls == []
    model.run(tokens(), read=["resid_post.1"])
    assert calls == watched[:1]
    for handle in handles:
        handle.remove()


def test_no_hook_stays_behind(model: Model) -> None:
    def boom(x: Tensor) -> Tensor:
        raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"):
        model.run(tokens(), read=model.sites(), edits={"mlp_in.1": boom}, logits="all")
    with model.linearised():
        model.run(tokens(), read=model.sites())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.module.modules())


def test_padding_on_either_side_changes_nothing(model: Model) -> None:
    ids = tokens(batch=1, pos=6)
    alone = model.run(ids, read=["final"])["final"]
    pad = torch.full((1, 3), 5)
    for left in (True, False):
        padded = torch.cat([pad, ids] if left else [ids, pad], dim=1)
        real = slice(3, 9) if left else slice(0, 6)
        mask = torch.zeros_like(padded)
        mask[:, real] = 1
        run = model.run(padded, read=["final"], attention_mask=mask)
        assert close(run["final"][:, real], alone), f"left={left}"


def test_final_norm_weight(model: Model) -> None:
    norm = part(model.module, RAW[model.name].final)
    expected = norm.weight + RAW[model.name].unit_offset
    assert torch.allclose(model.final_norm_weight(), expected)
    direction = torch.randn(1, 32)
    direction -= direction.mean()  # nothing for a LayerNorm to take off
    scaled = direction / direction.pow(2).mean().sqrt() * expected + getattr(norm, "bias", 0.0)
    assert torch.allclose(norm(direction), scaled, atol=1e-4)


def test_sequential_gpt_neox_has_a_resid_mid() -> None:
    model = Model.wrap(tiny("gpt_neox", use_parallel_residual=False))
    run = model.run(tokens(), read=model.sites())
    for layer in range(NUM_LAYERS):
        mid = run[f"resid_pre.{layer}"] + run[f"attn_out.{layer}"]
        assert close(mid, run[f"resid_mid.{layer}"])
        assert close(mid + run[f"mlp_out.{layer}"], run[f"resid_post.{layer}"])


def test_gemma3_checkpoints_with_images_run_on_text() -> None:
    text = tiny("gemma3_text")
    vision = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 28,
        "patch_size": 14,
    }
    settings = text.config.to_dict()
    whole = tiny("gemma3", text_config=settings, vision_config=vision, mm_tokens_per_image=1)
    whole.model.language_model.load_state_dict(text.model.state_dict())
    whole.lm_head.load_state_dict(text.lm_head.state_dict())
    a, b = Model.wrap(whole), Model.wrap(text)
    assert (a.num_layers, a.d_model, a.vocab_size) == (3, 32, VOCAB_SIZE)
    one = a.run(tokens(), read=a.sites(), logits="all")
    two = b.run(tokens(), read=b.sites(), logits="all")
    assert torch.equal(one.logits, two.logits)
    for site in b.sites():
        assert torch.equal(one[site], two[site]), site


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", TINY_FAMILIES)
def test_logits_are_those_of_the_module(family: str, dtype: torch.dtype) -> None:
    module: Any = tiny(family).to(dtype)
    with torch.no_grad():
        expected = module(tokens()).logits.float()
    model = Model.wrap(module)
    near = 2e-5 if dtype == torch.float32 else 0.02 * float(expected.abs().max())
    every = model.run(tokens(), read=model.sites(), logits="all").logits
    assert torch.allclose(every, expected, atol=near)
    last = model.run(tokens(), logits="last").logits[:, 0]
    assert torch.allclose(last, expected[:, -1], atol=near)
    # Padding on the left shifts no position, in half precision either.
    padded = torch.cat([torch.full((2, 3), 5), tokens()], 1)
    mask = torch.ones_like(padded)
    mask[:, :3] = 0
    left = model.run(padded, logits="last", attention_mask=mask).logits[:, 0]
    assert torch.allclose(left, expected[:, -1], atol=near)


def test_half_precision_gives_float32_logits() -> None:
    model = Model.wrap(tiny("llama").bfloat16())
    run = model.run(tokens(), read=["resid_post.1"], logits="all")
    assert run.logits is not None
    assert run.logits.dtype == torch.float32
    assert run["resid_post.1"].dtype == torch.bfloat16


def test_sites_are_listed_and_checked(model: Model) -> None:
    names = [str(site) for site in model.sites()]
    assert names[0] == "embed"
    assert names[-1] == "final"
    assert len(names) == len(set(names))
    assert ("resid_mid.1" in names) != RAW[model.name].parallel
    assert all(model.site(name) == Site.parse(name) for name in names)
    with pytest.raises(SiteError, match="layer from 0 to 2"):
        model.site("resid_post.3")
    run = model.run(tokens(), read=model.sites())
    assert all(run[site].shape == (2, 11, model.width(site)) for site in model.sites())
    mlp_width = 128 if model.name == "gpt2" or model.name == "gpt_neo" else 64
    assert (model.width("mlp_act.1"), model.width("attn_head.1")) == (mlp_width, 32)
    if RAW[model.name].parallel:
        with pytest.raises(SiteError, match="parallel"):
            model.site("resid_mid.1")


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (torch.tensor([1, 2]), r"shape \(2,\)"),
        (torch.tensor([[1.0, 2.0]]), "float32"),
        (torch.tensor([[1, VOCAB_SIZE]]), f"token id {VOCAB_SIZE} is out of range"),
        (torch.tensor([[1, -1]]), "token id -1 is out of range"),
        (torch.ones(1, 65, dtype=torch.long), "at most 64, the context of"),
        (torch.ones(1, 0, dtype=torch.long), "no tokens"),
    ],
)
def test_bad_tokens_are_refused(ids: Tensor, message: str) -> None:
    model = Model.wrap(tiny("llama"))
    with pytest.raises(InputError, match=message):
        model.run(ids, read=["final"])


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (torch.ones(2, 10), r"shape \(2, 10\); expected .* of shape \(2, 11\)"),
        (torch.ones(2, 11) / 2, "other values than 0 and 1"),
        (torch.full((2, 11), 2), "other values than 0 and 1"),
        (torch.zeros(2, 11, dtype=torch.long), "a row of padding alone"),
        (torch.arange(2)[:, None].expand(2, 11), "a row of padding alone"),
        ([[1] * 11] * 2, "of type list"),
    ],
)
def test_an_odd_mask_is_refused(mask: Any, message: str) -> None:
    with pytest.raises(InputError, match=f"attention_mask.*{message}"):
        Model.wrap(tiny("llama")).run(tokens(), read=["final"], attention_mask=mask)


def test_a_site_that_was_not_read_is_named() -> None:
    run = Model.wrap(tiny("llama")).run(tokens(), read=["final"])
    with pytest.raises(SiteError, match="resid_post.1 was not read in this run; expected final"):
        run["resid_post.1"]


@pytest.mark.parametrize("values", [None, torch.ones(5)])
def test_only_values_of_final_are_unembedded(values: Any) -> None:
    with pytest.raises(InputError, match=r"expected a tensor \[\.\.\., 32\]"):
        Model.wrap(tiny("llama")).unembed(values)


def test_a_run_without_wishes_is_empty() -> None:
    run = Model.wrap(tiny("llama")).run(tokens())
    assert run.acts == {}
    assert run.logits is None
