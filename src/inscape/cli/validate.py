"""`inscape validate`: what the dictionaries keep and lose, and whether traces hold."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from inscape.cli import common

# What the figures are called for people, with the unit.
_NAMES = {
    "text": ("measured on", ""),
    "ce_clean": ("loss of the model", "nats per token"),
    "ce_dict": ("loss with the dictionary", "nats per token"),
    "ce_zero": ("loss with zeros in its place", "nats per token"),
    "ce_mean": ("loss with the mean in its place", "nats per token"),
    "extra_ce": ("loss that it adds", "nats per token"),
    "loss_recovered_zero": ("loss recovered over zeros", ""),
    "loss_recovered_mean": ("loss recovered over the mean", ""),
    "kl": ("KL from the model", "nats per token"),
    "fvu": ("unexplained variance (FVU)", ""),
    "ev": ("explained variance, centred", ""),
    "l0": ("active features per token (L0)", ""),
    "num_tokens": ("tokens", ""),
    "num_predictions": ("predicted tokens", ""),
    "num_documents": ("documents", ""),
    "dead_share": ("fraction of features that never fired", ""),
    "index_tokens": ("in an index over", "tokens"),
    "dead_share_is_firm": ("which is enough to tell", ""),
    "label_accuracy": ("labels are right on, in the median", ""),
    "labels_scored": ("over", "labels"),
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
        checked = _edges(opened, edges)
        common.show([checked] if json else _worst(checked), json)
        return
    found = opened.validate(text, dictionary, max_tokens=max_tokens, seed=seed, save=False)
    results = [figures.to_json() for figures in found]
    common.show(results if json else [_for_people(figures) for figures in results], json)
    for figures in found:
        opened.save(figures)  # they are printed by now, whether or not they can be saved


def _for_people(figures: dict[str, Any]) -> dict[str, Any]:
    """One level of named values, with units and intervals."""
    measured = figures["fidelity"]
    order = ("dictionary", "text", *measured, *(name for name in _NAMES if name in figures))
    shown = {}
    for name in dict.fromkeys(order):
        value = measured.get(name, figures.get(name))
        words, unit = _NAMES.get(name, (name, ""))
        if name in ("each", "interval"):
            continue
        if isinstance(value, bool):
            value = "yes" if value else "no"
        text = (
            f"{value:.4g}" if isinstance(value, float) else str("none" if value is None else value)
        )
        text += f" {unit}" if unit else ""
        if name in measured["interval"]:
            low, high = measured["interval"][name]
            text += f" (95 %: {low:.4g} to {high:.4g})"
        shown[words] = text
    return shown


def _edges(opened: Any, prompt: str) -> dict[str, Any]:
    from inscape.storage import plain
    from inscape.validation import check_edges

    graph = opened.trace(prompt, save=False)
    return {"prompt": prompt, **plain(check_edges(opened.model, opened.transcoders(), graph))}


def _worst(check: dict[str, Any]) -> dict[str, Any]:
    """The check with its worst edge in words."""
    source, target, edge, measured = check["worst"]
    worst = f"node {source} to node {target}: edge {edge:.6g}, measured {measured:.6g}"
    return {**check, "worst": worst}
