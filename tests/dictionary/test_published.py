"""Dictionaries by the name of a published repository: no test asks the network."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import huggingface_hub
import huggingface_hub.constants
import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from tests.dictionary.test_dictionary import make
from tests.exchange.test_clt import write

from inscape.core import InputError, StorageError
from inscape.dictionary import Dictionary, local
from inscape.exchange import import_dictionary

COMMIT = "a" * 40


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The snapshot of someone/words in a local cache, and no network."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    repository = tmp_path / "hub" / "models--someone--words"
    (repository / "refs").mkdir(parents=True)
    for name in ("main", "v2"):
        (repository / "refs" / name).write_text(COMMIT)
    snapshot = repository / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    return snapshot


def test_a_published_dictionary_opens_in_one_line(cache: Path) -> None:
    made = make()
    made.save(cache / "layer_3" / "small")
    shutil.copytree(cache / "layer_3" / "small", cache, dirs_exist_ok=True)
    x = torch.randn(5, 8)
    for name in ("someone/words", "someone/words/layer_3/small"):
        assert torch.equal(Dictionary.open(name)(x), made(x))
    assert torch.equal(Dictionary.open("someone/words", revision="v2")(x), made(x))
    assert torch.equal(Dictionary.open("someone/words/layer_3/small@v2")(x), made(x))
    with pytest.raises(StorageError, match="could not be downloaded"):
        Dictionary.open("someone/words@v3")
    with pytest.raises(StorageError, match="someone/words has no layer_4"):
        Dictionary.open("someone/words/layer_4")


@pytest.mark.parametrize("nothing", [None, 5])
def test_what_names_no_dictionary(nothing: Any) -> None:
    with pytest.raises(InputError, match=f"a dictionary at {nothing}; expected a path"):
        Dictionary.open(nothing)


def test_a_folder_of_that_name_wins(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make().save(cache)
    make(k=2).save(tmp_path / "someone" / "words")
    monkeypatch.chdir(tmp_path)
    assert Dictionary.open("someone/words").k == 2


def test_offline_it_says_what_was_tried_and_how_to_get_it(cache: Path) -> None:
    with pytest.raises(StorageError) as caught:
        Dictionary.open("someone/else/layer_3")
    said = str(caught.value)
    assert "'someone/else/layer_3' is no path here, not in the local hub cache" in said
    assert "hf download someone/else --include 'layer_3/*'" in said
    assert "\n" not in said


def test_only_what_is_wanted_is_downloaded(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, dict[str, object]]] = []

    def download(name: str, *, local_files_only: bool = False, **settings: object) -> str:
        if local_files_only:
            raise LocalEntryNotFoundError("not here")
        asked.append((name, settings))
        make().save(tmp_path / "got" / "layer_3")
        return str(tmp_path / "got")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert Dictionary.open("someone/new/layer_3", revision="v2").d_dict == 40
    ((name, settings),) = asked
    assert (name, settings["revision"]) == ("someone/new", "v2")
    patterns = settings["allow_patterns"]
    assert patterns == ["layer_3/*", "layer_3"]
    with pytest.raises(StorageError, match="the repository someone/new has no layer_4"):
        Dictionary.open("someone/new/layer_4")


def test_foreign_dictionaries_are_imported_by_name(cache: Path) -> None:
    write(cache / "clt")
    for opened in (
        Dictionary.open(cache / "clt"),
        Dictionary.open("someone/words/clt"),
        import_dictionary("someone/words/clt"),
    ):
        assert opened.config.cross_layer


@pytest.mark.parametrize("name", ["../words", "a/../b", "words", "/a/b", "a//b", "a/b/../c"])
def test_what_is_no_name_is_a_path(cache: Path, name: str) -> None:
    assert local(name) == Path(name)
    with pytest.raises((InputError, StorageError), match="does not exist"):
        Dictionary.open(name)
