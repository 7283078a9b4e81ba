"""`inscape validate`: what the dictionaries keep and lose, and whether traces hold."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from inscape.cli.common import AtlasFolder, Device, Json, Seed, print_entries, print_json

_NATS = ("ce_clean", "ce_dict", "ce_zero", "ce_mean", "extra_ce", "kl")


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
    row: Annotated[
        list[str] | None, typer.Option(help="Only this row of the microworld's table, repeatable.")
    ] = None,
    seed: Seed = 0,
    device: Device = None,
    json: Json = False,
) -> None:
    """Measure the dictionaries of an atlas: loss recovered, FVU, L0, density, labels.

    Of the bundled microworld's atlas (made by `inscape demo`) the table of claims is measured
    against its known truth instead, unless --text, --dictionary or --edges ask otherwise.
    """
    from inscape.atlas import Atlas, quality
    from inscape.storage import plain

    opened = Atlas.open(atlas, device=device)
    if text is None and dictionary is None and edges is None and is_microworld(opened):
        _table(opened, row or [], seed, json)
        return
    if row:
        _refuse_rows(atlas, row)
    result: Any
    if edges is not None:
        result = [_edges(opened, edges)]
    else:
        found = quality(opened, text=text, names=dictionary, max_tokens=max_tokens, seed=seed)
        result = [plain(figures) for figures in found]
    if json:
        print_json(result)
        return
    print_entries(map(_for_people, result), json=False)


def is_microworld(opened: Any) -> bool:
    """Whether an atlas is of the bundled model, with its present weights."""
    from inscape.microworld import open_model

    return bool(opened.record["model"]["hash"] == open_model().hash)


def _refuse_rows(atlas: Path, row: list[str]) -> None:
    from inscape.core import InputError

    raise InputError(
        f"row {row[0]!r} asked of {atlas}, whose truth is not known",
        expected="the atlas of the bundled microworld, without --text, --dictionary and --edges",
        next_step="make one with inscape demo",
    )


def _table(opened: Any, names: list[str], seed: int, json: bool) -> None:
    """The rows, each printed as soon as it is measured."""
    from inscape.benchmark import System, run_rows
    from inscape.storage import read_json

    system = System(
        opened.model,
        opened.dictionary(opened.residual),
        opened.index(opened.residual),
        opened.transcoders(),
        opened.feature_label,
    )
    record = opened.path.parent / "demo.json"
    demo = read_json(record) if record.is_file() else None
    measured = []
    for row in run_rows(system, names, seed=seed, demo=demo):
        measured.append(row.to_json())
        if not json:
            typer.echo(row.text())
    if json:
        print_json(measured)


def _for_people(figures: dict[str, Any]) -> dict[str, Any]:
    """One level of named values, with units and intervals."""
    shown = dict(figures)
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
    from inscape.attribution import trace
    from inscape.storage import plain
    from inscape.validation import check_edges

    graph = trace(opened.model, opened.transcoders(), prompt)
    check = check_edges(opened.model, opened.transcoders(), graph)
    found: dict[str, Any] = plain(check)
    return {"prompt": prompt, **found}
