"""What the verbs share: their common options, printing for people and for programs."""

from __future__ import annotations

import json as json_module
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from inscape.cli.main import NOTES

if TYPE_CHECKING:
    from inscape.atlas import Atlas
    from inscape.attribution import Graph
    from inscape.core import LabelOf
    from inscape.dictionary import Dictionary
    from inscape.model import Model, Source
    from inscape.storage import Result

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Device = Annotated[
    str | None, typer.Option(help="cpu, cuda, cuda:N; default: the GPU if there is one.")
]
Seed = Annotated[int, typer.Option(help="The seed of everything random.")]
AtlasFolder = Annotated[Path, typer.Argument(metavar="ATLAS", help="The folder of an atlas.")]
ModelName = Annotated[
    str,
    typer.Argument(metavar="MODEL", help="A Hugging Face folder or id, a GGUF file, or smollm2."),
]
AtlasOrModel = Annotated[
    str,
    typer.Argument(
        metavar="ATLAS|MODEL",
        help="The folder of an atlas; or a model, whose neurons are traced: a Hugging Face folder "
        "or id, a GGUF file, or smollm2.",
    ),
]
PromptText = Annotated[str, typer.Argument(metavar="PROMPT", help="The text to go on from.")]
MovedModel = Annotated[
    str | None, typer.Option("--model", help="The atlas's model, where it has moved.")
]
Bos = Annotated[
    str | None,
    typer.Option(
        help="What a text begins with: auto (a beginning-of-text token where the tokenizer adds "
        "one), always, never, or a special token such as '<|endoftext|>'; default: as the atlas "
        "records, else auto."
    ),
]
Chat = Annotated[
    bool,
    typer.Option(
        "--chat",
        help="The prompt is a user's message, or a JSON list of messages, which goes through the "
        "chat template of the model.",
    ),
]
Text = Annotated[
    Path,
    typer.Option(
        help="A .txt, .jsonl(.gz) or .parquet file, a folder of them, or - (standard input); "
        "FILE#FIELD where the text is in another field than text."
    ),
]
RowTokens = Annotated[
    int | None, typer.Option("--context", help="Tokens per row of text; default: the model's own.")
]
OnlyThese = Annotated[
    list[str] | None,
    typer.Option(
        "--dictionary",
        help="Only this dictionary, or those that a pattern such as mlp_act.* fits; repeatable.",
    ),
]
Memory = Annotated[
    float | None,
    typer.Option(help="GB of activations of the text that are shuffled at a time; default: 1."),
]
TraceMemory = Annotated[
    float | None,
    typer.Option(help="Most GB above the model; long prompts are computed piece by piece."),
]
TrustCode = Annotated[
    bool, typer.Option("--trust-remote-code", help="Run code that the model's folder brings.")
]


def read_prompt(text: str, chat: bool) -> Source:
    """A typed prompt: plain text, or with --chat one message or a JSON list of messages.

    Raises:
        InputError: the list is no JSON.
    """
    if not chat:
        return text
    if not text.lstrip().startswith("["):
        return [{"role": "user", "content": text}]
    try:
        messages: Source = json_module.loads(text)
    except ValueError as error:
        from inscape.core import InputError

        raise InputError(
            f"the messages are no JSON ({error})",
            expected='a list such as [{"role": "user", "content": "..."}]',
        ) from error
    return messages


def print_json(value: Any) -> None:
    """Prints `value` as JSON on standard output."""
    from inscape.storage import plain

    unicode = (sys.stdout.encoding or "").lower().startswith("utf")
    typer.echo(json_module.dumps(plain(value), indent=1, ensure_ascii=not unicode))


def show(result: Mapping[str, Any] | Sequence[Mapping[str, Any]], json: bool) -> None:
    """Prints named values: as JSON, or in two columns; of several results, each by itself."""
    if json:
        print_json(result)
        return
    for number, entry in enumerate([result] if isinstance(result, Mapping) else result):
        if number:
            typer.echo("")
        width = max(map(len, entry), default=0)
        for name, value in entry.items():
            typer.echo(f"{name.replace('_', ' '):<{width}}  {_in_words(value)}")


def _in_words(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_in_words(entry)}" for name, entry in value.items())
    if isinstance(value, list):
        return " ".join(map(_in_words, value))
    return str(value)


def note(message: str) -> None:
    """A remark on standard error, after the result."""
    NOTES.append(message)


