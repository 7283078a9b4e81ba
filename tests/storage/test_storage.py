from __future__ import annotations

import dataclasses
import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from inscape.core import InputError, StorageError
from inscape.storage import (
    MANIFEST,
    atomic_file,
    atomic_folder,
    atomic_write,
    lock,
    plain,
    read_json,
    read_manifest,
    read_tensors,
    temporary_name,
    tensor_metadata,
    write_json,
    write_manifest,
    write_tensors,
)
from inscape.storage import atomic as atomic_module


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_failed_write_leaves_what_was_there_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file.bin"
    atomic_write(path, b"first")
    with pytest.raises(KeyboardInterrupt), atomic_file(path) as file:
        file.write(b"second, half")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"first"
    assert names(path.parent) == ["file.bin"]


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "made"
    with pytest.raises(RuntimeError), atomic_folder(path) as folder:
        (folder / "a").write_text("half")
        assert not path.exists()
        raise RuntimeError
    assert names(tmp_path) == []
    for content in ("one", "two"):
        with atomic_folder(path, lambda folder: (folder / "one").is_file()) as folder:
            (folder / content).write_text(content)
        assert names(path) == [content]
    assert names(tmp_path) == ["made"]


def test_a_kill_while_replacing_a_folder_is_undone_by_the_next_write(tmp_path: Path) -> None:
    made = tmp_path / "made"
    with pytest.raises(InputError), atomic_folder(made) as folder:
        (folder / "new").touch()
        made.mkdir()  # by somebody else, meanwhile
        (made / "former").touch()
    former = temporary_name(made, what="replaced")
    made.rename(former)
    temporary_name(made).mkdir()
    with pytest.raises(RuntimeError), atomic_folder(made, lambda _: True):
        raise RuntimeError
    assert names(tmp_path) == ["made"]
    assert names(tmp_path / "made") == ["former"]


