"""`inscape index`: what every feature of a dictionary does."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from inscape.cli import common

if TYPE_CHECKING:
    from inscape.atlas import Atlas


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

    Several dictionaries are indexed in one pass over the text, which goes on where it was stopped.
    With torchrun, several processes share it. The neurons of a layer are a dictionary that needs no
    training: --dictionary mlp_act.14.
    """
    from inscape.core import pick_device
    from inscape.training import connected

    with connected(device=str(pick_device(device))) as ranks:
        to_open = common.open_or_create if ranks.alone else _opened
        with to_open(atlas, model, device, bos) as opened:
            indexes = opened.index(
                dictionary,
                text=text,
                max_tokens=max_tokens,
                activations=not examples_only,
                ranks=ranks,
            )
    if not ranks.first:
        return
    made = [
        {
            "index": str(index.folder),
            "dictionary": index.dictionary,
            "features": index.num_features,
            "tokens": index.num_considered,
            "duplicate_documents": index.manifest["num_duplicates"],
            "fired": int((index.num_active > 0).sum()),
        }
        for index in indexes
    ]
    common.show(made, json)


def _opened(*given: Any) -> AbstractContextManager[Atlas]:
    return nullcontext(common.open_atlas(*given))
