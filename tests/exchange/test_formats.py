"""Each foreign format against its documented formula, written out here and nowhere else."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from benchmarks.imports import CASES as PUBLISHED
from safetensors.torch import save_file
from torch import Tensor

from inscape.core import InputError, StorageError
from inscape.dictionary import Dictionary
from inscape.exchange import FORMATS, Asked, export_dictionary, import_dictionary

D, OUT, M, K = 12, 12, 40, 5
Forward = Callable[[Tensor], tuple[Tensor, Tensor]]


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed + sum(shape))) * 0.4


def activations() -> Tensor:
    return draw(50, D, seed=9) * 3 + 0.5


@dataclass
class Case:
    """A folder of a format, and what its library computes: (feature activations, output)."""

    form: str
    write: Callable[[Path], Path]
    forward: Forward
    sites: tuple[str, str] = ("resid_post.3", "resid_post.3")
    asked: Asked = Asked()  # noqa: RUF009  (frozen)


W, B, V, C = draw(D, M, seed=1), draw(M, seed=2), draw(M, D, seed=3), draw(D, seed=4)
THETA = draw(M, seed=5).abs() * 0.5
SKIP = draw(D, D, seed=6)


def topk(pre: Tensor) -> Tensor:
    best, where = pre.topk(K, dim=-1)
    return torch.zeros_like(pre).scatter(-1, where, best).relu()


def saelens(
    architecture: str, tensors: dict[str, Tensor], cfg: dict[str, Any] | None = None
) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        folder.mkdir()
        transcoder = "transcoder" in architecture
        metadata = {"sae_lens_version": "6.5.0", "hook_name": "blocks.3.hook_resid_post"}
        if transcoder:
            metadata |= {
                "hook_name": "blocks.3.ln2.hook_normalized",
                "hook_name_out": "blocks.3.hook_mlp_out",
            }
        settings = {
            "architecture": architecture,
            "d_in": D,
            "d_sae": M,
            "dtype": "float32",
            "device": "cuda",
            "apply_b_dec_to_input": not transcoder,
            "normalize_activations": "none",
            "reshape_activations": "none",
            "metadata": metadata,
            **({"d_out": D} if transcoder else {}),
            **(cfg or {}),
        }
        (folder / "cfg.json").write_text(json.dumps(settings))
        save_file(
            {k: v.contiguous() for k, v in tensors.items()}, folder / "sae_weights.safetensors"
        )
        return folder

    return write


COMMON = {"W_enc": W, "W_dec": V, "b_dec": C}
BASIC = {**COMMON, "b_enc": B}
MLP = ("mlp_in.3", "mlp_out.3")
TO_MLP = Asked(site="mlp_in.3")


def plain(act: Callable[[Tensor], Tensor], *, subtract: bool = True) -> Forward:
    def forward(x: Tensor) -> tuple[Tensor, Tensor]:
        code = act((x - C if subtract else x) @ W + B)
        return code, code @ V + C

    return forward


def jump(pre: Tensor) -> Tensor:
    return pre.relu() * (pre > THETA)


def gated(x: Tensor) -> tuple[Tensor, Tensor]:
    read = (x - C) @ W
    code = (read + B > 0) * (read * draw(M, seed=7).exp() + THETA).relu()
    return code, code @ V + C


def rescaled(x: Tensor) -> tuple[Tensor, Tensor]:
    norms = V.norm(dim=1)
    code = topk(((x - C) @ W + B) * norms)
    return code, code @ (V / norms[:, None]) + C


def layer_normed(x: Tensor) -> tuple[Tensor, Tensor]:
    mean, std = x.mean(-1, keepdim=True), x.std(-1, keepdim=True)
    code, out = plain(topk)((x - mean) / (std + 1e-5))
    return code * std, out * std + mean  # our values are in units of the activations


def constant_normed(x: Tensor) -> tuple[Tensor, Tensor]:
    factor = D**0.5 / x.norm(dim=-1, keepdim=True)
    code, out = plain(torch.relu)(x * factor)
    return code / factor, out / factor


def average_normed(x: Tensor) -> tuple[Tensor, Tensor]:
    code, out = plain(jump)(x * 0.7)
    return code, out / 0.7


def skipping(x: Tensor) -> tuple[Tensor, Tensor]:
    code, out = plain(torch.relu, subtract=False)(x)
    return code, out + x @ SKIP.T


def old_saelens(folder: Path) -> Path:
    """Version 5: a TopK told by its activation function."""
    folder.mkdir()
    settings = {
        "architecture": "standard",
        "d_in": D,
        "d_sae": M,
        "dtype": "torch.float32",
        "hook_point": "blocks.3.hook_resid_post",
        "hook_layer": 3,
        "hook_head_index": None,
        "model_name": "gpt2",
        "prepend_bos": True,
        "context_size": 128,
        "dataset_path": "x",
        "activation_fn_str": "topk",
        "activation_fn_kwargs": {"k": K},
        "normalize_activations": False,
        "sae_lens_training_version": "3.12",
        "finetuning_scaling_factor": False,
    }
    (folder / "cfg.json").write_text(json.dumps(settings))
    tensors = {**BASIC, "scaling_factor": torch.ones(M)}
    save_file(tensors, folder / "sae_weights.safetensors")
    return folder


def learned(kind: str, state: dict[str, Tensor], *, nested: bool = False) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        folder.mkdir()
        trainer = {"dict_class": kind, "k": K, "layer": 3, "lm_name": "x", "lr": 1e-3}
        (folder / "config.json").write_text(json.dumps({"trainer": trainer, "buffer": {}}))
        torch.save({"ae": state} if nested else state, folder / "ae.pt")
        return folder

    return write


LINEAR = {"encoder.weight": W.T, "encoder.bias": B, "decoder.weight": V.T}
SLOTS = {"k": torch.tensor(K), "threshold": torch.tensor(0.6)}


def unit_rows(x: Tensor) -> tuple[Tensor, Tensor]:
    code, out = plain(torch.relu)(x)
    return code * V.norm(dim=1), out  # the library's loader brings the decoder to unit norm


def learned_gated(x: Tensor) -> tuple[Tensor, Tensor]:
    return gated(x)


def batched(pre: Tensor) -> Tensor:
    return pre.relu() * (pre.relu() > 0.6)


def sparsified(name: str, **cfg: Any) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        folder = folder / name
        folder.mkdir(parents=True)
        settings = {
            "activation": "topk",
            "expansion_factor": 32,
            "normalize_decoder": True,
            "num_latents": M,
            "k": K,
            "multi_topk": False,
            "skip_connection": False,
            "transcode": False,
            "d_in": D,
            **cfg,
        }
        (folder / "cfg.json").write_text(json.dumps(settings))
        tensors = {"encoder.weight": W.T, "encoder.bias": B, "W_dec": V, "b_dec": C}
        if settings["skip_connection"]:
            tensors["W_skip"] = SKIP
        save_file({k: v.contiguous() for k, v in tensors.items()}, folder / "sae.safetensors")
        return folder

    return write


def sparsified_skip(x: Tensor) -> tuple[Tensor, Tensor]:
    code = topk((x @ W + B).relu())
    return code, code @ V + C + x @ SKIP.T


def gemma(path: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        folder = folder / path
        folder.mkdir(parents=True)
        arrays = {**BASIC, "threshold": THETA}
        np.savez(folder / "params.npz", **{k: v.numpy() for k, v in arrays.items()})
        return folder

    return write


def openai(activation: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        folder.mkdir()
        state: dict[str, Any] = {
            "pre_bias": C,
            "encoder.weight": W.T,
            "latent_bias": B,
            "decoder.weight": V.T,
            "stats_last_nonzero": torch.zeros(M),
            "latents_activation_frequency": torch.ones(M),
            "latents_mean_square": torch.ones(M),
            "activation": activation,
        }
        if activation == "TopK":
            state["activation_state_dict"] = {"k": K, "postact_fn": "ReLU"}
        torch.save(state, folder / "3.pt")
        return folder / "3.pt"

    return write


def llama(folder: Path) -> Path:
    (folder / "checkpoints").mkdir(parents=True)
    settings = {
        "d_model": D,
        "d_sae": M,
        "jump_relu_threshold": 0.6,
        "act_fn": "jumprelu",
        "dataset_average_activation_norm": {"in": 5.0, "out": 8.0},
        "hook_point_in": "blocks.3.hook_resid_post",
        "hook_point_out": "blocks.3.hook_resid_post",
        "norm_activation": "dataset-wise",
        "apply_decoder_bias_to_pre_encoder": False,
        "use_glu_encoder": False,
        "top_k": 8,
        "expansion_factor": 8,
        "dtype": "torch.bfloat16",
    }
    (folder / "hyperparams.json").write_text(json.dumps(settings))
    tensors = {**LINEAR, "decoder.bias": C}
    save_file(
        {k: v.contiguous() for k, v in tensors.items()}, folder / "checkpoints/final.safetensors"
    )
    return folder


def llama_forward(x: Tensor) -> tuple[Tensor, Tensor]:
    code = batched(x * D**0.5 / 5.0 @ W + B)
    return code, (code @ V + C) * 8.0 / D**0.5


def layer_file(extra: dict[str, Tensor]) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        folder.mkdir()
        tensors = {"W_enc": W.T, "b_enc": B, "W_dec": V, "b_dec": C, **extra}
        save_file(
            {k: v.contiguous().bfloat16().float() for k, v in tensors.items()},
            folder / "layer_3.safetensors",
        )
        return folder / "layer_3.safetensors"

    return write


def halved(x: Tensor, threshold: Tensor | None = None) -> tuple[Tensor, Tensor]:
    w, b, v, c = (t.bfloat16().float() for t in (W, B, V, C))
    pre = x @ w + b
    code = pre.relu() if threshold is None else pre.relu() * (pre > threshold)
    return code, code @ v + c


HALF = THETA.bfloat16().float()
CASES = {
    "saelens standard": Case("saelens", saelens("standard", BASIC), plain(torch.relu)),
    "saelens without subtraction": Case(
        "saelens",
        saelens("standard", BASIC, {"apply_b_dec_to_input": False}),
        plain(torch.relu, subtract=False),
    ),
    "saelens topk": Case(
        "saelens",
        saelens("topk", BASIC, {"k": K, "rescale_acts_by_decoder_norm": False}),
        plain(topk),
    ),
    "saelens topk, rescaled": Case(
        "saelens", saelens("topk", BASIC, {"k": K, "rescale_acts_by_decoder_norm": True}), rescaled
    ),
    "saelens jumprelu": Case(
        "saelens", saelens("jumprelu", {**BASIC, "threshold": THETA}), plain(jump)
    ),
    "saelens gated": Case(
        "saelens",
        saelens("gated", {**COMMON, "b_gate": B, "b_mag": THETA, "r_mag": draw(M, seed=7)}),
        gated,
    ),
    "saelens batchtopk checkpoint": Case(
        "saelens",
        saelens(
            "batchtopk",
            {**BASIC, "topk_threshold": torch.tensor(0.6)},
            {"k": K, "rescale_acts_by_decoder_norm": False},
        ),
        plain(batched),
    ),
    "saelens layer_norm": Case(
        "saelens",
        saelens(
            "topk",
            BASIC,
            {"k": K, "normalize_activations": "layer_norm", "rescale_acts_by_decoder_norm": False},
        ),
        layer_normed,
    ),
    "saelens constant norm": Case(
        "saelens",
        saelens("standard", BASIC, {"normalize_activations": "constant_norm_rescale"}),
        constant_normed,
    ),
    "saelens average norm": Case(
        "saelens",
        saelens(
            "jumprelu",
            {**BASIC, "threshold": THETA},
            {"normalize_activations": "expected_average_only_in"},
        ),
        average_normed,
        asked=Asked(scale=0.7),
    ),
    "saelens transcoder": Case(
        "saelens", saelens("transcoder", BASIC), plain(torch.relu, subtract=False), MLP, TO_MLP
    ),
    "saelens skip transcoder": Case(
        "saelens", saelens("skip_transcoder", {**BASIC, "W_skip": SKIP}), skipping, MLP, TO_MLP
    ),
    "saelens jumprelu transcoder": Case(
        "saelens",
        saelens("jumprelu_transcoder", {**BASIC, "threshold": THETA}),
        plain(jump, subtract=False),
        MLP,
        TO_MLP,
    ),
    "saelens 5": Case("saelens", old_saelens, plain(topk)),
    "dl AutoEncoder": Case(
        "dictionary_learning", learned("AutoEncoder", {**LINEAR, "bias": C}), unit_rows
    ),
    "dl AutoEncoderNew": Case(
        "dictionary_learning",
        learned("AutoEncoderNew", {**LINEAR, "decoder.bias": C}),
        plain(torch.relu, subtract=False),
    ),
    "dl gated": Case(
        "dictionary_learning",
        learned(
            "GatedAutoEncoder",
            {
                "decoder_bias": C,
                "encoder.weight": W.T,
                "decoder.weight": V.T,
                "r_mag": draw(M, seed=7),
                "gate_bias": B,
                "mag_bias": THETA,
            },
        ),
        learned_gated,
    ),
    "dl TopK": Case(
        "dictionary_learning",
        learned("AutoEncoderTopK", {**LINEAR, "b_dec": C, **SLOTS}),
        plain(topk),
    ),
    "dl TopK, nested": Case(
        "dictionary_learning",
        learned("AutoEncoderTopK", {**LINEAR, "b_dec": C, "k": SLOTS["k"]}, nested=True),
        plain(topk),
    ),
    "dl BatchTopK": Case(
        "dictionary_learning",
        learned("BatchTopKSAE", {**LINEAR, "b_dec": C, **SLOTS}),
        plain(batched),
    ),
    "dl BatchTopK, threshold unset": Case(
        "dictionary_learning",
        learned("BatchTopKSAE", {**LINEAR, "b_dec": C, **SLOTS, "threshold": torch.tensor(-1.0)}),
        plain(torch.relu),
    ),
    "dl Matryoshka": Case(
        "dictionary_learning",
        learned(
            "MatryoshkaBatchTopKSAE", {**BASIC, **SLOTS, "group_sizes": torch.tensor([10, 30])}
        ),
        plain(batched),
    ),
    "dl JumpReLU": Case(
        "dictionary_learning",
        learned("JumpReluAutoEncoder", {**BASIC, "threshold": THETA}),
        plain(jump, subtract=False),
    ),
    "sparsify": Case("sparsify", sparsified("layers.3"), plain(lambda pre: topk(pre.relu()))),
    "sparsify transcoder": Case(
        "sparsify",
        sparsified("layers.3.mlp", transcode=True, skip_connection=True),
        sparsified_skip,
        MLP,
    ),
    "gemma scope": Case(
        "gemma_scope",
        gemma("gemma-scope-2b-pt-res/layer_3/width_16k/average_l0_7"),
        plain(jump, subtract=False),
    ),
    "gemma scope transcoder": Case(
        "gemma_scope",
        gemma("gemma-scope-2b-pt-transcoders/layer_3/width_16k/average_l0_7"),
        plain(jump, subtract=False),
        MLP,
        TO_MLP,
    ),
    "openai topk": Case("openai", openai("TopK"), layer_normed, asked=Asked(site="resid_post.3")),
    "openai relu": Case(
        "openai", openai("ReLU"), plain(torch.relu), asked=Asked(site="resid_post.3")
    ),
    "gemma scope attention": Case(
        "gemma_scope",
        gemma("gemma-scope-2b-pt-att/layer_3/width_16k/average_l0_7"),
        plain(jump, subtract=False),
        ("attn_head.3", "attn_head.3"),
    ),
    "saelens attention": Case(
        "saelens",
        saelens(
            "standard",
            BASIC,
            {
                "reshape_activations": "hook_z",
                "metadata": {"sae_lens_version": "6.5.0", "hook_name": "blocks.3.attn.hook_z"},
            },
        ),
        plain(torch.relu),
        ("attn_head.3", "attn_head.3"),
    ),
    "llama scope": Case("llama_scope", llama, llama_forward),
    "layer file": Case("layer_files", layer_file({}), halved, MLP),
    "layer file, jumprelu": Case(
        "layer_files",
        layer_file({"activation_function.threshold": THETA}),
        lambda x: halved(x, HALF),
        MLP,
    ),
}


def test_every_format_has_a_case() -> None:
    # Cross-layer transcoders have tests of their own.
    cases = [*CASES.values(), *PUBLISHED]
    assert {case.form for case in cases} == set(FORMATS) - {"clt_files"}


@pytest.mark.parametrize("name", CASES)
def test_what_is_read_computes_what_the_library_computes(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    source = case.write(tmp_path / "theirs")
    found = import_dictionary(source, case.asked)
    assert found.made_from["format"] == case.form
    assert (found.config.site_in, found.config.site_out) == case.sites
    x = activations()
    code, out = case.forward(x)
    assert float((code > 0).float().mean()) > 0.02
    torch.testing.assert_close(found.encode(x).dense(M), code, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found(x), out, atol=1e-4, rtol=1e-4)
    chosen = found.pre(x, [3, 8])
    torch.testing.assert_close(
        torch.where(code[:, [3, 8]] > 0, chosen, 0.0), code[:, [3, 8]], atol=1e-4, rtol=1e-4
    )
    found.save(tmp_path / "ours")
    assert torch.equal(Dictionary.open(tmp_path / "ours")(x), found(x))


@pytest.mark.parametrize(
    ("form", "name"),
    [
        ("saelens", "saelens topk"),
        ("saelens", "saelens gated"),
        ("saelens", "saelens layer_norm"),
        ("saelens", "saelens transcoder"),
        ("saelens", "saelens skip transcoder"),
        ("saelens", "gemma scope transcoder"),
        ("dictionary_learning", "sparsify"),
        ("dictionary_learning", "saelens jumprelu"),
        ("sparsify", "dl TopK"),
        ("sparsify", "sparsify transcoder"),
        ("gemma_scope", "saelens jumprelu"),
        ("gemma_scope", "dl BatchTopK"),
        ("layer_files", "gemma scope transcoder"),
        ("layer_files", "saelens skip transcoder"),
    ],
)
def test_what_is_written_is_read_again(form: str, name: str, tmp_path: Path) -> None:
    case = CASES[name]
    first = import_dictionary(case.write(tmp_path / "theirs"), case.asked)
    folder = tmp_path / "out" / "layers.3"
    folder.parent.mkdir()
    export_dictionary(first, folder, form)
    source = folder / "layer_3.safetensors" if form == "layer_files" else folder
    again = import_dictionary(source, Asked(*case.sites))
    assert again.made_from["format"] == form
    x = activations()
    torch.testing.assert_close(again(x), first(x), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(
        again.encode(x).dense(M), first.encode(x).dense(M), atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize(
    ("form", "name", "said"),
    [
        ("sparsify", "saelens jumprelu", "by threshold"),
        ("gemma_scope", "saelens topk", "by topk"),
        ("gemma_scope", "saelens layer_norm", "layer_norm"),
        ("dictionary_learning", "saelens transcoder", "transcoder"),
        ("layer_files", "saelens topk", "resid_post.3"),
        ("openai", "saelens topk", "not written"),
        ("saelens", "sparsify transcoder", "transcoder by topk with a skip"),
        ("mine", "saelens topk", "unknown format 'mine'"),
    ],
)
def test_what_a_format_cannot_hold_is_refused(
    form: str, name: str, said: str, tmp_path: Path
) -> None:
    case = CASES[name]
    first = import_dictionary(case.write(tmp_path / "theirs"), case.asked)
    with pytest.raises(InputError, match=said):
        export_dictionary(first, tmp_path / "out", form)
    assert not (tmp_path / "out").exists()


def refused(source: Path, asked: Asked | None = None) -> str:
    with pytest.raises(InputError) as caught:
        import_dictionary(source, asked)
    return str(caught.value)


@pytest.mark.parametrize(
    ("cfg", "said"),
    [
        ({"architecture": "temporal"}, "architecture 'temporal'"),
        ({"sparsemax_alpha": 2}, "'sparsemax_alpha' (2)"),
        ({"reshape_activations": "hook_q"}, "reshape_activations 'hook_q'"),
        ({"activation_fn": "tanh-relu"}, "activation_fn 'tanh-relu'"),
        ({"normalize_activations": "covariance_whitening"}, "covariance_whitening"),
        ({"normalize_activations": "expected_average_only_in"}, "--scale"),
        (
            {"metadata": {"sae_lens_version": "6.5.0", "hook_name": "blocks.3.attn.hook_q"}},
            "does not say at which site",
        ),
    ],
)
def test_unknown_settings_are_refused_by_name(
    cfg: dict[str, Any], said: str, tmp_path: Path
) -> None:
    source = saelens("standard", BASIC, cfg)(tmp_path / "theirs")
    assert said in refused(source)


def test_a_setting_may_be_passed_over(tmp_path: Path) -> None:
    source = saelens("standard", BASIC, {"comment": "mine"})(tmp_path / "theirs")
    assert "--ignore comment" in refused(source)
    assert import_dictionary(source, Asked(ignore=("comment",))).d_dict == M


def test_unknown_and_missing_tensors_are_named(tmp_path: Path) -> None:
    more = saelens("standard", {**BASIC, "mystery": B.clone()})(tmp_path / "more")
    assert "'mystery'" in refused(more)
    fewer = saelens("jumprelu", BASIC)(tmp_path / "fewer")
    assert "'threshold'" in refused(fewer)
    assert "dict_class 'Mine'" in refused(learned("Mine", LINEAR)(tmp_path / "mine"))
    groupmax = sparsified("layers.3", activation="groupmax")(tmp_path / "groupmax")
    assert "activation 'groupmax'" in refused(groupmax)


def test_pickles_that_bring_code_are_not_run(tmp_path: Path) -> None:
    folder = learned("AutoEncoder", {**LINEAR, "bias": C})(tmp_path / "theirs")
    never = tmp_path / "never"
    (folder / "ae.pt").write_bytes(f"cos\nsystem\n(S'touch {never}'\ntR.".encode())
    with pytest.raises(StorageError, match=r"ae\.pt cannot be read without running code"):
        import_dictionary(folder)
    assert not never.exists()


def test_damaged_and_foreign_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="does not exist"):
        import_dictionary(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    assert "no known format" in refused(tmp_path / "empty")
    folder = saelens("standard", BASIC)(tmp_path / "theirs")
    (folder / "sae_weights.safetensors").write_bytes(b"short")
    with pytest.raises(StorageError, match="sae_weights"):
        import_dictionary(folder)
    (folder / "cfg.json").write_text("{")
    with pytest.raises(StorageError, match="not readable as JSON"):
        import_dictionary(folder)