class FullDisk:
    """Stands for a file on a disk that is full after a number of bytes."""

    def __init__(self, path: Path, room: int) -> None:
        self.file, self.room = open(path, "wb"), room  # noqa: SIM115

    def write(self, data: bytes) -> int:
        self.room -= len(data)
        if self.room < 0:
            self.file.write(bytes(len(data) // 2))
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self.file.write(data)

    def __enter__(self) -> FullDisk:
        return self

    def __exit__(self, *error: object) -> None:
        self.file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)


def test_a_full_disk_says_what_to_do_and_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "w.safetensors"
    write_tensors(path, {"x": np.ones(4, np.float32)})
    monkeypatch.setattr(atomic_module, "open", lambda p, _: FullDisk(p, 200), raising=False)
    with pytest.raises(StorageError, match="no space left.*goes on where it was") as caught:
        write_tensors(path, {"x": np.zeros(1000, np.float32)})
    assert "\n" not in str(caught.value)
    monkeypatch.undo()
    assert names(tmp_path) == ["w.safetensors"]
    assert read_tensors(path)["x"].tolist() == [1, 1, 1, 1]


def test_tensors_come_back_with_their_types(tmp_path: Path) -> None:
    path = tmp_path / "t.safetensors"
    rng = np.random.default_rng(0)
    tensors: dict[str, np.ndarray[Any, Any]] = {
        "half": rng.normal(size=(3, 5)).astype(ml_dtypes.bfloat16),
        "turned": rng.normal(size=(4, 6)).astype(np.float32).T,
        "ids": np.arange(7, dtype=np.int64),
        "flags": np.array([True, False]),
        "empty": np.zeros((0, 3), np.float32),
        "scalar": np.array(2.5),
    }
    write_tensors(path, tensors, {"site": "resid_post.1"})
    found = read_tensors(path)
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        np.testing.assert_array_equal(found[name], tensor)
    assert tensor_metadata(path) == {"site": "resid_post.1"}
    assert list(read_tensors(path, ["ids"])) == ["ids"]
    with pytest.raises(StorageError, match="no tensor 'other'; expected one of"):
        read_tensors(path, ["other"])


def test_other_libraries_read_our_tensors(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    write_tensors(tmp_path / "t", {"x": np.arange(3).astype(ml_dtypes.bfloat16)})
    assert load_file(tmp_path / "t")["x"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("keep", [0, 4, 40, 150])
def test_a_half_written_tensor_file_is_named(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "shard-00003.safetensors"
    write_tensors(path, {"x": np.ones(64, np.float32)})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(StorageError, match=r"shard-00003\.safetensors is half-written"):
        read_tensors(path)


def made(folder: Path, version: int = 2) -> Path:
    folder.mkdir()
    (folder / "data.bin").write_bytes(b"0123456789")
    (folder / ".lock").touch()
    write_manifest(folder, "thing", version, made_from={"model": "m"}, seeds={"a": 1})
    return folder


def test_a_manifest_says_what_the_folder_is(tmp_path: Path) -> None:
    manifest = read_manifest(made(tmp_path / "t"), "thing", 2, verify=True)
    assert (manifest["kind"], manifest["version"]) == ("thing", 2)
    assert (manifest["made_from"], manifest["seeds"]) == ({"model": "m"}, {"a": 1})
    assert list(manifest["files"]) == ["data.bin"]
    with pytest.raises(ValueError, match="files"):
        write_manifest(tmp_path / "t", "thing", 2, made_from={}, extra={"files": 1})


def test_a_reader_names_the_newer_version_and_its_own(tmp_path: Path) -> None:
    folder = made(tmp_path / "t", version=3)
    with pytest.raises(StorageError, match="found version 3 of thing.*reads up to 2.*upgrade"):
        read_manifest(folder, "thing", 2)
    assert read_manifest(folder, "thing", 4)["version"] == 3


def test_what_is_wrong_with_a_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="does not exist; expected a folder with a thing"):
        read_manifest(tmp_path / "none", "thing", 1)
    with pytest.raises(StorageError, match=r"is not an atlas: it has no manifest\.json"):
        read_manifest(tmp_path, "atlas", 1)
    folder = made(tmp_path / "t")
    with pytest.raises(StorageError, match="is a thing; expected an atlas"):
        read_manifest(folder, "atlas", 1)
    (folder / "data.bin").write_bytes(b"9876543210")
    read_manifest(folder, "thing", 2)
    with pytest.raises(StorageError, match="differs from its checksum"):
        read_manifest(folder, "thing", 2, verify=True)
    (folder / "data.bin").write_bytes(b"01234")
    with pytest.raises(StorageError, match="has 5 bytes and is half-written"):
        read_manifest(folder, "thing", 2)
    (folder / "data.bin").unlink()
    with pytest.raises(StorageError, match=r"data\.bin is missing"):
        read_manifest(folder, "thing", 2)
    (folder / MANIFEST).write_text('{"kind": "thi')
    with pytest.raises(StorageError, match="not readable as JSON"):
        read_manifest(folder, "thing", 2)


def test_json_is_strict(tmp_path: Path) -> None:
    write_json(tmp_path / "x.json", {"a": [1, "ä"]})
    assert read_json(tmp_path / "x.json") == {"a": [1, "ä"]}
    write_json(tmp_path / "x.json", {"half": "a \ud800 b"})
    assert read_json(tmp_path / "x.json") == {"half": "a \ud800 b"}
    (tmp_path / "x.json").write_text("[" * 100_000)
    with pytest.raises(StorageError, match="nested too deeply"):
        read_json(tmp_path / "x.json")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(StorageError, match="is a pipe or a device"):
        read_json(tmp_path / "pipe")
    (tmp_path / "pipe").unlink()
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "y.json", float("nan"))
    assert names(tmp_path) == ["x.json"]
    with pytest.raises(StorageError, match="does not exist"):
        read_json(tmp_path / "none.json")


HOLD = """
import sys, time
from pathlib import Path
from inscape.storage import lock
with lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_one_writer_at_a_time_and_the_holder_is_named(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        holder = f"is being written by process {other.pid} on .* since"
        with pytest.raises(StorageError, match=holder), lock(tmp_path):
            pass
        other.kill()
    with lock(tmp_path):
        assert json.loads((tmp_path / ".lock").read_text())["process"] == os.getpid()


def test_a_read_only_place_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, "denied")

    monkeypatch.setattr(atomic_module.os, "replace", refuse)
    with pytest.raises(StorageError, match="cannot write .*choose a folder"):
        atomic_write(tmp_path / "x", b"")
    monkeypatch.undo()
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="a file of that name is in the way"):
        atomic_write(tmp_path / "file" / "x", b"")


def test_results_become_plain_json(tmp_path: Path) -> None:
    @dataclasses.dataclass
    class Inner:
        share: float
        where: Path

    found = plain(
        {
            1: Inner(float("nan"), Path("a/b")),
            "array": np.array([[1, 2], [3, 4]]),
            "scalar": np.float32(0.5),
            "infinite": np.array([np.inf, 1.0]),
            "several": (True, None, {"x"}),
        }
    )
    assert found == {
        "1": {"share": None, "where": "a/b"},
        "array": [[1, 2], [3, 4]],
        "scalar": 0.5,
        "infinite": [None, 1.0],
        "several": [True, None, ["x"]],
    }
    write_json(tmp_path / "x.json", found)


@pytest.mark.parametrize("value", [None, "many", True, [1]])
def test_an_entry_of_another_type_is_named(tmp_path: Path, value: object) -> None:
    write_manifest(tmp_path, "thing", 1, made_from={"text": "x"}, extra={"count": value})
    with pytest.raises(StorageError, match="does not describe a thing: count is"):
        read_manifest(tmp_path, "thing", 1, fields={"count": int})
    with pytest.raises(StorageError, match=r"made_from\.words is"):
        read_manifest(tmp_path, "thing", 1, fields={"made_from.words": str})
    assert read_manifest(tmp_path, "thing", 1, fields={"made_from.text": str})["kind"] == "thing"
