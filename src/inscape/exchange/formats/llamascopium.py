"""Llamascopium 2 (formerly Language-Model-SAEs): config.json with sae_weights.safetensors.

1. sae (transcoders too): W_E [d, m], b_E, W_D [m, d], b_D; with use_glu_encoder the pre-activation
   is multiplied by sigmoid(x @ W_E_glu + b_E_glu). clt: W_E [L, d, m], b_E [L, m], and W_D.i
   [i+1, m, d], b_D.i for each layer i that is written. Nothing is subtracted.
2. act(pre·n) / n, with n the norm of all that a feature writes (sparsity_include_decoder_norm): a
   threshold θ becomes θ / n, a top-k choice is weighted by n. Everything negative is dropped first.
   topk: k of each token (clt: and layer); layertopk: k of each token over all layers; batchtopk
   and batchlayertopk: k·tokens of the batch, of each layer or over all.
3. crosscoder: W_E [h, d, m], b_E [h, m], W_D [h, m, d], b_D [h, d]; pre is summed over the sites,
   and each site chooses for itself, with its own n. Where that makes a difference (all but relu),
   feature i at site h is feature h·m + i here.
4. norm_activation: `inference` has the scale folded in; `dataset-wise` is folded in here, from
   dataset_average_activation_norm.<hook>: x·√d / norm; `token-wise` is done for each token.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from inscape.core import InputError
from inscape.dictionary import Dictionary, joined
from inscape.exchange import format as fmt
from inscape.exchange.format import Asked, Format, Weights
from inscape.exchange.sites import of_hook

CONFIG, WEIGHTS = "config.json", "sae_weights.safetensors"
_KNOWN = (
    "sae_type d_model expansion_factor use_decoder_bias act_fn norm_activation "
    "sparsity_include_decoder_norm top_k hook_point_in hook_point_out hook_points "
    "hook_points_in hook_points_out use_glu_encoder device dtype sae_pretrained_name_or_path "
    "strict_loading use_triton_kernel sparsity_threshold_for_triton_spmm_kernel "
    "jumprelu_threshold_window init_cross_layer_decoder_all_zero decode_with_csr "
    "sparsity_threshold_for_csr"
).split()
_SCOPES = {
    "sae": {"topk": "token", "batchtopk": "batch"},
    "crosscoder": {"topk": "layer", "batchtopk": "batch"},
    "clt": {
        "topk": "layer",
        "layertopk": "token",
        "batchtopk": "layer_batch",
        "batchlayertopk": "batch",
    },
}
_NORM = "dataset_average_activation_norm."
_THRESHOLD = "activation_function.log_jumprelu_threshold"


class Llamascopium(Format):
    """Llamascopium 2."""

    about = f"Llamascopium 2: {CONFIG} with {WEIGHTS}"

    def recognises(self, source: Path) -> bool:
        return (source / CONFIG).is_file() and any(
            (source / f"sae_weights{form}").exists() for form in (".safetensors", ".dcp", ".pt")
        )

    def read(self, source: Path, asked: Asked) -> Dictionary:
        place = source / CONFIG
        cfg = fmt.read_settings(place)
        kind = str(cfg.get("sae_type"))
        fmt.only(kind, _SCOPES, "sae_type", place)
        fmt.refuse_unknown(cfg, _KNOWN, place, asked.ignore)
        act = str(cfg.get("act_fn", "relu")).lower()
        fmt.only(act, ["relu", "jumprelu", *_SCOPES[kind]], f"for {kind}: act_fn", place)
        norm = cfg.get("norm_activation", "dataset-wise")
        hooks = _hooks(cfg, kind, source)
        one_site = kind == "sae" and hooks[0] == hooks[1]
        norms = ["inference", "dataset-wise", *(["token-wise"] if one_site else [])]
        fmt.only(norm, norms, "norm_activation", place)
        if not (source / WEIGHTS).is_file():
            raise InputError(
                f"{source} has its weights in another form than {WEIGHTS}",
                expected=WEIGHTS,
                next_step="load it with the library that made it, and save it as safetensors",
            )
        raw = fmt.read_weights(source / WEIGHTS)
        means = {
            key.removeprefix(_NORM): raw.pop(key) for key in list(raw) if key.startswith(_NORM)
        }
        folded = norm == "dataset-wise"
        read, written = (_scales(part, means if folded else None, cfg, source) for part in hooks)
        found = fmt.take(raw, _names(kind, cfg, act, len(read)), source / WEIGHTS)
        layout = {"sae": _single, "clt": _cross_layer, "crosscoder": _crosscoder}[kind]
        weights, norms_of = layout(found, read, written, act)
        more: dict[str, Any] = {}
        if not cfg.get("sparsity_include_decoder_norm", True):
            norms_of = torch.ones_like(norms_of)
        if act == "jumprelu":
            weights["threshold"] = weights["threshold"].exp() / norms_of.clamp_min(1e-30)
        elif act == "relu":
            weights["threshold"] = torch.zeros(())
        else:
            weights["choice"] = norms_of
            k = asked.k or int(cfg.get("top_k", 50))
            if kind == "crosscoder" and act == "batchtopk":
                k = len(read) * int(cfg.get("top_k", 50))
            more = {"scope": _SCOPES[kind][act], "k": k}
        if norm == "token-wise":
            more["normalize"] = "constant_norm"
        sites = [_joined([of_hook(hook) for hook in part]) for part in hooks]
        said = f"hooks {hooks[0][0]}, {hooks[1][0]}"
        num = 1 if kind == "sae" else len(read)
        return self.made(weights, source, asked, (sites[0], sites[1]), said, num_sites=num, **more)


def _names(kind: str, cfg: dict[str, Any], act: str, num: int) -> dict[str, str]:
    """The tensors, ours → theirs; a cross-layer transcoder has a decoder for each site."""
    names, decoder = {"W_enc": "W_E", "b_enc": "b_E"}, {"W_dec": "W_D"}
    if kind == "crosscoder" or cfg.get("use_decoder_bias", True):
        decoder["b_dec"] = "b_D"
    for ours, theirs in decoder.items():
        each = {f"{ours}.{n}": f"{theirs}.{n}" for n in range(num)}
        names |= each if kind == "clt" else {ours: theirs}
    if kind == "sae" and cfg.get("use_glu_encoder", False):
        names |= {"W_glu": "W_E_glu", "b_glu": "b_E_glu"}
    return names | ({"threshold": _THRESHOLD} if act == "jumprelu" else {})


# Each takes the tensors by our names, and the scales of what is read and written. They return the
# weights in our layout, and the norm of what each feature writes.


def _single(found: Weights, read: Tensor, written: Tensor, act: str) -> tuple[Weights, Tensor]:
    norms = found["W_dec"].norm(dim=1)
    found.setdefault("b_dec", found["W_dec"].new_zeros(found["W_dec"].shape[1]))
    for key in found.keys() & {"W_enc", "W_glu"}:
        found[key] = found[key].T * read
    return found | {key: found[key] / written for key in ("W_dec", "b_dec")}, norms


def _cross_layer(found: Weights, read: Tensor, written: Tensor, act: str) -> tuple[Weights, Tensor]:
    num, width = found["W_enc"].shape[:2]
    targets = [found.pop(f"W_dec.{n}") for n in range(num)]
    biases = [found.pop(f"b_dec.{n}", torch.zeros(width)) for n in range(num)]
    norms, rows = [], []
    for layer in range(num):
        later = torch.stack([targets[n][layer] for n in range(layer, num)], 1)
        norms.append(later.norm(dim=(1, 2)))
        rows.append((later / written[layer:, None]).flatten(0, 1))
    weights = {key: value.flatten() for key, value in found.items() if key != "W_enc"} | {
        "W_enc": (found["W_enc"] * read[:, None, None]).transpose(1, 2).flatten(0, 1),
        "W_dec": torch.cat(rows),
        "b_dec": torch.cat([one / scale for one, scale in zip(biases, written, strict=True)]),
    }
    return weights, torch.cat(norms)


def _crosscoder(found: Weights, read: Tensor, written: Tensor, act: str) -> tuple[Weights, Tensor]:
    num = len(found["W_enc"])
    weights = {
        "W_enc": (found["W_enc"] * read[:, None, None]).permute(2, 0, 1).flatten(1),
        "b_enc": found["b_enc"].sum(0),
        "b_dec": (found["b_dec"] / written[:, None]).flatten(),
    }
    decoder, norms = found["W_dec"] / written[:, None, None], found["W_dec"].norm(dim=-1)
    if act == "relu":
        return {**weights, "W_dec": decoder.transpose(0, 1).flatten(1)}, norms[0]
    weights |= {"W_enc": weights["W_enc"].repeat(num, 1), "b_enc": weights["b_enc"].repeat(num)}
    if act == "jumprelu":
        weights["threshold"] = found["threshold"].repeat(num)
    weights["W_dec"] = torch.block_diag(*decoder)  # type: ignore[no-untyped-call]
    return weights, norms.flatten()


def _hooks(cfg: dict[str, Any], kind: str, source: Path) -> tuple[list[str], list[str]]:
    """(read, written), a hook for each site."""
    keys = {
        "sae": ("hook_point_in", "hook_point_out"),
        "clt": ("hook_points_in", "hook_points_out"),
        "crosscoder": ("hook_points", "hook_points"),
    }[kind]
    found = [cfg.get(key) for key in keys]
    read, written = ([one] if isinstance(one, str) else one for one in found)
    if not isinstance(read, list) or not isinstance(written, list) or not read or not written:
        raise InputError(f"{source / CONFIG} has no {keys[0]}", expected="the hooks that it reads")
    return [str(one) for one in read], [str(one) for one in written]


def _joined(sites: list[str | None]) -> str | None:
    known = [site for site in sites if site is not None]
    return joined(known) if len(known) == len(sites) else None


def _scales(hooks: list[str], means: Weights | None, cfg: dict[str, Any], source: Path) -> Tensor:
    """√d / mean norm of each site; ones without means."""
    if means is None:
        return torch.ones(len(hooks))
    for hook in hooks:
        if hook not in means or not float(means[hook]) > 0:
            raise InputError(
                f"{source / WEIGHTS} has no {_NORM}{hook}",
                expected="the mean norm that activations were divided by",
            )
    return torch.stack([int(cfg["d_model"]) ** 0.5 / means[hook] for hook in hooks])
