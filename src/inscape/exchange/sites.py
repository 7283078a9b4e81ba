"""Places in a model by the names that other libraries give them.

TransformerLens: blocks.L.hook_resid_pre and so on. Its normalised MLP input (ln2.hook_normalized)
is none of ours: there the norm's weights are folded into the MLP, ours reads them in.
Hugging Face module paths (sparsify): layers.L is the block's output, layers.L.mlp the MLP.
"""

from __future__ import annotations

import re
from pathlib import Path

from inscape.core import InputError
from inscape.exchange.format import Asked

_HOOKS = {
    "hook_resid_pre": "resid_pre",
    "hook_resid_mid": "resid_mid",
    "hook_resid_post": "resid_post",
    "hook_attn_out": "attn_out",
    "hook_mlp_out": "mlp_out",
}
_MLP_HOOKS = {"mlp.hook_in": "mlp_in", "mlp.hook_out": "mlp_out"}
_NAMES = {site: hook for hook, site in _HOOKS.items()}


def of_hook(hook: str | None) -> str | None:
    """The site of a TransformerLens hook, None where we have none."""
    found = re.fullmatch(r"blocks\.(\d+)\.(\w+)", hook or "")
    if found is None or found[2] not in _HOOKS:
        return None
    return f"{_HOOKS[found[2]]}.{found[1]}"


def kind_of_hook(hook: str | None) -> str | None:
    """The kind of site of a hook in any layer (hook_resid_mid, mlp.hook_in), None where we have
    none."""
    return {**_HOOKS, **_MLP_HOOKS}.get(hook or "")


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
        InputError: neither says it.
    """
    site_in = asked.site_in or found[0]
    site_out = asked.site_out or (found[1] if asked.site_in is None or found[1] else site_in)
    if site_in is None or site_out is None:
        raise InputError(
            f"{source} does not say at which site it reads and writes ({said})",
            expected="a site such as resid_post.5",
            next_step="pass --site (and --to for a transcoder)",
        )
    return site_in, site_out
