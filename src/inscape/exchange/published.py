"""`Dictionary.open` and `Dictionary.open_set` of what is not in inscape's own folders here.

1. A name is looked for on this machine, then in the hub's local cache, then on the hub. Of a
   repository as a whole the small files come first: one that is a set of many layers is not
   downloaded for a single dictionary.
2. inscape's own format is read as it is, every other by its `Format`.
3. A set has a dictionary for each layer: those that config.yaml lists, or files of a layer each.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from inscape.core import InputError
from inscape.dictionary import Dictionary, is_dictionary, local
from inscape.exchange.circuit_tracer import CONFIG, SET, kinds, settings
from inscape.exchange.format import Asked
from inscape.exchange.registry import import_dictionary, layer_files, read_foreign, recognised
from inscape.exchange.sites import in_layer

_SETTINGS = ("*.json", "*.yaml")


def open_foreign(
    source: str | Path, *, revision: str | None = None, form: str | None = None, **asked: Any
) -> Dictionary:
    """What `Dictionary.open` does with all but a folder of ours on this machine."""
    wanted = _asked(asked)
    if str(source).partition("@")[0].count("/") == 1 and not Path(source).exists():
        _refuse_set(local(source, revision=revision, files=_SETTINGS, there=_opens), source)
    folder = local(source, revision=revision, there=_opens)
    if is_dictionary(folder):
        return Dictionary.read(folder)
    if not recognised(folder):
        _refuse_set(folder, source)
    return read_foreign(folder, wanted, form)


def _refuse_set(folder: Path, source: str | Path) -> None:
    if _is_set(folder):
        raise InputError(
            f"{source} is a set of transcoders, one a layer",
            expected="one dictionary",
            next_step="open all with Dictionary.open_set, or name the file of one layer",
        )


def open_set(
    source: str | Path, *, revision: str | None = None, **asked: Any
) -> dict[int, Dictionary]:
    """Layer → dictionary of a set.

    Args:
        source: a folder, or `owner/name/folder/within` of the hub, with files of a layer each, or
            a config.yaml that lists where they lie. revision: of the repository.
        asked: as those of `Dictionary.open`.

    Raises:
        InputError: it is no set, or a file of it is refused.
        StorageError: it is neither here nor to be had.
    """
    wanted = _asked(asked)
    folder = local(source, revision=revision, files=_SETTINGS, there=_is_set)
    cfg = settings(folder, SET, wanted) if folder.is_dir() else {}
    listed = cfg.get("transcoders")
    if isinstance(listed, list):
        places = {layer: _place(str(one)) for layer, one in enumerate(listed)}
    else:
        folder = local(source, revision=revision, there=lambda folder: bool(layer_files(folder)))
        places = {int(re.findall(r"\d+", file.name)[0]): str(file) for file in layer_files(folder)}
    if not places:
        raise InputError(
            f"{source} is no set of dictionaries",
            expected=f"files of a layer each, or a {CONFIG} that lists them",
            next_step="open a single one with Dictionary.open",
        )
    read, written = kinds(cfg)
    found = {}
    for layer, place in sorted(places.items()):
        one = replace(
            wanted,
            site=wanted.site or (in_layer(read, layer) if read else None),
            to=wanted.to or (in_layer(written, layer) if written else None),
            settings=cfg or None,
        )
        found[layer] = import_dictionary(place, one)
    return found


def _place(listed: str) -> str:
    """hf://owner/name/path?revision=x, as `local` takes it."""
    name, _, query = listed.removeprefix("hf://").partition("?")
    revision = query.removeprefix("revision=") if query.startswith("revision=") else ""
    return f"{name}@{revision}" if revision else name


def _opens(folder: Path) -> bool:
    return is_dictionary(folder) or recognised(folder) or _is_set(folder)


def _is_set(folder: Path) -> bool:
    path = folder / CONFIG
    return path.is_file() and SET in path.read_text(encoding="utf-8", errors="replace")


def _asked(options: Mapping[str, Any]) -> Asked:
    if unknown := options.keys() - Asked.__dataclass_fields__.keys():
        raise InputError(
            f"unknown option {sorted(unknown)[0]!r} of a dictionary",
            expected="site, to, k, scale, model, name or ignore",
        )
    return Asked(**options)