def print_table(heads: Sequence[str], lines: Iterable[Sequence[str]]) -> None:
    """Prints columns under their heads: numbers to the right, words to the left."""
    body = [list(line) for line in lines]
    columns = list(zip(heads, *body, strict=True))
    widths = [max(map(len, column)) for column in columns]
    right = [all(not cell or cell[0] in "-−–.0123456789" for cell in c[1:]) for c in columns]
    for line in (list(heads), *body):
        cells = [
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(line, widths, right, strict=True)
        ]
        typer.echo("  ".join(cells).rstrip())


def given(context: typer.Context) -> set[str]:
    """The options that were typed, by the names of their parameters."""
    source = context.get_parameter_source
    return {name for name in context.params if getattr(source(name), "name", "") == "COMMANDLINE"}


def open_model(
    name: str, device: str | None = None, bos: str | None = None, trust: bool = False
) -> Model:
    """The model that a verb was given."""
    from inscape.model import Model

    return Model.open(name, device=device, bos=bos or "auto", trust_remote_code=trust)


def open_atlas(
    folder: Path, model: str | None = None, device: str | None = None, bos: str | None = None
) -> Atlas:
    """The atlas of a verb; `model`: where its model has moved to."""
    from inscape.atlas import Atlas

    return Atlas.open(folder, model=model, device=device, bos=bos)


@dataclass(frozen=True)
class Traced:
    """What a verb of tracing works on; `atlas` is None for a model by itself."""

    model: Model
    dictionaries: Sequence[Dictionary]
    names: LabelOf
    atlas: Atlas | None

    def save(self, result: Result) -> None:
        """Saves what is printed by now in the atlas, where there is one."""
        if self.atlas is not None:
            save(self.atlas, result)

    def show(self, result: Any, json: bool) -> None:
        """Prints a result as text or JSON, and saves it."""
        if json:
            print_json(result)
        else:
            typer.echo(result.summary())
        self.save(result)


def open_traced(
    source: str,
    names: Iterable[str] | None = None,
    model: str | None = None,
    device: str | None = None,
    bos: str | None = None,
) -> Traced:
    """An atlas with those of its dictionaries that are traced, or a model by its neurons."""
    from inscape.core import InputError, no_label

    if (Path(source) / "atlas.json").is_file():
        atlas = open_atlas(Path(source), model, device, bos)
        return Traced(atlas.model, atlas.traced(names), atlas.feature_label, atlas)
    if names:
        raise InputError(
            f"--dictionary was given, but {source} is no atlas",
            expected="the folder of an atlas that has dictionaries",
        )
    if model is not None:
        raise InputError(
            f"--model {model} was given, but {source} is no atlas",
            expected="--model where an atlas has moved away from its model",
        )
    return Traced(open_model(source, device, bos), (), no_label, None)


def show_graph(graph: Graph, json: bool) -> None:
    """Prints a graph as text and as a drawing, or as JSON in the published viewer's format."""
    if not json:
        typer.echo(f"{graph.summary()}\n\n{graph.drawing()}")
        return
    print_json(graph.to_viewer())
    for remark in graph.notes:
        note(f"note: {remark}")


def write_viewer(graph: Graph, folder: Path, atlas: Atlas | None) -> None:
    """Puts a graph into a folder for the viewer's local page, and says how it is looked at."""
    from inscape.attribution import local_address

    path = graph.write_viewer(folder) if atlas is None else atlas.write_viewer(graph, folder)
    note(f"written for the viewer: {path}")
    note(f"to see it, with circuit-tracer: circuit-tracer start-server --graph_file_dir {folder}")
    note(f"then open http://localhost:8041{local_address(graph, path)}")


def open_or_create(
    folder: Path, model: str | None, device: str | None = None, bos: str | None = None
) -> AbstractContextManager[Atlas]:
    """The atlas of a verb that makes one of `model` where there is nothing yet; one that was made
    goes again where the verb fails before anything is in it."""
    from inscape.atlas import Atlas

    empty = not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))
    if model is not None and empty:
        return Atlas.creating(folder, model, device=device, bos=bos)
    return nullcontext(open_atlas(folder, model, device, bos))


def save(atlas: Atlas, result: Result) -> None:
    """Saves what is printed by now, whether or not it can be saved."""
    note(f"saved: {atlas.save(result)}")
    if getattr(result, "repair", None) is not None:
        note(f"its edits, for steer --repair: {atlas.repairs.names[-1]}")
