"""Manifests: what an artefact is, its version, what it was made from, and its checksums.

A reader that finds a newer version says so and stops. A manifest is written last, so
a folder without one, or with files that differ from it, is an unfinished one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import inscape
from inscape.core import StorageError
from inscape.storage.atomic import read_json, write_json

MANIFEST = "manifest.json"
_OWN_KEYS = ("kind", "version", "inscape", "made_from", "seeds", "files")


def file_hash(path: Path) -> str:
    """The sha256 of a file, as hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _files_of(folder: Path, name: str) -> list[Path]:
    """Every file below `folder` but the manifest and hidden ones, in a fixed order."""
    found = []
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        hidden = any(part.startswith(".") for part in parts)
        if path.is_file() and not hidden and parts != (name,):
            found.append(path)
    return found


def write_manifest(
    folder: Path,
    kind: str,
    version: int,
    *,
    made_from: Mapping[str, Any],
    seeds: Mapping[str, int] | None = None,
    extra: Mapping[str, Any] | None = None,
    name: str = MANIFEST,
) -> None:
    """Writes the manifest of `folder`, with size and sha256 of every other file in it.

    Args:
        kind: what the artefact is ("dictionary", "activations", ...).
        version: the version of its format.
        made_from: whatever it was derived from (paths, hashes, settings).
        seeds: the seeds that its making used.
        extra: further top-level entries.
        name: the manifest's file name.

    Raises:
        StorageError: the disk is full or may not be written to.
    """
    clash = set(extra or {}) & set(_OWN_KEYS)
    if clash:
        raise ValueError(f"a manifest sets {sorted(clash)} itself")
    folder = Path(folder)
    files = {
        path.relative_to(folder).as_posix(): {
            "size": path.stat().st_size,
            "sha256": file_hash(path),
        }
        for path in _files_of(folder, name)
    }
    manifest = {
        "kind": kind,
        "version": version,
        "inscape": inscape.__version__,
        "made_from": dict(made_from),
        "seeds": dict(seeds or {}),
        **(extra or {}),
        "files": files,
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
) -> dict[str, Any]:
    """The manifest of `folder`, checked against what is there.

    Args:
        kind, version: what the caller can read; older versions are passed on to it.
        verify: compare checksums too; sizes are always compared.
        broken: takes the names of files that are missing, half-written or changed; without it the
            first of them is an error.

    Raises:
        StorageError: no such artefact, another kind, a newer version, or a file that is
            missing, half-written or (with `verify`) changed.
    """
    folder = Path(folder)
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise StorageError(f"{folder} {what}", expected=f"a folder with {_a(kind)}")
    if not (folder / name).is_file():
        raise StorageError(
            f"{folder} is not {_a(kind)}: it has no {name}",
            next_step="check the path, or run the command that makes it (again)",
        )
    manifest = read_json(folder / name)
    if not isinstance(manifest, dict) or manifest.get("kind") != kind:
        found = manifest.get("kind") if isinstance(manifest, dict) else None
        raise StorageError(
            f"{folder} is {_a(str(found)) if found else 'something else'}", expected=_a(kind)
        )
    found_version = manifest.get("version")
    if not isinstance(found_version, int):
        raise StorageError(f"{folder / name} names no version", expected=f"up to {version}")
    if found_version > version:
        raise StorageError(
            f"{folder}: found version {found_version} of {kind}, "
            f"this inscape reads up to {version}",
            next_step="upgrade inscape",
        )
    for file, record in manifest.get("files", {}).items():
        try:
            _check_file(folder / file, record, verify)
        except StorageError:
            if broken is None:
                raise
            broken.append(file)
    return manifest


def _check_file(path: Path, record: Mapping[str, Any], verify: bool) -> None:
    if not path.is_file():
        raise StorageError(f"{path} is missing", next_step="run the command that makes it again")
    size = path.stat().st_size
    if size != record["size"]:
        raise StorageError(
            f"{path} has {size} bytes and is half-written or changed",
            expected=f"{record['size']} bytes",
            next_step="remove it and run the command that makes it again",
        )
    if verify and file_hash(path) != record["sha256"]:
        raise StorageError(
            f"{path} differs from its checksum",
            next_step="remove it and run the command that makes it again",
        )


def _a(kind: str) -> str:
    return f"an {kind}" if kind[:1] in "aeiou" else f"a {kind}"
