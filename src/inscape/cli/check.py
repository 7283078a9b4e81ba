"""`inscape check`: which concepts the dictionaries of an atlas have features for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from inscape.cli import common

if TYPE_CHECKING:
    from inscape.validation import ConceptCheck, ConceptChecks

_BESIDE = ("dimension", "neuron", "token", "probe")
FEW = 8  # texts of a kind, below which a figure says little


def command(
    atlas: common.AtlasFolder,
    concepts: Annotated[
        Path | None,
        typer.Option(help="A file of concepts (TOML); default: concepts of everyday life."),
    ] = None,
    dictionary: common.OnlyThese = None,
    max_tokens: Annotated[int, typer.Option(min=2, help="Tokens of each text to read.")] = 128,
    seed: common.Seed = 0,
    model: common.MovedModel = None,
    bos: common.Bos = None,
    device: common.Device = None,
    json: common.Json = False,
) -> None:
    """Check which concepts have a feature, or a union of up to three, that tells their texts from
    others. Chosen on one half of the texts, judged on the other; exit code 1 where one is missed.
    """
    opened = common.open_atlas(atlas, model, device, bos)
    file = {} if concepts is None else {"concepts": concepts}
    found = opened.check(names=dictionary, max_tokens=max_tokens, seed=seed, save=False, **file)
    if json:
        common.print_json(found)
    else:
        _print(found)
    common.save(opened, found)
    if found.missed:
        raise typer.Exit(1)


def _print(found: ConceptChecks) -> None:
    heads = ["concept", "AUROC", "(95 %)", "precision", "recall", *_BESIDE, "verdict", "by"]
    common.print_table(heads, [_row(check, found) for check in found.checks])
    ahead = sum(check.is_ahead("dimension", "neuron") for check in found.checks)
    num = len(found.checks)
    typer.echo(
        f"\n{num - len(found.missed)} of {num} concepts found; better than the best dimension and "
        f"neuron in {ahead}. Chosen on half of {found.num_texts} texts, judged on the other half. "
        "Words that all texts of a concept have in common are in both halves."
    )
    num_texts = {c.name: min(c.num_matching, c.num_distracting) for c in found.checks}
    few = [name for name, number in num_texts.items() if number < FEW]
    if few:
        typer.echo(f"judged on fewer than {FEW} texts of a kind: {', '.join(few)}.")
    if found.missed:
        tried = "; ".join(f"{name}: {what}" for name, what in found.dictionaries.items())
        names = ", ".join(check.name for check in found.missed)
        typer.echo(f"not found: {names}. Tried: single features and unions of three of {tried}.")


def _row(check: ConceptCheck, found: ConceptChecks) -> list[str]:
    beside = [f"{check.beside[k].auroc:.2f}" if k in check.beside else "" for k in _BESIDE]
    best = check.union
    if best is None:
        return [check.name, "–", "", "", "", *beside, "not found", "no feature fires on it"]
    low, high = best.interval
    return [
        check.name,
        f"{best.auroc:.2f}",
        f"({low:.2f}–{high:.2f})",
        f"{best.precision:.0%}",
        f"{best.recall:.0%}",
        *beside,
        "found" if check.is_found else f"below {check.threshold:.2f}",
        " or ".join(f"{id} {found.labels.get(id, '')}".strip() for id in best.parts),
    ]
