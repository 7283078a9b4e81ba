"""Places in a model by the names that other libraries give them.

TransformerLens: blocks.L.hook_resid_pre and so on. Its normalised MLP input (ln2.hook_normalized)
comes before the norm's gain and bias, our mlp_in.L after them: a dictionary that reads it is
written `mlp_in.L` + NO_GAIN, until `through_norm` folds the gain of the model in.
Hugging Face module paths (sparsify): layers.L is the block's output, layers.L.mlp the MLP.
"""

from __future__ import annotations

import re
from pathlib import Path

import torch
from torch import Tensor

from inscape.core import InputError
from inscape.exchange.asked import Asked, Weights
from inscape.model import Model, Site

_HOOKS = {
    "hook_resid_pre": "resid_pre",
    "hook_resid_mid": "resid_mid",
    "hook_resid_post": "resid_post",
    "hook_attn_out": "attn_out",
    "hook_mlp_out": "mlp_out",
    "attn.hook_z": "attn_head",
}
NO_GAIN = " before the norm's gain"
_MLP_HOOKS = {
    "mlp.hook_in": "mlp_in",
    "mlp.hook_out": "mlp_out",
    "ln2.hook_normalized": "mlp_in" + NO_GAIN,
}
_NAMES = {site: hook for hook, site in _HOOKS.items()}


def of_hook(hook: str | None) -> str | None:
    """The site of a TransformerLens hook, None where we have none."""
    found = re.fullmatch(r"blocks\.(\d{1,4})\.([\w.]+)", hook or "")
    kind = kind_of_hook(found[2]) if found else None
    return in_layer(kind, int(found[1])) if found and kind else None


def kind_of_hook(hook: str | None) -> str | None:
    """The kind of site of a hook in any layer (hook_resid_mid, mlp.hook_in), None where we have
    none."""
    return {**_HOOKS, **_MLP_HOOKS}.get(hook or "")


def in_layer(kind: str, layer: int) -> str:
    """The site of a kind in a layer: mlp_in, 3 → mlp_in.3."""
    plain = kind.removesuffix(NO_GAIN)
    return f"{plain}.{layer}{NO_GAIN if plain != kind else ''}"


def hook_of(site: str) -> str | None:
    """The TransformerLens hook of a site, None where it has none."""
    name, _, layer = site.partition(".")
    return f"blocks.{layer}.{_NAMES[name]}" if name in _NAMES else None


def of_module(path: str, *, transcoder: bool) -> tuple[str, str] | None:
    """(read, written) of a Hugging Face module path such as layers.3 or model.layers.3.mlp."""
    found = re.fullmatch(r"(?:.*\.)?(?:layers|h|blocks)\.(\d+)(\.mlp)?", path)
    if found is None:
        return None
    layer = found[1]
    if found[2] is None:
        return None if transcoder else (f"resid_post.{layer}", f"resid_post.{layer}")
    return (f"{'mlp_in' if transcoder else 'mlp_out'}.{layer}", f"mlp_out.{layer}")


def told(
    asked: Asked, found: tuple[str | None, str | None], source: Path, said: str
) -> tuple[str, str]:
    """(read, written): what the user says before what the files say.

    Raises:
        InputError: neither says it, or it is no site.
    """
    site_in = asked.site_in or found[0]
    site_out = asked.site_out or (found[1] if found[0] != found[1] else site_in)
    if site_in is None or site_out is None:
        raise InputError(
            f"{source} does not say at which site it reads and writes ({said})",
            expected="a site such as resid_post.5",
            next_step="pass --site (and --to for a transcoder)",
        )
    for name in (site_in, site_out):
        for site in name.split("+"):
            Site.parse(site.removesuffix(NO_GAIN).rpartition(":")[2])
    return site_in, site_out


def through_norm(
    sites: tuple[str, str], weights: Weights, asked: Asked, source: Path
) -> tuple[tuple[str, str], Weights]:
    """Sites of ours, and weights that read them: x̂ = (x - bias) / gain, with gain and bias of the
    norm before the MLP, so W' = W / gain and b' = b - W'·bias.

    Raises:
        InputError: no model was passed, or it has no such norm.
    """
    names = sites[0].split("+")
    if not any(name.endswith(NO_GAIN) for name in names):
        return sites, weights
    plain = "+".join(name.removesuffix(NO_GAIN) for name in names)
    if asked.model is None:
        raise InputError(
            f"{source} reads {plain} before the gain of its norm",
            expected="the model, whose gain is folded into the encoder",
            next_step=f"pass --model, or --site {plain} if its weights read what the MLP reads",
        )
    norms = [_norm(asked.model, name) for name in names]
    gain, bias = (torch.stack(part) for part in zip(*norms, strict=True))
    found = dict(weights)
    for key, constant in (("W_enc", "b_enc"), ("W_glu", "b_glu"), ("W_skip", "b_dec")):
        if key in found:
            W, g, b = found[key], gain, bias
            if W.ndim == 2 and W.shape[1] == gain.numel():  # what is read lies side by side
                W, g, b = W[None], gain.reshape(1, -1), bias.reshape(1, -1)
            elif W.ndim == 2:  # each site's share of the features reads it
                W = W.reshape(len(names), -1, gain.shape[1])
            divided = W / g[:, None]
            found[key] = divided.reshape(found[key].shape)
            found[constant] = found[constant] - (divided @ b[..., None]).flatten()
    return (plain, sites[1]), found


def _norm(model: Model, name: str) -> tuple[Tensor, Tensor]:
    """Gain and bias of the norm that a site's marked name asks for; 1 and 0 for any other."""
    site = model.site(name.removesuffix(NO_GAIN))
    if site.layer is None or not name.endswith(NO_GAIN):
        return torch.ones(model.d_model), torch.zeros(model.d_model)
    norm = model.structure.blocks[site.layer].mlp_norm
    gain = None if norm is None else norm.weight
    if norm is None or gain is None or bool((gain.abs() < 1e-6).any()):
        raise InputError(
            f"{model.name} has no norm with a gain before {site}, or a gain that is 0",
            expected="a gain to divide by",
            next_step="check that the dictionary is one of this model",
        )
    bias = getattr(norm.module, "bias", None)
    shift = torch.zeros_like(gain) if bias is None else bias.detach().float()
    return gain.detach().cpu(), shift.cpu()
