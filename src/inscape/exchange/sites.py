"""Places in a model by the names that other libraries give them.

TransformerLens: blocks.L.hook_resid_pre and so on. Its normalised MLP input (ln2.hook_normalized)
comes before the norm's gain and bias, our mlp_in.L after them: a dictionary that reads it is
written `mlp_in.L` + NO_GAIN, until `format.through_norm` folds the gain of the model in.
Hugging Face module paths (sparsify): layers.L is the block's output, layers.L.mlp the MLP.
"""

from __future__ import annotations

import re

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
