"""Where a verb that trains takes activations from: a store, several stores of one text, or a text
that a model reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from inscape.cli.common import note


def stored(
    source: Path, model: str | None, held_out: bool, skip_corrupt: bool, *, told: bool = True
) -> tuple[Any, Any]:
    """Stored activations, and the model where there is something held out to read; `told`: whether
    this process says what is left out."""
    from inscape.activations import ActivationStore
    from inscape.core import InputError
    from inscape.model import Model

    # What differs from its checksum is named, not trained on: one process reads for that.
    store = ActivationStore.open(source, verify=told, skip_corrupt=skip_corrupt)
    if store.skipped and told:
        note(f"left out of {source}: {', '.join(store.skipped)}")
    if held_out != (model is not None):
        raise InputError(
            "--held-out and --model go together", expected="a text, and the model that reads it"
        )
    opened = None if model is None else Model.open(model)
    if opened is not None and opened.hash != store.model_hash:
        made_with = store.manifest["made_from"]["model"]
        raise InputError(f"{source} was not made with {model}", expected=made_with)
    return store, opened


def beside_each_other(
    stores: list[Path], skip_corrupt: bool, refused: dict[str, Any], *, told: bool = True
) -> Any:
    """Stores of one text as one source; a store's name is that of its folder.

    Args:
        refused: options that several stores do not go with, and what was given.
    """
    from inscape.activations import JoinedStores
    from inscape.core import InputError

    for option, given in refused.items():
        if given is not None:
            raise InputError(
                f"{option} with --beside",
                expected="one store: the loss that several recover together is not measured",
                next_step="leave it out",
            )
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
        {name: stored(one, None, False, skip_corrupt, told=told)[0] for name, one in named.items()}
    )


def online(
    source: Path,
    sites: tuple[str | None, str | None],
    model: str | None,
    memory: float,
    ranks: Any = None,
) -> tuple[Any, Any]:
    """Activations of a text that are not stored, and the model, on the device of the processes
    (`ranks`) that share its forward passes."""
    from inscape.activations import OnlineActivations
    from inscape.core import InputError
    from inscape.dictionary import single_sites
    from inscape.model import KINDS, Model

    if model is None:
        raise InputError(
            f"{source} is no atlas and no store of activations",
            expected="one of them, or a text with --model, the model that reads it",
        )
    if not 0 < memory < 1e6:
        raise InputError(f"--memory {memory}", expected="gigabytes, more than 0, as in 2")
    opened = Model.open(model, device=None if ranks is None else ranks.device)
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
