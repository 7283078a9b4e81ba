"""What the verbs share: their common options, printing for people and for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from inscape.cli.main import NOTES

if TYPE_CHECKING:
    from inscape.atlas import Atlas

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Device = Annotated[
    str | None, typer.Option(help="cpu, cuda, cuda:N; default: the GPU if there is one.")
]
Seed = Annotated[int, typer.Option(help="The seed of everything random.")]
AtlasFolder = Annotated[Path, typer.Argument(metavar="ATLAS", help="The folder of an atlas.")]
ModelName = Annotated[
    str, typer.Argument(metavar="MODEL", help="A Hugging Face model folder or id.")
]
MovedModel = Annotated[
    str | None, typer.Option("--model", help="The atlas's model, where it has moved.")
]
Text = Annotated[Path, typer.Option(help="A .txt or .jsonl file, or a folder of such.")]
Memory = Annotated[
    float,
    typer.Option(
        help="Text: GB of activations that are shuffled at a time, on the model's device."
    ),
]
RowTokens = Annotated[int | None, typer.Option("--context", help="Tokens per row of text.")]
OnlyThese = Annotated[
    list[str] | None, typer.Option("--dictionary", help="Atlas: only this dictionary, repeatable.")
]
TrustCode = Annotated[
    bool, typer.Option("--trust-remote-code", help="Run code that the model's folder brings.")
]


def print_json(value: Any) -> None:
    """Prints `value` as JSON on standard output."""
    from inscape.storage import plain

    unicode = (sys.stdout.encoding or "").lower().startswith("utf")
    typer.echo(json.dumps(plain(value), indent=1, ensure_ascii=not unicode))


def note(message: str) -> None:
    """A remark on standard error, after the result."""
    NOTES.append(message)


def rows(pairs: Mapping[str, Any]) -> None:
    """Prints named values in two columns; numbers in four digits."""
    width = max((len(name) for name in pairs), default=0)
    for name, value in pairs.items():
        typer.echo(f"{name:<{width}}  {_shown(value)}")


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_shown(entry)}" for name, entry in value.items())
    if isinstance(value, list):
        return " ".join(map(_shown, value))
    return str(value)


def print_entries(entries: Iterable[Mapping[str, Any]], json: bool) -> None:
    """Prints one result an entry: as a JSON list, or in rows with a blank line between two."""
    if json:
        print_json(list(entries))
        return
    for number, entry in enumerate(entries):
        if number:
            typer.echo("")
        rows(entry)


def print_table(heads: Sequence[str], lines: Iterable[Sequence[str]]) -> None:
    """Prints columns under their heads; the first one to the left, the others to the right."""
    table = [list(heads), *map(list, lines)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for first, *others in table:
        cells = [f"{cell:>{width}}" for cell, width in zip(others, widths[1:], strict=True)]
        typer.echo("  ".join([f"{first:<{widths[0]}}", *cells]).rstrip())


def refuse_options(context: typer.Context, other: str) -> None:
    """Refuses options that only make sense for another kind of source than the one given.

    Args:
        other: that kind, with which the help of such options begins ("Store", "Atlas", ...).

    Raises:
        InputError: one was given; it is named.
    """
    from inscape.core import InputError

    for parameter in context.command.params:
        about = getattr(parameter, "help", None) or ""
        source = context.get_parameter_source(parameter.name or "")
        given = source is not None and source.name == "COMMANDLINE"
        if given and about.startswith(f"{other}: "):
            raise InputError(
                f"{max(parameter.opts, key=len)} does not apply to {context.params['source']}",
                expected=f"{'an' if other[0] in 'AI' else 'a'} {other.lower()} to use it with",
                next_step="leave it out",
            )


def open_atlas(folder: Path, model: str | None = None, device: str | None = None) -> Atlas:
    """The atlas of a verb; `model`: where its model has moved to."""
    from inscape.atlas import Atlas

    return Atlas.open(folder, model=model, device=device)


def is_atlas(path: str | Path) -> bool:
    """Whether a path is the folder of an atlas."""
    return (Path(path) / "atlas.json").is_file()


def is_store(path: str | Path) -> bool:
    """Whether a path is the folder of a store of activations, or of one that is half made."""
    return any((Path(path) / name).is_file() for name in ("manifest.json", "harvest.json"))
