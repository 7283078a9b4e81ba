"""Nothing that inscape did not make is removed or written over."""

from __future__ import annotations

import os
import stat
import sys
import threading
from importlib import import_module, reload
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from inscape.core import InputError, StorageError
from inscape.storage import (
    artefact,
    atomic_folder,
    atomic_write,
    clean_temporary,
    is_temporary,
    lock,
    refuse_file,
    temporary_name,
    write_manifest,
)
from inscape.storage import atomic as atomic_module


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def make(folder: Path, text: str) -> None:
    with atomic_folder(folder, artefact("thing")) as new:
        (new / "data.txt").write_text(text)
        write_manifest(new, "thing", 1, made_from={})


def test_a_folder_of_the_users_is_refused_and_stays(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    (mine / "sub").mkdir(parents=True)
    (mine / "thesis.txt").write_text("my thesis")
    (mine / "sub" / "notes.txt").write_text("my notes")
    before = contents(tmp_path)
    for ours in ((), (artefact("thing"),)):
        with (
            pytest.raises(InputError, match="mine is there already; expected a new folder"),
            atomic_folder(mine, *ours) as new,
        ):
            (new / "x").touch()
    with pytest.raises(InputError, match="and is a file"), atomic_folder(mine / "thesis.txt"):
        pass
    assert contents(tmp_path) == before


@pytest.mark.parametrize("added", ["notes.txt", ".hidden", "sub/notes.txt", "sub/"])
def test_an_artefact_is_replaced_unless_something_else_is_in_it(added: str, tmp_path: Path) -> None:
    made = tmp_path / "made"
    make(made, "one")
    with lock(made):
        make(made, "two")
    assert (made / "data.txt").read_text() == "two"
    (made / added).parent.mkdir(exist_ok=True)
    if added.endswith("/"):
        (made / added).mkdir()
    else:
        (made / added).write_text("mine")
    before = contents(made)
    with pytest.raises(InputError, match="is there already"):
        make(made, "three")
    assert contents(made) == before


@pytest.mark.parametrize("changed", ["data.txt", "manifest.json"])
def test_an_artefact_that_was_changed_is_not_replaced(changed: str, tmp_path: Path) -> None:
    made = tmp_path / "made"
    make(made, "one")
    (made / changed).write_text("a poem")
    with pytest.raises(InputError, match="is there already"):
        make(made, "two")
    assert (made / changed).read_text() == "a poem"
    other = tmp_path / "other"
    other.mkdir()
    write_manifest(other, "another", 1, made_from={})
    with pytest.raises(InputError, match="is there already"):
        make(other, "two")


def test_a_link_to_a_folder_is_followed(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    link = tmp_path / "link"
    link.symlink_to("target")
    make(link, "one")
    make(link, "two")
    assert link.is_symlink()
    assert (tmp_path / "target" / "data.txt").read_text() == "two"
    (tmp_path / "dangling").symlink_to("elsewhere")
    make(tmp_path / "dangling", "one")
    assert (tmp_path / "elsewhere" / "data.txt").read_text() == "one"


def test_an_empty_folder_stays_the_same_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    inode = tmp_path.stat().st_ino
    make(Path(), "here")
    assert (tmp_path.stat().st_ino, Path("data.txt").read_text()) == (inode, "here")


def test_hidden_names_that_are_not_ours_are_left_alone(tmp_path: Path) -> None:
    theirs = [".made.writing-0123456789ab", ".made.replaced-1", ".made.writing-notes"]
    for name in theirs:
        (tmp_path / name).mkdir()
        (tmp_path / name / "mine").touch()
    ours = temporary_name(tmp_path / "made")
    ours.mkdir()
    assert is_temporary(ours.name)
    assert not any(map(is_temporary, theirs))
    clean_temporary(tmp_path, "made")
    make(tmp_path / "made", "one")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*theirs, "made"])
    assert all((tmp_path / name / "mine").is_file() for name in theirs)


def test_a_link_to_a_file_is_written_through(tmp_path: Path) -> None:
    (tmp_path / "target.json").write_text("old")
    link = tmp_path / "link.json"
    link.symlink_to("target.json")
    atomic_write(link, b"new")
    assert link.is_symlink()
    assert (tmp_path / "target.json").read_text() == "new"
    loop = tmp_path / "loop"
    loop.symlink_to("loop")
    with pytest.raises(StorageError, match="cannot write"):
        atomic_write(loop, b"x")
    assert loop.is_symlink()


