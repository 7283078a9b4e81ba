"""Explanations of other projects, in the layouts in which they publish them."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from inscape.core import InputError, StorageError
from inscape.labels.published import read_published


def row(index: int, text: str, layer: str = "6-res-jb", **other: Any) -> dict[str, Any]:
    named = {"modelId": "gpt2-small", "layer": layer, "index": str(index), "description": text}
    return {"id": f"c{index}", **named, "typeName": "oai_token-act-pair", **other}


def packed(rows: list[dict[str, Any]]) -> bytes:
    return gzip.compress("".join(json.dumps(one) + "\n" for one in rows).encode())


def export(folder: Path) -> Path:
    (folder / "explanations").mkdir(parents=True)
    first = [row(2, " food\n and drink"), row(0, "dates"), row(2, "a second one")]
    (folder / "explanations" / "batch-0.jsonl.gz").write_bytes(packed(first))
    (folder / "explanations" / "batch-10.jsonl.gz").write_bytes(packed([row(7, "too late")]))
    (folder / "explanations" / "batch-9.jsonl.gz").write_bytes(packed([row(7, "animals")]))
    return folder


def test_an_export_of_neuronpedia(tmp_path: Path) -> None:
    found = read_published(export(tmp_path / "6-res-jb"))
    assert found.texts == {0: "dates", 2: "food and drink", 7: "animals"}
    assert (found.name, found.about, found.num_more) == ("6-res-jb", "gpt2-small/6-res-jb", 2)
    assert read_published(tmp_path / "6-res-jb" / "explanations", "mine").texts == found.texts


def test_one_file_with_or_without_gzip_or_as_a_list(tmp_path: Path) -> None:
    rows = [row(3, "cities"), row(5, "plants")]
    (tmp_path / "a.jsonl.gz").write_bytes(packed(rows))
    (tmp_path / "b.jsonl").write_bytes(gzip.decompress(packed(rows)))
    (tmp_path / "c.json").write_text(json.dumps(rows, indent=1))
    for name in ("a.jsonl.gz", "b.jsonl", "c.json"):
        assert read_published(tmp_path / name).texts == {3: "cities", 5: "plants"}
    assert read_published(tmp_path / "a.jsonl.gz").name == "a"


def test_explanations_and_scores_of_delphi(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    for name in ("explanations", "scores/detection", "scores/fuzz", "scores/embedding"):
        (folder / name).mkdir(parents=True)
    for feature, text in {12: "names of rivers", 3: "verbs of motion"}.items():
        file = f"model--layers.6_latent{feature}.txt"
        (folder / "explanations" / file).write_text(json.dumps(text))
    file = "model--layers.6_latent12.txt"
    said = [(True, True), (True, False), (False, False), (False, None)]
    rows = [{"activating": fires, "prediction": prediction} for fires, prediction in said]
    (folder / "scores/detection" / file).write_text(json.dumps(rows))
    (folder / "scores/fuzz" / file).write_text(json.dumps(rows[:2]))  # one side alone
    (folder / "scores/embedding" / file).write_text(json.dumps([{"text": "a", "similarity": 0.5}]))
    found = read_published(folder)
    assert found.texts == {3: "verbs of motion", 12: "names of rivers"}
    assert found.about == "model/layers.6"
    assert found.accuracy == {"detection": {12: 0.75}}


def test_explanations_of_several_dictionaries_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "all.jsonl.gz"
    file.write_bytes(packed([row(0, "a"), row(0, "b", layer="7-res-jb")]))
    with pytest.raises(InputError, match="'gpt2-small/6-res-jb', 'gpt2-small/7-res-jb'"):
        read_published(file)


@pytest.mark.parametrize(
    "content",
    [
        b'{"index": "1"}\n',
        b'{"index": "-1", "description": "x"}\n',
        b'{"index": true, "description": "x"}\n',
        b'{"index": 1.5, "description": "x"}\n',
        b"[1, 2]",
        b"no JSON\n",
        b"[" * 100_000,
        b"\xff\xfe",
        packed([row(0, "a")])[:-12],
    ],
    ids=["no-text", "negative", "true", "float", "list", "words", "deep", "encoding", "cut"],
)
def test_a_damaged_file_is_one_line(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "x.jsonl.gz"
    file.write_bytes(content)
    with pytest.raises(StorageError) as error:
        read_published(file)
    assert str(file) in str(error.value)


def test_nothing_to_read(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_bytes(b"\n")
    (tmp_path / "blank.jsonl").write_text(json.dumps(row(1, " ")))
    for path in (tmp_path / "empty.jsonl", tmp_path / "blank.jsonl"):
        with pytest.raises(InputError, match="holds no explanations"):
            read_published(path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="holds no explanations"):
        read_published(tmp_path / "folder")
    with pytest.raises(StorageError, match="does not exist"):
        read_published(tmp_path / "nowhere")
    with pytest.raises(InputError, match="--name"):
        read_published(tmp_path / "empty.jsonl", "a/b")
