"""`inscape search`: features of an atlas by words, prompts, likeness, differences and figures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from inscape.cli import common


def command(
    atlas: common.AtlasFolder,
    text: Annotated[
        str | None, typer.Argument(metavar="TEXT", help="Words that describe the features.")
    ] = None,
    token: Annotated[
        bool, typer.Option("--token", help="Find the features that fire on TEXT, a token or word.")
    ] = False,
    prompt: Annotated[
        bool,
        typer.Option("--prompt", help="Find the features that are at work in TEXT as a prompt."),
    ] = False,
    chat: common.Chat = False,
    like: Annotated[
        str | None,
        typer.Option(help="A feature, as in resid_post.14/692: find those that point its way."),
    ] = None,
    difference: Annotated[
        tuple[Path, Path] | None,
        typer.Option(
            metavar="FIRST SECOND",
            help="Two files of texts, one a line (.txt) or a row (.jsonl, .parquet): find the "
            "features that tell them apart.",
        ),
    ] = None,
    where: Annotated[
        str | None,
        typer.Option(
            help='Only features with such figures: "density<0.001, auroc>=0.9, kind=concept"; of '
            "density, max, mean, active, auroc, near and kind."
        ),
    ] = None,
    dictionary: common.OnlyThese = None,
    limit: Annotated[int, typer.Option(min=1, help="Most features to list.")] = 20,
    seed: common.Seed = 0,
    model: common.MovedModel = None,
    bos: common.Bos = None,
    device: common.Device = None,
    json: common.Json = False,
) -> None:
    """Find features by words and their meaning: in labels, examples and promoted tokens."""
    from inscape.core import quoted

    opened = common.open_atlas(atlas, model, device, bos)
    found = opened.search(
        None if text is None else common.read_prompt(text, chat),
        token=token,
        prompt=prompt or chat,
        like=like,
        difference=difference,
        where=where,
        names=dictionary,
        limit=limit,
        seed=seed,
    )
    if json:
        common.print_json([vars(hit) for hit in found])
    elif found:
        rows = [
            (
                hit.id,
                hit.label or "–",
                hit.kind or "–",
                "–" if hit.auroc is None else f"{hit.auroc:.2f}",
                " ".join(quoted(token.strip() or token) for token in hit.tokens),
                f"{hit.score:.2f}",
                hit.why,
            )
            for hit in found
        ]
        heads = ["feature", "label", "kind", "AUROC", "fires on", "score", "found because"]
        common.print_table(heads, rows)
    else:
        typer.echo("no feature was found")