def test_a_device_is_written_into(tmp_path: Path) -> None:
    node = tmp_path / "null"
    try:
        os.mknod(node, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        node.write_bytes(b"")
    except OSError:
        pytest.skip("no permission to make a device")
    atomic_write(node, b"gone")
    assert stat.S_ISCHR(node.stat().st_mode)
    assert [path.name for path in tmp_path.iterdir()] == ["null"]


def test_a_pipe_is_written_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    atomic_write(pipe, b"0" * 200_000)
    reader.join()
    assert read == [b"0" * 200_000]
    monkeypatch.setattr(atomic_module, "_READER_SECONDS", 0.1)
    with pytest.raises(StorageError, match="nobody reads the pipe .*start its reader first"):
        atomic_write(pipe, b"x")
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_standard_output_is_written_into_wherever_it_leads(tmp_path: Path) -> None:
    place = tmp_path / "shown.txt"
    code = (
        "from pathlib import Path; from inscape.storage import atomic_write; "
        "print('before', flush=True); atomic_write(Path('/dev/stdout'), b'written')"
    )
    with open(place, "wb") as file:
        import subprocess

        subprocess.run([sys.executable, "-c", code], stdout=file, check=True)
    assert place.read_bytes() == b"before\nwritten"


def test_a_file_of_the_users_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "graph.json"
    refuse_file(path, "made by inscape")
    path.touch()
    refuse_file(path, "made by inscape")
    path.write_text("{'generator': 'made by inscape'}")
    refuse_file(path, "made by inscape")
    path.write_text("my thesis")
    with pytest.raises(InputError, match=r"graph\.json is there already, and this command did not"):
        refuse_file(path, "made by inscape")
    with pytest.raises(StorageError, match="is a folder"):
        refuse_file(tmp_path, "made by inscape")


def test_a_lock_of_somebody_else_stays(tmp_path: Path) -> None:
    (tmp_path / ".lock").write_text("held by my editor")
    with pytest.raises(StorageError, match="is not the lock that inscape writes"), lock(tmp_path):
        pass
    assert (tmp_path / ".lock").read_text() == "held by my editor"
    other = tmp_path / "other"
    other.mkdir()
    (other / ".lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError, match="is not the lock"), lock(other):
        pass
    assert not (tmp_path / "elsewhere").exists()


def test_the_lock_on_a_machine_without_fcntl(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows locks a byte of the file; a second descriptor is refused it."""
    import fcntl

    def locking(descriptor: int, mode: int, size: int) -> None:
        assert (mode, size) == (7, 1)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise PermissionError from error

    module: Any = import_module("inscape.storage.lock")
    windows = SimpleNamespace(locking=locking, LK_NBLCK=7)
    try:
        with monkeypatch.context() as patched:
            patched.setitem(sys.modules, "fcntl", None)
            patched.setitem(sys.modules, "msvcrt", windows)
            reload(module)
            with module.lock(tmp_path):
                assert module.is_lock(tmp_path / ".lock")
                with (
                    pytest.raises(StorageError, match=f"by process {os.getpid()} on"),
                    module.lock(tmp_path),
                ):
                    pass
    finally:
        reload(module)
    assert module.fcntl is fcntl


@pytest.mark.parametrize("path", ["~/out", "~", "~nobody/out"])
def test_a_home_that_no_shell_replaced_is_refused(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def folder() -> None:
        with atomic_folder(Path(path)):
            raise AssertionError

    def locked() -> None:
        with lock(Path(path)):
            raise AssertionError

    for write in (folder, locked, lambda: atomic_write(Path(path), b"")):
        with pytest.raises(StorageError, match="begins with ~.*; give the path in full"):
            write()
    assert not list(tmp_path.iterdir())
    (tmp_path / path.partition("/")[0]).mkdir()  # a folder that is really called so
    with atomic_folder(Path(path)) as new:
        (new / "a").touch()
    assert (tmp_path / path / "a").is_file()
