"""`inscape validate`: what the dictionaries keep and lose, and whether traces hold."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from inscape.cli.common import AtlasFolder, Device, Json, Seed, print_json, rows


def command(
    atlas: AtlasFolder,
    text: Annotated[
        Path | None, typer.Option(help="Measure on this text; default: the atlas's own.")
    ] = None,
    dictionary: Annotated[
        list[str] | None, typer.Option(help="Only this dictionary, repeatable.")
    ] = None,
    max_tokens: Annotated[int, typer.Option(min=1, help="Tokens to measure on.")] = 20_000,
    edges: Annotated[
        str | None,
        typer.Option(
            metavar="PROMPT",
            help="Instead hold every edge of this prompt's graph against an intervention.",
        ),
    ] = None,
    seed: Seed = 0,
    device: Device = None,
    json: Json = False,
) -> None:
    """Measure the dictionaries of an atlas: loss recovered, FVU, L0, density, labels."""
    from inscape.atlas import Atlas, quality
    from inscape.storage import plain

    opened = Atlas.open(atlas, device=device)
    result: Any
    if edges is not None:
        result = [_edges(opened, edges)]
    else:
        found = quality(opened, text=text, names=dictionary, max_tokens=max_tokens, seed=seed)
        result = [plain(figures) for figures in found]
    if json:
        print_json(result)
        return
    for figures in result:
        nested = figures.pop("fidelity", {})
        intervals = nested.pop("interval", {})
        nested.pop("each", None)
        rows({**figures, **{name: _shown(value, intervals.get(name))
                            for name, value in nested.items()}})  # fmt: skip
        typer.echo("")


def _shown(value: Any, interval: Any) -> Any:
    if interval is None:
        return value
    return f"{value:.4g} ({interval[0]:.4g} to {interval[1]:.4g})"


def _edges(opened: Any, prompt: str) -> dict[str, Any]:
    from inscape.attribution import trace
    from inscape.storage import plain
    from inscape.validation import check_edges

    graph = trace(opened.model, opened.transcoders(), prompt)
    check = check_edges(opened.model, opened.transcoders(), graph)
    found: dict[str, Any] = plain(check)
    return {"prompt": prompt, **found}
