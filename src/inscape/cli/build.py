"""`inscape build`: from a model and a text to an atlas."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from inscape.cli.common import (
    Bos,
    Device,
    Json,
    ModelName,
    RowTokens,
    Seed,
    Text,
    TrustCode,
    note,
    print_json,
    rows,
)

if TYPE_CHECKING:
    from inscape.atlas import Atlas


def command(
    model: ModelName,
    text: Text,
    out: Annotated[Path, typer.Option(help="The folder of the atlas.")],
    layer: Annotated[
        int | None, typer.Option(help="The layer of the residual dictionary; default: the middle.")
    ] = None,
    transcoders: Annotated[
        bool, typer.Option(help="Train a transcoder for every MLP; traces need them.")
    ] = True,
    expansion: Annotated[int, typer.Option(help="Features per dimension of the residual.")] = 16,
    transcoder_expansion: Annotated[
        int | None, typer.Option(help="The same for each transcoder; default: half of --expansion.")
    ] = None,
    k: Annotated[
        int | None, typer.Option(help="Active features per token; default: d_model / 8.")
    ] = None,
    context: RowTokens = None,
    max_tokens: Annotated[int, typer.Option(help="Tokens to harvest at most.")] = 1_000_000,
    train_tokens: Annotated[
        int, typer.Option(help="Tokens that each dictionary sees in training.")
    ] = 2_000_000,
    only: Annotated[
        list[str] | None,
        typer.Option(
            help="Only this step: harvest (which stores activations), train, index or label; "
            "repeatable. Default: all but harvest."
        ),
    ] = None,
    seed: Seed = 0,
    bos: Bos = None,
    device: Device = None,
    trust_remote_code: TrustCode = False,
    json: Json = False,
) -> None:
    """Make an atlas of MODEL: train, index and label in one go.

    Run again after a stop, it goes on where it was.
    """
    from inscape.atlas import BuildConfig, build
    from inscape.core import keep_freed_memory
    from inscape.model import Model

    keep_freed_memory()

    config = BuildConfig(
        layer=layer,
        transcoders=transcoders,
        expansion=expansion,
        transcoder_expansion=transcoder_expansion,
        k=k,
        transcoder_k=k,
        context=context,
        max_tokens=max_tokens,
        train_tokens=train_tokens,
        batch_size=min(1024, train_tokens),
        seed=seed,
    )
    opened = Model.open(
        model, device=device, bos=bos or "auto", trust_remote_code=trust_remote_code
    )
    atlas = build(opened, text, out, config, source=model, only=only)
    result = {
        "atlas": str(atlas.path),
        "model": atlas.record["model"]["name"],
        "dictionaries": {name: _counts(atlas, name) for name in atlas.dictionary_names},
    }
    if json:
        print_json(result)
        return
    rows({"model": result["model"]})
    for name, figures in result["dictionaries"].items():
        counts = ", ".join(f"{count} {what}" for what, count in figures.items())
        typer.echo(f"{name}: {counts}")
    note(f'next: inscape trace {out} "a prompt"')


def _counts(atlas: Atlas, name: str) -> dict[str, int]:
    counts = {"features": atlas.dictionary(name).d_dict}
    if atlas.is_indexed(name):
        index, labels = atlas.features(name), atlas.labels(name)
        counts["tokens"] = index.num_considered
        counts["fired"] = int((index.num_active > 0).sum())
        counts["labelled"] = len(labels or ())
    return counts
