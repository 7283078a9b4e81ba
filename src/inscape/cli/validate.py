"""`inscape validate`: what the dictionaries keep and lose, and whether traces hold."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from inscape.cli.common import (
    AtlasFolder,
    Bos,
    Device,
    Json,
    MovedModel,
    OnlyThese,
    Seed,
    open_atlas,
    print_entries,
    print_json,
)

_NATS = ("ce_clean", "ce_dict", "ce_zero", "ce_mean", "extra_ce", "kl")


def command(
    atlas: AtlasFolder,
    text: Annotated[
        Path | None, typer.Option(help="Measure on this text; default: the atlas's own.")
    ] = None,
    dictionary: OnlyThese = None,
    max_tokens: Annotated[int, typer.Option(min=1, help="Tokens to measure on.")] = 20_000,
    edges: Annotated[
        str | None,
        typer.Option(
            metavar="PROMPT",
            help="Instead hold every edge of this prompt's graph against an intervention.",
        ),
    ] = None,
    seed: Seed = 0,
    model: MovedModel = None,
    bos: Bos = None,
    device: Device = None,
    json: Json = False,
) -> None:
    """Measure the dictionaries of an atlas: loss recovered, FVU, L0, density, labels."""

    opened = open_atlas(atlas, model, device, bos)
    result: Any
    if edges is not None:
        result = [_edges(opened, edges)]
    else:
        found = opened.validate(text, dictionary, max_tokens=max_tokens, seed=seed, save=False)
        result = [figures.to_json() for figures in found]
    if json:
        print_json(result)
    else:
        print_entries(map(_for_people, result), json=False)
    # What was found is printed by now, whether or not it can be saved for the report.
    for figures in result if edges is None else ():
        opened.save("quality", figures["dictionary"], figures)


def _for_people(figures: dict[str, Any]) -> dict[str, Any]:
    """One level of named values, with units and intervals."""
    shown = {k: v for k, v in figures.items() if k not in ("schema", "version")}
    measured = shown.pop("fidelity", {})
    intervals = measured.pop("interval", {})
    measured.pop("each", None)
    for name, value in measured.items():
        text = f"{value:.4g}" if isinstance(value, float) else str(value)
        text += " nats per token" if name in _NATS else ""
        if name in intervals:
            low, high = intervals[name]
            text += f" (95%: {low:.4g} to {high:.4g})"
        shown[name] = text
    if "worst" in shown:
        source, target, edge, found = shown["worst"]
        shown["worst"] = f"node {source} to node {target}: edge {edge:.6g}, measured {found:.6g}"
    return shown


def _edges(opened: Any, prompt: str) -> dict[str, Any]:
    from inscape.storage import plain
    from inscape.validation import check_edges

    graph = opened.trace(prompt, save=False)
    check = check_edges(opened.model, opened.transcoders(), graph)
    found: dict[str, Any] = plain(check)
    return {"prompt": prompt, **found}
