"""`inscape validate`: what the dictionaries keep and lose, and whether traces hold."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from inscape.cli import common

if TYPE_CHECKING:
    from inscape.atlas import Quality

_NATS = "nats per token"
# What the figures are called for people, with their unit.
_NAMES = {
    "ce_clean": ("loss of the model", _NATS),
    "ce_dict": ("loss with the dictionary", _NATS),
    "ce_zero": ("loss with zeros in its place", _NATS),
    "ce_mean": ("loss with the mean in its place", _NATS),
    "extra_ce": ("loss that it adds", _NATS),
    "loss_recovered_zero": ("loss recovered over zeros", ""),
    "loss_recovered_mean": ("loss recovered over the mean", ""),
    "kl": ("KL from the model", _NATS),
    "fvu": ("unexplained variance (FVU)", ""),
    "ev": ("explained variance, centred", ""),
    "l0": ("active features per token (L0)", ""),
    "num_tokens": ("tokens", ""),
    "num_predictions": ("predicted tokens", ""),
    "num_documents": ("documents", ""),
}


def command(
    atlas: common.AtlasFolder,
    text: Annotated[
        Path | None, typer.Option(help="Measure on this text; default: the atlas's own.")
    ] = None,
    dictionary: common.OnlyThese = None,
    max_tokens: Annotated[int, typer.Option(min=1, help="Tokens to measure on.")] = 20_000,
    edges: Annotated[
        str | None,
        typer.Option(
            metavar="PROMPT",
            help="Instead check every edge of this prompt's graph against an intervention.",
        ),
    ] = None,
    seed: common.Seed = 0,
    model: common.MovedModel = None,
    bos: common.Bos = None,
    device: common.Device = None,
    json: common.Json = False,
) -> None:
    """Measure the dictionaries of an atlas: loss recovered, FVU, L0, density, labels."""
    opened = common.open_atlas(atlas, model, device, bos)
    if edges is not None:
        checked = _edges(opened, edges, dictionary)
        common.show([checked] if json else _edges_in_words(checked), json)
        return
    found = opened.validate(text, dictionary, max_tokens=max_tokens, seed=seed, save=False)
    common.show([f.to_json() if json else _for_people(f) for f in found], json)
    for figures in found:
        opened.save(figures)  # they are printed by now, whether or not they can be saved


def _for_people(figures: Quality) -> dict[str, str]:
    """One level of named values, with units and intervals."""
    shown = {"dictionary": figures.dictionary, "measured on": figures.text}
    for name, (words, unit) in _NAMES.items():
        value = getattr(figures.fidelity, name)
        shown[words] = f"{value:.4g}" if isinstance(value, float) else str(value)
        shown[words] += f" {unit}" if unit else ""
        if name in figures.fidelity.interval:
            low, high = figures.fidelity.interval[name]
            shown[words] += f" (95 %: {low:.4g} to {high:.4g})"
    if figures.dead_share is not None:
        sure = "" if figures.dead_share_is_firm else ", too few to be sure"
        rest = f"over {figures.index_tokens} tokens{sure}"
        shown["features that never fired"] = f"{figures.dead_share:.2%} ({rest})"
    if figures.label_auroc is not None:
        rest = f"{figures.labels_scored} labels; 0.5 is chance"
        shown["AUROC of labels, in the median"] = f"{figures.label_auroc:.3f} ({rest})"
    if figures.num_unclear:
        shown["features whose meaning is unclear"] = f"{figures.num_unclear}, not labelled"
    return shown


def _edges(opened: Any, prompt: str, names: list[str] | None) -> dict[str, Any]:
    from inscape.storage import plain
    from inscape.validation import check_edges

    graph = opened.trace(prompt, names=names, save=False)
    found = check_edges(opened.model, opened.transcoders(names), graph)
    return {"prompt": prompt, **plain(found)}


def _edges_in_words(check: dict[str, Any]) -> dict[str, Any]:
    """The check in words."""
    source, target, edge, measured = check["worst"]
    return {
        "prompt": check["prompt"],
        "edges checked": f"{check['num_edges']:,}, of which {check['num_zero']:,} are zero",
        "nodes": f"{check['num_sources']} sources, {check['num_targets']} targets",
        "largest error": f"{check['max_error']:.2g} of the largest edge into the node",
        "worst": f"node {source} to node {target}: edge {edge:.6g}, measured {measured:.6g}",
    }
