"""`inscape index`: what every feature of a dictionary does."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from inscape.cli.common import (
    AtlasFolder,
    Bos,
    Device,
    Json,
    OnlyThese,
    open_or_create,
    print_entries,
)


def command(
    atlas: AtlasFolder,
    dictionary: OnlyThese = None,
    text: Annotated[
        Path | None,
        typer.Option(help="The text to index over; default: the atlas's stored activations."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="The model: where it has moved, or to make an atlas that is not there."),
    ] = None,
    bos: Bos = None,
    device: Device = None,
    json: Json = False,
) -> None:
    """Index the features: density, histogram, examples, promoted and suppressed tokens.

    The neurons of a layer are a dictionary that needs no training: --dictionary mlp_act.14.
    """
    found = open_or_create(atlas, model, device, bos).index(dictionary, text=text)
    print_entries([_shown(index) for index in found], json)


def _shown(index: Any) -> dict[str, Any]:
    return {
        "index": str(index.folder),
        "dictionary": index.dictionary,
        "features": index.num_features,
        "tokens": index.num_considered,
        "fired": int((index.num_active > 0).sum()),
    }
