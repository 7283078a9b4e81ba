"""`inscape export`: an atlas or a dictionary for others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from inscape.cli import common

_ATLAS = "huggingface, neuronpedia, pages"
_DICTIONARY = "saelens, dictionary_learning, sparsify, gemma_scope, layer_files"


def command(
    source: Annotated[
        Path, typer.Argument(help="The folder of an atlas, or of a single dictionary.")
    ],
    out: Annotated[Path, typer.Option(help="The folder to write.")],
    to: Annotated[
        str,
        typer.Option(
            help=f"Of an atlas: {_ATLAS}; of a dictionary, also in an atlas: {_DICTIONARY}."
        ),
    ] = "saelens",
    dictionary: common.OnlyThese = None,
    weights: Annotated[
        str | None,
        typer.Option(
            help="huggingface: what weights are stored in: float32, bfloat16 or int8; default: "
            "bfloat16."
        ),
    ] = None,
    activations: Annotated[
        bool | None,
        typer.Option(
            "--activations",
            help="huggingface: with where every feature is active, not its examples alone.",
        ),
    ] = None,
    compact: Annotated[
        bool | None,
        typer.Option(
            "--compact", help="huggingface: with fewer examples, 2 MB for 10,000 features."
        ),
    ] = None,
    examples: Annotated[
        Path | None,
        typer.Option(
            help="huggingface, with --compact: an atlas of the same dictionaries over a text that "
            "may be passed on, from which the examples are taken."
        ),
    ] = None,
    licence: Annotated[
        str | None,
        typer.Option("--license", help="huggingface: what the card states, as in apache-2.0."),
    ] = None,
    base_model: Annotated[
        str | None,
        typer.Option(help="huggingface: the model's owner/name on the hub, for the card."),
    ] = None,
    json: common.Json = False,
) -> None:
    """Write an atlas to be shared (a folder for the Hugging Face hub with a card, Neuronpedia's
    batches, or pages), or a dictionary for another library.

    What a format cannot hold is refused.
    """
    from inscape.core import InputError

    given = {
        "weights": weights,
        "activations": activations,
        "compact": compact,
        "examples": examples,
        "licence": licence,
        "base_model": base_model,
    }
    options = {name: value for name, value in given.items() if value is not None}
    if options and to != "huggingface":
        name = next(iter(options)).replace("_", "-").replace("licence", "license")
        raise InputError(f"--{name} with --to {to}", expected="--to huggingface, or none of it")
    if to not in _ATLAS.split(", "):
        _dictionary(source, dictionary, out, to)
    elif to == "pages":
        from inscape.report import write_pages

        write_pages(common.open_atlas(source), out, dictionary)
    else:
        others = {} if examples is None else {"examples": common.open_atlas(examples)}
        common.open_atlas(source).export(to, out, dictionary, **{**options, **others})
        if to == "huggingface" and licence is None:
            common.note("the card states no licence: add one with --license")
    files = [path for path in out.rglob("*") if path.is_file()]
    shown: dict[str, Any] = {
        "folder": str(out),
        "for": to,
        "files": len(files),
        "MB": sum(path.stat().st_size for path in files) / 1e6,
    }
    common.show([shown], json)


def _dictionary(source: Path, names: list[str] | None, out: Path, to: str) -> None:
    """Writes one dictionary for another library."""
    from inscape.atlas.container import FILE
    from inscape.core import InputError
    from inscape.dictionary import Dictionary
    from inscape.exchange import FORMATS, export_dictionary

    if to not in FORMATS:
        raise InputError(f"--to {to!r} is unknown", expected=f"{_ATLAS}, {_DICTIONARY}")
    if not (source / FILE).is_file():
        if names:
            raise InputError(
                f"--dictionary with {source}, which is no atlas", expected="none, or an atlas"
            )
        found = Dictionary.open(source)
    else:
        atlas = common.open_atlas(source)
        chosen = atlas.some(names)
        if len(chosen) != 1:
            raise InputError(
                f"{source} has {len(chosen)} dictionaries: {', '.join(chosen[:8])}",
                expected="one for another library",
                next_step="name it with --dictionary",
            )
        found = atlas.dictionary(chosen[0])
    export_dictionary(found, out, to)
