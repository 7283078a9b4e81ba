"""Published formats made from their documented formulas, and how far our codes are from them.

Each `Case` writes a small folder as the format's own library does, and computes what that library
computes in plain dense torch, written out here and nowhere else. `python -m benchmarks.imports`
prints the largest difference of codes and reconstructions for each.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from inscape.exchange import Asked, import_dictionary

D, M, K, LAYERS = 12, 40, 5, 3
Forward = Callable[[Tensor], tuple[Tensor, Tensor]]


def draw(*shape: int, seed: int) -> Tensor:
    return (
        torch.randn(shape, generator=torch.Generator().manual_seed(1000 * seed + sum(shape))) * 0.4
    )


@dataclass
class Case:
    """A folder of a format and what its library computes: codes [tokens, d_dict], outputs."""

    name: str
    form: str
    write: Callable[[Path], Path]
    forward: Forward
    sites: tuple[str, str] = ("resid_post.3", "resid_post.3")
    asked: Asked = field(default_factory=Asked)
    width: int = D


def saved(tensors: dict[str, Tensor], path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({key: value.contiguous() for key, value in tensors.items()}, path)
    return path


def settled(cfg: dict[str, Any], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(cfg))


def jump(pre: Tensor, threshold: Tensor) -> Tensor:
    return pre.relu() * (pre > threshold)


def largest(x: Tensor, k: int) -> Tensor:
    """The k largest of the last axis, whatever their sign; all else 0."""
    values, where = x.topk(k, dim=-1)
    return torch.zeros_like(x).scatter(-1, where, values)


def every(kind: str) -> str:
    return "+".join(f"{kind}.{n}" for n in range(LAYERS))


PLACES = (1, 2, 4)

# Gemma Scope 2

W, B, V, C = draw(D, M, seed=1), draw(M, seed=2), draw(M, D, seed=3), draw(D, seed=4)
THETA, AFFINE = draw(M, seed=5).abs(), draw(D, D, seed=6)
PARAMS = {"w_enc": W, "w_dec": V, "b_enc": B, "b_dec": C, "threshold": THETA}


def gemma_single(place: str, hooks: tuple[str, str] | None, *, affine: bool = False) -> Case:
    def write(folder: Path) -> Path:
        folder = folder / place
        more = {"affine_skip_connection": AFFINE} if affine else {}
        saved({**PARAMS, **more}, folder / "params.safetensors")
        if hooks is not None:
            cfg: dict[str, Any] = {
                "width": M,
                "model_name": "google/gemma-3-1b-pt",
                "architecture": "jump_relu",
            }
            points = {"hf_hook_point_in": hooks[0], "hf_hook_point_out": hooks[1]}
            settled(
                {**cfg, **points, "l0": 20, "affine_connection": affine, "type": "sae"},
                folder / "config.json",
            )
        return folder

    def forward(x: Tensor) -> tuple[Tensor, Tensor]:
        code = jump(x @ W + B, THETA)
        return code, code @ V + C + (x @ AFFINE if affine else 0)

    kinds = {"transcoder": ("mlp_in", "mlp_out"), "attn_out": ("attn_head", "attn_head")}
    kind = place.partition("/")[0].removesuffix("_all")
    read, written = kinds.get(kind, ("resid_post", "resid_post"))
    sites = f"{read}.3", f"{written}.3"
    return Case(f"Gemma Scope 2 {place.partition('/')[0]}", "gemma_scope_2", write, forward, sites)


def gemma_layers(place: str, *, affine: bool, clt: bool) -> Case:
    """A file for each layer; features of layer l write all layers, of a CLT none before l."""
    enc, b_enc = draw(LAYERS, D, M, seed=7), draw(LAYERS, M, seed=8)
    dec, b_dec = draw(LAYERS, M, LAYERS, D, seed=9), draw(LAYERS, D, seed=10)
    theta, skip = draw(LAYERS, M, seed=11).abs(), draw(LAYERS, D, D, seed=12)
    if clt:
        for layer in range(LAYERS):
            dec[layer, :, :layer] = 0

    def write(folder: Path) -> Path:
        folder = folder / place
        for n in range(LAYERS):
            parts = (enc[n], dec[n], b_enc[n], b_dec[n], theta[n])
            one = dict(zip(PARAMS, parts, strict=True))
            more = {"affine_skip_connection": skip[n]} if affine else {}
            saved({**one, **more}, folder / f"params_layer_{n}.safetensors")
        return folder

    def forward(x: Tensor) -> tuple[Tensor, Tensor]:
        parts = x.view(len(x), LAYERS, D)
        code = jump(torch.einsum("tld,ldm->tlm", parts, enc) + b_enc, theta)
        out = torch.einsum("tlm,lmkd->tkd", code, dec) + b_dec
        if affine:
            out = out + torch.einsum("tli,lio->tlo", parts, skip)
        return code.flatten(1), out.flatten(1)

    if clt:
        sites = tuple(
            "+".join(f"{kind}.{n}" for n in range(LAYERS)) for kind in ("mlp_in", "mlp_out")
        )
    else:
        sites = ("+".join(f"resid_post.{n}" for n in PLACES),) * 2
    name = f"Gemma Scope 2 {'clt' if clt else 'crosscoder'}{', affine' if affine else ''}"
    return Case(name, "gemma_scope_2", write, forward, sites, width=LAYERS * D)


# Qwen-Scope, and top-k transcoders of circuit-tracer


def qwen() -> Case:
    def write(folder: Path) -> Path:
        path = folder / "models--Qwen--SAE-Res-Qwen3-1.7B-Base-W32K-L0_30" / "layer3.sae.pt"
        path.parent.mkdir(parents=True)
        state = {"W_enc": W.T, "W_dec": V.T, "b_enc": B - 1, "b_dec": C}
        torch.save({key: value.contiguous() for key, value in state.items()}, path)
        return path

    def forward(x: Tensor) -> tuple[Tensor, Tensor]:
        code = largest(x @ W + B - 1, 30)  # more than are positive: negative ones survive
        return code, code @ V + C

    return Case("Qwen-Scope", "qwen_scope", write, forward)


def circuit_topk(where: str) -> Case:
    def write(folder: Path) -> Path:
        tensors = {"W_enc": W.T, "b_enc": B, "W_dec": V, "b_dec": C, "W_skip": AFFINE}
        if where == "file":
            tensors["k"] = torch.tensor(K)
        path = saved(tensors, folder / "layer_3.safetensors")
        (folder / "config.yaml").write_text(
            "model_kind: transcoder_set\nactivation: topk\nscan: someone/topk\n"
            "feature_input_hook: mlp.hook_in\nfeature_output_hook: mlp.hook_out\n"
            + (f"k: {K}\n" if where == "config.yaml" else "")
        )
        return path

    def forward(x: Tensor) -> tuple[Tensor, Tensor]:
        code = largest(x @ W + B, K)
        return code, code @ V + C + x @ AFFINE.T

    asked = Asked(k=K) if where == "--k" else Asked()
    sites = ("mlp_in.3", "mlp_out.3")
    return Case(f"top-k transcoder, k by {where}", "layer_files", write, forward, sites, asked)


# Llamascopium 2


def act(pre: Tensor, norms: Tensor, name: str, theta: Tensor) -> Tensor:
    """pre [tokens, layers, m]: f(pre·n) / n; layers is 1 for one site."""
    x = (pre * norms).relu()
    tokens = len(x)
    if name == "jumprelu":
        x = x * (pre * norms > theta)
    elif name == "topk":
        x = largest(x, K)
    elif name == "layertopk":
        x = largest(x.flatten(1), K).view_as(x)
    elif name == "batchtopk":  # of each layer over the batch
        layers = x.transpose(0, 1)
        x = largest(layers.flatten(1), K * tokens).view_as(layers).transpose(0, 1)
    elif name == "batchlayertopk":
        x = largest(x.flatten(), K * tokens).view_as(x)
    return x / norms


def scopium_cfg(kind: str, name: str, **more: Any) -> dict[str, Any]:
    base: dict[str, Any] = {
        "sae_type": kind,
        "d_model": D,
        "expansion_factor": M / D,
        "act_fn": name,
        "top_k": K,
    }
    return {
        **base,
        "norm_activation": "inference",
        "sparsity_include_decoder_norm": True,
        "dtype": "torch.float32",
        **more,
    }


def scopium_sae(
    name: str, *, glu: bool = False, norm: bool = True, dataset: bool = False, token: bool = False
) -> Case:
    theta, W2, B2 = draw(M, seed=13).abs() + 0.3, draw(D, M, seed=14), draw(M, seed=15)
    hook = "blocks.3.hook_resid_post"

    def write(folder: Path) -> Path:
        how = "dataset-wise" if dataset else "token-wise" if token else "inference"
        more = {"hook_point_in": hook, "hook_point_out": hook, "use_glu_encoder": glu}
        cfg = scopium_cfg("sae", name, norm_activation=how, **more)
        cfg["sparsity_include_decoder_norm"] = norm
        settled(cfg, folder / "config.json")
        tensors = {"W_E": W, "b_E": B, "W_D": V, "b_D": C}
        tensors[f"dataset_average_activation_norm.{hook}"] = torch.tensor(5.0)
        if glu:
            tensors |= {"W_E_glu": W2, "b_E_glu": B2}
        if name == "jumprelu":
            tensors["activation_function.log_jumprelu_threshold"] = theta.log()
        saved(tensors, folder / "sae_weights.safetensors")
        return folder

    def forward(x: Tensor) -> tuple[Tensor, Tensor]:
        scale = torch.tensor(D**0.5 / 5.0 if dataset else 1.0)
        if token:
            scale = D**0.5 / x.norm(dim=-1, keepdim=True)
        pre = x * scale @ W + B
        if glu:
            pre = pre * torch.sigmoid(x * scale @ W2 + B2)
        norms = V.norm(dim=1) if norm else torch.ones(M)
        code = act(pre[:, None], norms, name, theta)[:, 0]
        # Our values of a dictionary that normalises tokens are in units of the activations.
        return code / scale if token else code, (code @ V + C) / scale

    extra = [("glu", glu), ("no norms", not norm), ("dataset-wise", dataset), ("token-wise", token)]
    label = ", ".join([f"Llamascopium 2 sae {name}", *(word for word, on in extra if on)])
    return Case(label, "llamascopium", write, forward)


def scopium_clt(name: str) -> Case:
    enc, b_enc = draw(LAYERS, D, M, seed=16), draw(LAYERS, M, seed=17)
    dec = [draw(n + 1, M, D, seed=19 + n) for n in range(LAYERS)]  # by target layer
    b_dec, theta = draw(LAYERS, D, seed=18), draw(LAYERS, M, seed=23).abs() + 0.3

    def write(folder: Path) -> Path:
        read = [f"blocks.{n}.hook_resid_mid" for n in range(LAYERS)]
        written = [f"blocks.{n}.hook_mlp_out" for n in range(LAYERS)]
        cfg = scopium_cfg("clt", name, hook_points_in=read, hook_points_out=written)
        settled(cfg, folder / "config.json")
        tensors = {"W_E": enc, "b_E": b_enc}
        for n in range(LAYERS):
            tensors |= {f"W_D.{n}": dec[n], f"b_D.{n}": b_dec[n]}
        if name == "jumprelu":
            tensors["activation_function.log_jumprelu_threshold"] = theta.log()
        saved(tensors, folder / "sae_weights.safetensors")
        return folder

    def forward(x: Tensor) -> tuple[Tensor, Tensor]:
        pre = torch.einsum("tld,ldm->tlm", x.view(len(x), LAYERS, D), enc) + b_enc
        squared, outs = torch.zeros(LAYERS, M), []
        for n in range(LAYERS):
            squared[: n + 1] += dec[n].square().sum(-1)
        code = act(pre, squared.sqrt(), name, theta)
        for n in range(LAYERS):
            outs.append(torch.einsum("tlm,lmd->td", code[:, : n + 1], dec[n]) + b_dec[n])
        return code.flatten(1), torch.cat(outs, 1)

    sites = every("resid_mid"), every("mlp_out")
    width = LAYERS * D
    return Case(f"Llamascopium 2 clt {name}", "llamascopium", write, forward, sites, width=width)


def scopium_crosscoder(name: str) -> Case:
    enc, b_enc = draw(LAYERS, D, M, seed=24), draw(LAYERS, M, seed=25)
    dec, b_dec = draw(LAYERS, M, D, seed=26), draw(LAYERS, D, seed=27)
    theta = draw(M, seed=28).abs() + 0.3

    def write(folder: Path) -> Path:
        hooks = [f"blocks.{n}.hook_resid_post" for n in PLACES]
        settled(scopium_cfg("crosscoder", name, hook_points=hooks), folder / "config.json")
        tensors = {"W_E": enc, "b_E": b_enc, "W_D": dec, "b_D": b_dec}
        if name == "jumprelu":
            tensors["activation_function.log_jumprelu_threshold"] = theta.log()
        saved(tensors, folder / "sae_weights.safetensors")
        return folder

    def forward(x: Tensor) -> tuple[Tensor, Tensor]:
        pre = (torch.einsum("tld,ldm->tlm", x.view(len(x), LAYERS, D), enc) + b_enc).sum(1)
        norms, shape = dec.norm(dim=-1), (len(x), LAYERS, M)
        spread = pre[:, None].expand(shape)  # each site chooses for itself
        if name == "batchtopk":  # over tokens and sites together
            flat = (spread * norms).relu().flatten()
            code = largest(flat, K * len(x) * LAYERS).view(shape) / norms
        else:
            code = act(spread, norms, name, theta)
        out = torch.einsum("tlm,lmd->tld", code, dec) + b_dec
        return code[:, 0] if name == "relu" else code.flatten(1), out.flatten(1)

    site = "+".join(f"resid_post.{n}" for n in PLACES)
    label = f"Llamascopium 2 crosscoder {name}"
    return Case(label, "llamascopium", write, forward, (site, site), width=LAYERS * D)


SITE_HOOKS = ("model.layers.3.output", "model.layers.3.output")
MLP_HOOKS = (
    "model.language_model.layers.3.pre_feedforward_layernorm.output",
    "model.language_model.layers.3.post_feedforward_layernorm.output",
)
CASES = (
    gemma_single("sae/by-config", SITE_HOOKS),
    gemma_single("resid_post/layer_3_width_16k_l0_small", None),
    gemma_single("attn_out/layer_3_width_16k_l0_small", None),
    gemma_single("transcoder_all/layer_3_width_16k_l0_small", MLP_HOOKS),
    gemma_single("transcoder/layer_3_width_16k_l0_small_affine", None, affine=True),
    gemma_layers("clt/width_262k_l0_big", affine=False, clt=True),
    gemma_layers("clt/width_262k_l0_big_affine", affine=True, clt=True),
    gemma_layers("crosscoder/layer_1_2_4_width_65k_l0_big", affine=False, clt=False),
    qwen(),
    *(circuit_topk(where) for where in ("file", "config.yaml", "--k")),
    *(scopium_sae(name) for name in ("relu", "jumprelu", "topk", "batchtopk")),
    scopium_sae("topk", norm=False),
    scopium_sae("topk", glu=True),
    scopium_sae("jumprelu", dataset=True),
    scopium_sae("topk", token=True),
    *(
        scopium_clt(name)
        for name in ("relu", "jumprelu", "topk", "layertopk", "batchtopk", "batchlayertopk")
    ),
    *(scopium_crosscoder(name) for name in ("relu", "jumprelu", "topk", "batchtopk")),
)


def differences(case: Case, folder: Path) -> tuple[float, float]:
    """The largest difference of codes, and of reconstructions, over 50 tokens."""
    found = import_dictionary(case.write(folder), case.asked)
    assert found.made_from["format"] == case.form, case.name
    assert (found.config.site_in, found.config.site_out) == case.sites, case.name
    x = draw(50, case.width, seed=99) * 3 + 0.3
    code, out = case.forward(x)
    assert 0.02 < float((code != 0).float().mean()) < 0.95, case.name
    ours = found.encode(x).dense(found.d_dict)
    return float((ours - code).abs().max()), float((found(x) - out).abs().max())


def imports() -> dict[str, tuple[float, float]]:
    """Case → its differences."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for number, case in enumerate(CASES):
            found[case.name] = differences(case, Path(folder) / str(number))
    return found


if __name__ == "__main__":
    found = imports()
    for name, (code, out) in found.items():
        print(f"{name:<44}  codes {code:.1e}  outputs {out:.1e}")
    worst = max(max(pair) for pair in found.values())
    print(f"largest of {len(found)}: {worst:.1e} ({'holds' if worst <= 1e-5 else 'over'} 1e-5)")
    sys.exit(worst > 1e-5)
