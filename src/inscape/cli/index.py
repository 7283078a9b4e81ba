"""`inscape index`: what every feature of a dictionary does."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from inscape.cli.common import Device, Json, OnlyThese, is_atlas, print_entries, refuse_options


def command(
    context: typer.Context,
    source: Annotated[
        Path, typer.Argument(metavar="ATLAS|STORE", help="An atlas, or a store of activations.")
    ],
    model: Annotated[str | None, typer.Option(help="Store: the model it was made with.")] = None,
    folder: Annotated[
        Path | None, typer.Option("--dictionary-folder", help="Store: a dictionary's folder.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Store: the folder of the index.")] = None,
    dictionary: OnlyThese = None,
    device: Device = None,
    json: Json = False,
) -> None:
    """Index the features: density, histogram, examples, promoted and suppressed tokens."""
    if is_atlas(source):
        refuse_options(context, "Store")
        from inscape.atlas import Atlas, index_atlas
        from inscape.storage import lock

        with lock(source):
            found = index_atlas(Atlas.open(source, device=device), dictionary)
    else:
        refuse_options(context, "Atlas")
        found = [_index_store(source, model, folder, out, device)]
    print_entries([_shown(index) for index in found], json)


def _index_store(
    source: Path, model: str | None, folder: Path | None, out: Path | None, device: str | None
) -> Any:
    from inscape.activations import ActivationStore
    from inscape.core import InputError
    from inscape.dictionary import Dictionary
    from inscape.features import build_index
    from inscape.model import Model

    store = ActivationStore.open(source)
    if model is None or folder is None or out is None:
        raise InputError("indexing a store needs --model, --dictionary-folder and --out")
    opened = Model.open(model, device=device)
    return build_index(opened, Dictionary.open(folder, device=opened.device), store, out)


def _shown(index: Any) -> dict[str, Any]:
    return {
        "index": str(index.folder),
        "dictionary": index.dictionary,
        "features": index.num_features,
        "tokens": index.num_considered,
        "fired": int((index.num_active > 0).sum()),
    }
