"""`inscape build`: from a model and a text to an atlas."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from inscape.cli import common

if TYPE_CHECKING:
    from inscape.atlas import Atlas


_OPTIONS = {"layer": "layers"}  # what an option is called in a recipe


def command(
    typed: typer.Context,
    model: common.ModelName,
    text: common.Text,
    out: Annotated[Path, typer.Option(help="The folder of the atlas.")],
    recipe: Annotated[
        Path | None,
        typer.Option(
            help="A TOML file of settings, named as in BuildConfig; an option given as well wins."
        ),
    ] = None,
    layer: Annotated[
        list[int] | None,
        typer.Option(
            help="A layer after which the residual stream gets a dictionary, repeatable; "
            "default: the middle."
        ),
    ] = None,
    transcoders: Annotated[
        bool, typer.Option(help="Train a transcoder for every MLP, which traces read.")
    ] = True,
    expansion: Annotated[
        int, typer.Option(help="Features of the residual stream's dictionary, times its width.")
    ] = 16,
    neurons: Annotated[bool, typer.Option(help="Index the neurons of every layer too.")] = False,
    transcoder_expansion: Annotated[
        int | None, typer.Option(help="The same for each transcoder; default: half of --expansion.")
    ] = None,
    k: Annotated[
        int | None, typer.Option(help="Active features per token; default: width / 8.")
    ] = None,
    context: common.RowTokens = None,
    max_tokens: Annotated[int, typer.Option(help="Tokens of the text to read at most.")] = 10**6,
    train_tokens: Annotated[
        int, typer.Option(help="Tokens that each dictionary sees in training, repetitions counted.")
    ] = 2_000_000,
    memory: common.Memory = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            help="Only this step: harvest (which stores activations), train, index, label or map; "
            "repeatable. Default: all but harvest, and map where umap-learn is installed."
        ),
    ] = None,
    seed: common.Seed = 0,
    bos: common.Bos = None,
    device: common.Device = None,
    trust_remote_code: common.TrustCode = False,
    json: common.Json = False,
) -> None:
    """Make an atlas of MODEL: train, index, label and map in one go.

    Run again after a stop, it goes on where it was.
    """
    from inscape.atlas import BuildConfig, build, read_recipe
    from inscape.core import keep_freed_memory

    keep_freed_memory()
    settings: dict[str, Any] = {
        "layers": tuple(layer) if layer else None,
        "transcoders": transcoders,
        "neurons": neurons,
        "expansion": expansion,
        "transcoder_expansion": transcoder_expansion,
        "k": k,
        "transcoder_k": k,
        "context": context,
        "max_tokens": max_tokens,
        "train_tokens": train_tokens,
        "batch_size": min(1024, train_tokens),
        "memory": memory,
        "seed": seed,
    }
    if recipe is not None:
        given = {_OPTIONS.get(name, name) for name in common.given(typed)}
        settings = {name: value for name, value in settings.items() if name in given}
        settings = {**read_recipe(recipe), **settings}
    config = BuildConfig(**settings)
    opened = common.open_model(model, device, bos, trust_remote_code)
    atlas = build(opened, text, out, config, source=model, only=only)
    name = atlas.record["model"]["name"]
    counts = {one: _counts(atlas, one) for one in atlas.dictionary_names}
    if json:
        common.print_json({"atlas": str(atlas.path), "model": name, "dictionaries": counts})
    else:
        heads = ("features", "tokens", "fired", "labelled")
        rows = [[one, *(str(of.get(head, "–")) for head in heads)] for one, of in counts.items()]
        common.print_table([f"dictionary of {name}", *heads], rows)
    common.note(f'next: inscape trace {out} "a prompt"')


def _counts(atlas: Atlas, name: str) -> dict[str, int]:
    counts = {"features": atlas.dictionary(name).d_dict}
    if atlas.is_indexed(name):
        index = atlas.features(name)
        counts["tokens"] = index.num_considered
        counts["fired"] = int((index.num_active > 0).sum())
        counts["labelled"] = sum(one.name is not None for one in atlas.labels(name) or ())
    return counts
