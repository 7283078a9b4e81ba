"""Where a verb that trains takes activations from: a store, several stores of one text, or a text
that a model reads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from inscape.cli import common

if TYPE_CHECKING:
    from inscape.training import Ranks

Source = Annotated[
    Path,
    typer.Argument(
        metavar="STORE|TEXT",
        help="Stored activations (see `harvest`), or with --model a text that it reads.",
    ),
]
SourceModel = Annotated[
    str | None,
    typer.Option("--model", help="The model that reads TEXT, or that STORE was made with."),
]
SkipCorrupt = Annotated[
    bool, typer.Option("--skip-corrupt", help="Leave broken shards of STORE out, and name them.")
]

Skip = Annotated[bool, typer.Option("--skip", help="Give a transcoder a linear skip as well.")]
Whiten = Annotated[bool, typer.Option("--whiten", help="Whiten the activations before training.")]
BatchSize = Annotated[int, typer.Option(help="Tokens per step.")]
Lr = Annotated[
    float | None, typer.Option(help="Peak learning rate; default: by features and steps.")
]


def open_source(
    source: Path,
    sites: tuple[str | None, str | None],
    *,
    model: str | None,
    memory: float | None,
    skip_corrupt: bool,
    bos: str | None = None,
    held_out: Path | None = None,
    others: tuple[Path, ...] = (),
    ranks: Ranks | None = None,
) -> tuple[Any, Any]:
    """The activations, and the model where there is one to read something with.

    Args:
        sites: read and written, as typed. held_out: a text that the model is to read. others:
            further stores of the same text. ranks: the processes that train together.

    Raises:
        InputError: an option does not go with this kind of source.
    """
    from inscape.core import InputError

    if (source / "atlas.json").is_file():
        raise InputError(
            f"{source} is an atlas",
            expected="a store of activations, or a text with --model",
            next_step="train its dictionaries with: inscape build MODEL --text TEXT --out "
            f"{source} --only train",
        )
    is_store = any((source / name).is_file() for name in ("manifest.json", "harvest.json"))
    unfit = (
        {"--memory": memory} if is_store else {"--beside": others, "--skip-corrupt": skip_corrupt}
    )
    for option, given in unfit.items():
        if given:
            raise InputError(
                f"{option} does not apply to {source}",
                expected="a text" if is_store else "a store of activations",
                next_step="leave it out",
            )
    if not is_store:
        return _online(source, sites, model, 1.0 if memory is None else memory, bos, ranks)
    first = ranks is None or ranks.first
    if others:
        for option, value in {"--held-out": held_out, "--model": model}.items():
            if value is not None:
                raise InputError(
                    f"{option} with --beside",
                    expected="one store: the loss that several recover is not measured",
                    next_step="leave it out",
                )
        return _joined([source, *others], skip_corrupt, first), None
    return _stored(source, model, held_out is not None, skip_corrupt, first)


def _stored(
    source: Path, model: str | None, held_out: bool, skip_corrupt: bool, first: bool
) -> tuple[Any, Any]:
    """Stored activations, and the model where there is something held out to read; `first`: whether
    this process verifies them and says what is left out."""
    from inscape.activations import ActivationStore
    from inscape.core import InputError

    store = ActivationStore.open(source, verify=first, skip_corrupt=skip_corrupt)
    if store.skipped and first:
        common.note(f"left out of {source}: {', '.join(store.skipped)}")
    if held_out != (model is not None):
        raise InputError(
            "--held-out and --model go together", expected="a text, and the model that reads it"
        )
    opened = None if model is None else common.open_model(model)
    if opened is not None and opened.hash != store.model_hash:
        made_with = store.manifest["made_from"]["model"]
        raise InputError(f"{source} was not made with {model}", expected=made_with)
    return store, opened


def _joined(stores: list[Path], skip_corrupt: bool, first: bool) -> Any:
    """Stores of one text as one source; a store's name is that of its folder."""
    from inscape.activations import JoinedStores
    from inscape.core import InputError

    named: dict[str, Path] = {}
    for folder in stores:
        name = folder.resolve().name
        if name in named:
            raise InputError(
                f"{named[name]} and {folder} are both called {name!r}",
                expected="a name of its own for each store: that of its folder",
                next_step="rename one of the folders",
            )
        named[name] = folder
    return JoinedStores(
        {name: _stored(one, None, False, skip_corrupt, first)[0] for name, one in named.items()}
    )


def _online(
    source: Path,
    sites: tuple[str | None, str | None],
    model: str | None,
    memory: float,
    bos: str | None,
    ranks: Ranks | None,
) -> tuple[Any, Any]:
    """Activations of a text that are not stored, and the model that makes them."""
    from inscape.activations import OnlineActivations
    from inscape.core import InputError
    from inscape.dictionary import single_sites
    from inscape.model import KINDS

    if model is None:
        raise InputError(
            f"{source} is no store of activations",
            expected="one, or a text with --model, the model that reads it",
        )
    if not 0 < memory < 1e6:
        raise InputError(f"--memory {memory}", expected="GB, as in 2")
    opened = common.open_model(model, None if ranks is None else ranks.device, bos)
    layers = [f"{kind}.{layer}" for kind in KINDS for layer in range(opened.num_layers)]
    named = [one for site in sites if site for one in single_sites(all_sites(site, layers))]
    made = OnlineActivations(opened, source, named, memory=int(memory * 1e9), sharing=ranks)
    return made, opened


def all_sites(given: str, known: list[str]) -> str:
    """Sites as they are written, with those that mlp_in.* stands for in the order of layers."""
    from inscape.core import InputError
    from inscape.dictionary import joined, single_sites

    found: list[str] = []
    for site in single_sites(given):
        kind = site.removesuffix("*")
        layers = [other.removeprefix(kind) for other in known if other.startswith(kind)]
        if kind != site and not layers:
            raise InputError(f"no site is one of {site}", expected=", ".join(known))
        own = sorted(int(layer) for layer in layers if layer.isdecimal())
        found += [site] if kind == site else [f"{kind}{layer}" for layer in own]
    return joined(found)


def named_values(
    given: list[str], form: str = "NAME=VALUE", example: str = "penalty=tanh"
) -> dict[str, Any]:
    """Settings typed as NAME=VALUE; a value with commas is a list."""
    from inscape.core import InputError

    found: dict[str, Any] = {}
    for text in given:
        name, sign, value = text.partition("=")
        parts = name.split(".", form.count("."))
        if not (sign and all(parts)) or len(parts) <= form.count("."):
            raise InputError(f"--option {text!r}", expected=f"{form}, as in {example}")
        found[name] = value.split(",") if "," in value else value
    return found
