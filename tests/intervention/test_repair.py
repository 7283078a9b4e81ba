"""Repairs as files, and edits that stand while a context lasts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tests.families import tiny
from tests.intervention.dictionaries import made

from inscape.core import DataError, InputError
from inscape.dictionary import Dictionary
from inscape.intervention import FeatureEdit, Repair, edited, edits
from inscape.model import Model


def random_dictionary(site: str, seed: int = 0, m: int = 8, d: int = 32) -> Dictionary:
    torch.manual_seed(seed)
    return made(site, torch.randn(m, d), torch.randn(m), torch.randn(m, d), torch.randn(d))


TOKENS = torch.tensor([[5, 9, 13, 7]])


@pytest.fixture(scope="module")
def model() -> Model:
    return Model.wrap(tiny("llama"), name="tiny")


def logits(model: Model, changes: list[FeatureEdit] | None = None) -> torch.Tensor:
    hooks = edits(model, changes) if changes else None
    found = model.run(TOKENS, edits=hooks, logits="all").logits
    assert found is not None
    return found


def test_edits_stand_while_the_context_lasts(model: Model) -> None:
    change = FeatureEdit(random_dictionary("resid_post.1"), 3, "add", 4.0)
    plain, changed = logits(model), logits(model, [change])
    assert not torch.equal(plain, changed)
    with edited(model, [change]):
        assert torch.equal(logits(model), changed)
        once = model.generate(TOKENS, 3)
    assert torch.equal(logits(model), plain)
    assert torch.equal(once, model.generate(TOKENS, 3, edits=edits(model, [change])))


def test_a_repair_is_read_back_and_does_the_same(model: Model, tmp_path: Path) -> None:
    dictionary = random_dictionary("resid_post.1")
    changes = [
        FeatureEdit(dictionary, 3, "clamp", 4.0, unit=2.0, positions=(1, 2)),
        FeatureEdit(dictionary, 5, "ablate"),
    ]
    Repair.of(model, changes, prompt="a prompt").save(tmp_path / "repair.json")
    found = Repair.open(tmp_path / "repair.json")
    assert found.about == {"prompt": "a prompt"}
    again = found.edits(lambda name: {dictionary.name: dictionary}[name])
    assert torch.equal(logits(model, again), logits(model, changes))
    with pytest.raises(InputError, match="has other weights than the repair names"):
        found.edits(lambda name: random_dictionary("resid_post.1", seed=7))


def test_a_file_of_the_users_is_not_written_over(model: Model, tmp_path: Path) -> None:
    path = tmp_path / "repair.json"
    repair = Repair.of(model, [])
    repair.save(path)
    repair.save(path)  # its own is replaced
    path.write_text("my thesis")
    with pytest.raises(InputError, match="is there already, and this command did not write it"):
        repair.save(path)
    assert path.read_text() == "my thesis"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"schema": "other"}, "found schema 'other'"),
        ({"version": 9}, "found version 9 of inscape.repair"),
        ({"changes": [{"feature": 3}]}, "damaged"),
    ],
)
def test_what_is_no_repair_is_refused(
    change: dict[str, object], said: str, model: Model, tmp_path: Path
) -> None:
    content = Repair.of(model, []).to_json()
    (tmp_path / "r.json").write_text(json.dumps({**content, **change}))
    with pytest.raises(DataError, match=said):
        Repair.open(tmp_path / "r.json")
