"""Manifests: what an artefact is, its version, what it was made from, and its checksums.

A reader that finds a newer version says so and stops. A manifest is written last, so
a folder without one, or with files that differ from it, is an unfinished one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import inscape
from inscape.core import StorageError
from inscape.storage.atomic import Ours, read_json, reading, write_json
from inscape.storage.cache import remembered
from inscape.storage.lock import is_lock

MANIFEST = "manifest.json"
_OWN_KEYS = ("kind", "version", "inscape", "made_from", "seeds", "files")


def file_hash(path: Path) -> str:
    """The sha256 of a file, as hex; read once for as long as the file stays as it is."""
    return remembered("sha256", [path], lambda: _read_hash(path))


def _read_hash(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _files_of(folder: Path, name: str) -> list[Path]:
    """Every file below `folder` but the manifest and hidden ones, in a fixed order."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path != folder / name]
    return [f for f in files if not any(p.startswith(".") for p in f.relative_to(folder).parts)]


def write_manifest(
    folder: Path,
    kind: str,
    version: int,
    *,
    made_from: Mapping[str, Any],
    seeds: Mapping[str, int] | None = None,
    extra: Mapping[str, Any] | None = None,
    name: str = MANIFEST,
    files: Sequence[Path] | None = None,
) -> None:
    """Writes the manifest of `folder`, with size and sha256 of its `files` (default: every other
    file in it).

    kind, version: of the artefact ("dictionary", "activations", ...) and its format. made_from:
    whatever it was derived from (paths, hashes, settings). extra: further top-level entries.
    Raises StorageError where the disk is full or may not be written to.
    """
    clash = set(extra or {}) & set(_OWN_KEYS)
    if clash:
        raise ValueError(f"a manifest sets {sorted(clash)} itself")
    folder = Path(folder)
    listed = {}
    for path in _files_of(folder, name) if files is None else files:
        place = path.relative_to(folder).as_posix()
        listed[place] = {"size": path.stat().st_size, "sha256": _read_hash(path)}
    manifest = {
        "kind": kind,
        "version": version,
        "inscape": inscape.__version__,
        "made_from": dict(made_from),
        "seeds": dict(seeds or {}),
        **(extra or {}),
        "files": listed,
    }
    write_json(folder / name, manifest)


def read_manifest(
    folder: Path,
    kind: str,
    version: int,
    *,
    name: str = MANIFEST,
    verify: bool = False,
    broken: list[str] | None = None,
    next_step: str | None = None,
    fields: Mapping[str, type] | None = None,
) -> dict[str, Any]:
    """The manifest of `folder`, checked against what is there.

    Args:
        kind, version: what the caller can read; older versions are passed on to it.
        verify: compare checksums too, each once for as long as its file stays as it is; sizes are
            always compared.
        broken: takes the names of files that are missing, half-written or changed; without it the
            first of them is an error.
        next_step: how a broken file is made again.
        fields: entries that the caller needs, and their types ("a.b" is b in the entry a).

    Raises:
        StorageError: another artefact or none, a newer version, a wrong entry or a broken file.
    """
    folder = Path(folder)
    with reading(folder, ""):
        if not folder.is_dir():
            what = "is a file" if folder.exists() else "does not exist"
            raise StorageError(f"{folder} {what}", expected=f"a folder with {_a(kind)}")
        if not (folder / name).exists():
            raise StorageError(
                f"{folder} is not {_a(kind)}: it has no {name}",
                next_step="check the path, or run the command that makes it (again)",
            )
    manifest = check_version(read_json(folder / name), kind, version, folder)
    files = manifest.get("files", {})
    try:
        listed = {str(file): (int(of["size"]), str(of["sha256"])) for file, of in files.items()}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise StorageError(f"{folder / name} does not list its files") from error
    remedy = next_step or f"put it back, or remove {folder} and run the command that makes it again"
    for field, kind_of in (fields or {}).items():
        value: Any = manifest
        for part in field.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if not isinstance(value, kind_of) or isinstance(value, bool):
            raise StorageError(
                f"{folder / name} does not describe {_a(kind)}: {field} is {str(value)[:40]!r}",
                expected=f"{_a(kind_of.__name__)}",
                next_step=remedy,
            )
    for file, (size, digest) in listed.items():
        try:
            _check_file(folder / file, size, digest if verify else None, remedy)
        except StorageError:
            if broken is None:
                raise
            broken.append(file)
    return manifest


def check_version(found: Any, kind: str, version: int, where: object) -> dict[str, Any]:
    """`found`, the JSON of an artefact that was read from `where`, if it is of that kind and of a
    version up to `version`; else StorageError."""
    if not isinstance(found, dict) or found.get("kind") != kind:
        other = found.get("kind") if isinstance(found, dict) else None
        raise StorageError(
            f"{where} is {_a(other) if isinstance(other, str) else 'something else'}",
            expected=_a(kind),
        )
    number = found.get("version")
    if not isinstance(number, int):
        raise StorageError(f"{where} names no version", expected=f"up to {version}")
    if number > version:
        raise StorageError(
            f"{where}: found version {number} of {kind}, this inscape reads up to {version}",
            next_step="upgrade inscape",
        )
    return found


def artefact(kind: str, *, name: str = MANIFEST) -> Ours:
    """The rule by which a folder may be replaced as a whole: it is an artefact of that kind with
    all its files as long as they were, and holds nothing else but a lock."""

    def ours(folder: Path) -> bool:
        try:
            files = read_manifest(folder, kind, 2**31, name=name).get("files", {})
        except StorageError:
            return False
        listed = {folder / file for file in (name, *files)}
        listed |= {above for path in listed for above in path.parents}
        return all(path in listed or is_lock(path) for path in folder.rglob("*"))

    return ours


def _check_file(path: Path, wanted: int, digest: str | None, next_step: str) -> None:
    with reading(path, next_step):
        if not path.exists():
            raise StorageError(f"{path} is missing", next_step=next_step)
        size, same = path.stat().st_size, digest is None or file_hash(path) == digest
    if size != wanted:
        raise StorageError(
            f"{path} has {size} bytes and is half-written or changed",
            expected=f"{wanted} bytes",
            next_step=next_step,
        )
    if not same:
        raise StorageError(f"{path} differs from its checksum", next_step=next_step)


_NAMES = {
    "activations": "a store of activations",
    "feature-index": "a feature index",
    "labels": "a folder of labels",
    "rates": "a file of rates",
    "front": "the front of a sweep",
}


def _a(kind: str) -> str:
    return _NAMES.get(kind, f"an {kind}" if kind[:1] in "aeiou" else f"a {kind}")
