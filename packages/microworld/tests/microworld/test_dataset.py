"""The corpus as a dataset: what is in it, that it goes on, and what it refuses."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from inscape.core import InputError
from inscape_microworld import dataset, documents, fault
from inscape_microworld.domains import DOMAINS
from inscape_microworld.faults import FAULTS


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("made") / "corpus"
    patch = pytest.MonkeyPatch()
    patch.setattr(dataset, "SHARD", 40)
    dataset.export(out, seed=3, count=100, held_out=4)
    patch.undo()
    return out


def test_both_forms_hold_the_stream_with_its_truth(folder: Path) -> None:
    shards = sorted((folder / "train").glob("*.parquet"))
    assert [p.name for p in shards] == [f"{k:05d}-of-00003.parquet" for k in range(3)]
    rows = [row for shard in shards for row in pq.read_table(shard).to_pylist()]
    lines = [
        json.loads(line)
        for shard in shards
        for line in shard.with_suffix(".jsonl").read_text().splitlines()
    ]
    assert rows == lines
    made = list(documents(3, 100))
    assert [r["text"] for r in rows] == [d.text for d in made]
    assert [r["id"] for r in rows] == [str(i) for i in range(100)]
    for row, document in zip(rows, made, strict=True):
        assert [m["concept"] for m in row["mentions"]] == [m.concept for m in document.mentions]
        assert [tuple(a["chain"]) for a in row["answers"]] == [a.chain for a in document.answers]


def test_held_out_documents_and_faults_are_parts_of_their_own(folder: Path) -> None:
    assert {p.stem for p in (folder / "held_out").glob("*.parquet")} == set(DOMAINS)
    rows = pq.read_table(folder / "faults" / "all.parquet").to_pylist()
    assert {r["fault"] for r in rows} == set(FAULTS)
    failures = [r for r in rows if r["fault"] == "unagi" and r["role"] == "failure"]
    assert len(failures) == len(fault("unagi").prompts)
    assert all(r["twin"] and r["trigger"] in r["text"] for r in failures)
    assert {r["role"] for r in rows} == {"failure", "rival", "other"}


def test_the_card_names_the_parts_that_are_there(folder: Path) -> None:
    card = (folder / "README.md").read_text()
    header = card.split("---")[1]
    for pattern in re.findall(r"data_files: (.+)", header):
        assert list(folder.glob(pattern)), pattern
    assert all(f"| `{name}` |" in card for name in FAULTS)


def test_what_is_there_is_not_written_again_and_other_settings_are_refused(
    folder: Path, monkeypatch
) -> None:
    monkeypatch.setattr(dataset, "SHARD", 40)
    kept = folder / "train" / "00001-of-00003.parquet"
    lost = folder / "train" / "00002-of-00003.jsonl"
    before, text = kept.stat().st_mtime_ns, lost.read_text()
    lost.unlink()
    dataset.export(folder, seed=3, count=100, held_out=4)
    assert kept.stat().st_mtime_ns == before
    assert lost.read_text() == text
    with pytest.raises(InputError, match="made otherwise"):
        dataset.export(folder, seed=4, count=100, held_out=4)
    with pytest.raises(InputError, match="at least one"):
        dataset.export(folder / "new", count=0)
