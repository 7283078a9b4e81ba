"""`inscape index`: what every feature of a dictionary does."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from inscape.cli import common


def command(
    atlas: common.AtlasFolder,
    dictionary: common.OnlyThese = None,
    text: Annotated[
        Path | None,
        typer.Option(help="The text to index over; default: the atlas's stored activations."),
    ] = None,
    max_tokens: Annotated[
        int | None,
        typer.Option(min=1, help="Tokens of the text to read at most; default: as in the build."),
    ] = None,
    examples_only: Annotated[
        bool,
        typer.Option("--examples-only", help="Keep statistics and examples, a tenth of the size."),
    ] = False,
    model: Annotated[
        str | None,
        typer.Option(help="The model: where it has moved, or to make an atlas that is not there."),
    ] = None,
    bos: common.Bos = None,
    device: common.Device = None,
    json: common.Json = False,
) -> None:
    """Index the features: density, histogram, examples, promoted and suppressed tokens.

    The neurons of a layer are a dictionary that needs no training: --dictionary mlp_act.14.
    """
    with common.open_or_create(atlas, model, device, bos) as opened:
        indexes = opened.index(
            dictionary, text=text, max_tokens=max_tokens, activations=not examples_only
        )
    made = [
        {
            "index": str(index.folder),
            "dictionary": index.dictionary,
            "features": index.num_features,
            "tokens": index.num_considered,
            "duplicates": index.manifest["num_duplicates"],
            "fired": int((index.num_active > 0).sum()),
        }
        for index in indexes
    ]
    common.show(made, json)
