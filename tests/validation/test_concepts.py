"""Concepts of a file, found in a dictionary whose features are the tokens of a text."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
import torch
from tests.families import tiny, tiny_tokenizer
from tests.intervention.dictionaries import made

from inscape.core import DataError, InputError, StorageError
from inscape.dictionary import Dictionary
from inscape.model import Model
from inscape.validation import ConceptChecks, check_concepts, read_concepts

FRAMES = ["a {}", "the {} sat", "on {} mat", "{} in Paris", "sat; {}", "the mat {}"]


@pytest.fixture(scope="module")
def model() -> Model:
    return Model.wrap(tiny("llama", vocab_size=300), tiny_tokenizer())


@pytest.fixture(scope="module")
def dictionary(model: Model) -> Dictionary:
    """A feature for every token, which fires on that token alone."""
    given = model.module.get_input_embeddings().weight.detach().float()
    rows = torch.nn.functional.normalize(given, dim=1)
    closest = (rows @ given.T - 2 * torch.diag(given.norm(dim=1))).amax(1)
    threshold = torch.maximum(closest, 0.9 * given.norm(dim=1))
    found = made("embed", rows, -threshold, rows, torch.zeros(given.shape[1]))
    return found.renamed("tokens")


def _write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def _frames() -> str:
    return f"frames = {json.dumps(FRAMES)}"


def test_a_concept_of_two_tokens_takes_a_union_and_is_judged_on_other_texts(
    model: Model, dictionary: Dictionary, tmp_path: Path
) -> None:
    path = _write(
        tmp_path / "c.toml",
        f"""
        [[concept]]
        name = "one"
        {_frames()}
        matching = [" cat"]
        distracting = [" dog", " mat"]

        [[concept]]
        name = "two"
        {_frames()}
        matching = [" cat", " dog"]
        distracting = [" z", " q", " x"]

        [[concept]]
        name = "none"
        threshold = 0.95
        matching = ["b b", "k", "h h h", "w w", "f", "v v"]
        distracting = ["b", "k k", "h", "w", "f f f", "v"]
        """,
    )
    found = check_concepts(model, [dictionary], read_concepts(path))
    one, two, none = found.checks
    ids = {word: f"tokens/{model.encode(word)[-1]}" for word in (" cat", " dog")}
    assert one.feature is not None
    assert one.union is not None
    assert one.feature.parts == one.union.parts == (ids[" cat"],)
    assert (one.auroc, one.union.precision, one.union.recall) == (1, 1, 1)
    assert two.feature is not None
    assert two.union is not None
    assert set(two.union.parts) == set(ids.values())
    assert two.feature.auroc == pytest.approx(0.75)
    assert two.auroc == 1
    assert two.num_matching == len(FRAMES)
    assert two.num_distracting == 1.5 * len(FRAMES)
    assert one.beside["token"].auroc == 1
    assert "cat" in one.beside["token"].parts[0]
    assert {"dimension", "neuron", "token", "probe"} == set(one.beside)
    assert not none.is_found  # which letter occurs says nothing: each is on both sides
    assert found.missed == [none]
    assert ConceptChecks.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_a_dictionary_that_never_fires_finds_nothing(
    model: Model, dictionary: Dictionary, tmp_path: Path
) -> None:
    weights = {**dictionary.weights, "b_enc": torch.full((dictionary.d_dict,), -1e6)}
    silent = Dictionary(dictionary.config, weights, name="silent")
    path = _write(
        tmp_path / "c.toml",
        f'[[concept]]\nname = "x"\n{_frames()}\nmatching = "cat"\ndistracting = "dog"\n',
    )
    check = check_concepts(model, [silent], read_concepts(path)).checks[0]
    assert (check.feature, check.union, check.auroc, check.is_found) == (None, None, 0.5, False)


def test_rows_of_a_file_make_concepts_by_the_values_of_a_field(tmp_path: Path) -> None:
    rows = [
        {"kind": kind, "name": f"{kind} {i}", "about": f"text {i}", "set": i % 2}
        for kind in ("bird", "fish", "tree")
        for i in range(12)
    ]
    lines = "\n".join(json.dumps(row) for row in rows)
    (tmp_path / "rows.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    path = _write(
        tmp_path / "c.toml",
        """
        threshold = 0.8
        [[each]]
        file = "rows.jsonl.gz"
        text = "{name}: {about}"
        by = "kind"
        where = { set = 0 }
        limit = 5
        threshold = 0.7

        [[concept]]
        name = "fish or trees"
        matching = { file = "rows.jsonl.gz", text = "{name}", unless = { kind = "bird" } }
        distracting = { file = "rows.jsonl.gz", text = "{name}", where = { kind = ["bird"] } }
        """,
    )
    last, *each = read_concepts(path)
    assert [concept.name for concept in each] == ["bird", "fish", "tree"]
    assert [sum(concept.matches) for concept in each] == [5, 5, 5]
    assert [len(concept.texts) for concept in each] == [15, 15, 15]
    assert {text[:4] for text, yes in zip(each[1].texts, each[1].matches, strict=True) if yes} == {
        "fish"
    }
    assert (each[0].threshold, last.threshold) == (0.7, 0.8)
    assert sum(last.matches) == 24


def test_duplicates_and_groups_stay_on_one_side(tmp_path: Path) -> None:
    path = _write(
        tmp_path / "c.toml",
        """
        [[concept]]
        name = "x"
        matching = ["a", "A  ", "b", "c", "d", "e", "both"]
        distracting = ["f", "g", "Both", "h", "i", "i"]
        """,
    )
    concept = read_concepts(path)[0]
    assert concept.texts == ("a", "b", "c", "d", "e", "f", "g", "h", "i")
    assert concept.num_left_out == 4
    framed = _write(
        tmp_path / "f.toml",
        f'[[concept]]\nname = "x"\n{_frames()}\nmatching = "cat"\ndistracting = ["dog", "mat"]\n',
    )
    concept = read_concepts(framed)[0]
    first = {g for g, second in zip(concept.groups, concept.second, strict=True) if not second}
    other = {g for g, second in zip(concept.groups, concept.second, strict=True) if second}
    assert first | other == set(FRAMES)
    assert not first & other


BAD = {
    '[[concept]]\nname = "x"\nmatchin = "a"\n': "matchin",
    'treshold = 0.5\n[lines]\na = ["b"]\n': "treshold",
    '[[concept]]\nname = "x"\nmatching = { file = "r.jsonl", wher = 1 }\ndistracting = "a"': "wher",
    '[[concept]]\nname = "x"\nmatching = "a"\ndistracting = "b"\nthreshold = 2': "threshold",
    '[[concept]]\nname = "x"\nmatching = ["a"]\ndistracting = ["b"]': "at least 4",
    '[[each]]\nfile = "r.jsonl"\nby = "sort"': "no row of .*r.jsonl has a field 'sort'",
    '[[each]]\nfile = "r.jsonl"\nby = "kind"\ntext = "{text"': "not usable",
    '[[each]]\nfile = "absent.jsonl"\nby = "kind"': "no file",
    '[[each]]\nfile = "broken.jsonl"\nby = "kind"': "broken.jsonl",
    "threshold = ": "no TOML",
    "": "no concept",
    '[lines]\na = ["1", "2", "3", "4"]\nb = ["5", "6", "7", "8"]\n[[concept]]\nname = "a"\n'
    'matching = ["1", "2", "3", "4"]\ndistracting = ["5", "6", "7", "8"]': "two concepts 'a'",
}


@pytest.mark.parametrize("text", BAD)
def test_a_mistake_in_the_file_is_one_line_that_names_it(text: str, tmp_path: Path) -> None:
    _write(tmp_path / "r.jsonl", '{"kind": "a", "text": "b"}\n')
    _write(tmp_path / "broken.jsonl", "{not json\n")
    path = _write(tmp_path / "concepts.toml", text)
    with pytest.raises((InputError, DataError, StorageError), match=BAD[text]) as caught:
        read_concepts(path)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_everyday_concepts_can_be_read() -> None:
    found = read_concepts()
    assert len(found) >= 15
    assert all(len(concept.texts) >= 20 for concept in found)
