"""Sets of prompts: read from files, drawn from templates, refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from inscape.circuits import SETS, draw, read_set
from inscape.core import InputError

TEMPLATES: dict[str, Any] = {
    "words": {"names": ["Ann", "Bob", "Cid"], "places": ["park", "zoo"]},
    "slots": {"A": "names", "B": "names", "PLACE": "places"},
    "templates": ["[A] and [B] went to the [PLACE]; [B] paid", "The [PLACE]: [B], [A], then [B]"],
    "answer": " [A]",
    "wrong": " [B]",
    "other": {"B 2": "A"},
    "roles": {"A": "receiver", "B": "giver", "B 2": "giver again"},
}
LINE = {
    "prompt": "Ann met Bob and Bob paid",
    "answer": " Ann",
    "wrong": " Bob",
    "other": "Ann met Bob and Ann paid",
    "roles": {"giver": "Bob", "giver again": ["Bob", 2]},
    "other_roles": {"giver again": ["Ann", 2]},
}


def test_templates_are_filled() -> None:
    found = draw(TEMPLATES, 8, seed=1)
    assert len({(one.prompt, one.other) for one in found}) == 8
    assert {one.template for one in found} == set(TEMPLATES["templates"])
    for one in found:
        a, b = one.answers[0].strip(), one.wrong[0].strip()
        assert a != b
        parts = {name: one.prompt[low:high] for name, (low, high) in one.roles.items()}
        assert parts["receiver"] == a
        assert parts["giver"] == parts["giver again"] == b
        low, high = one.other_roles["giver again"]
        assert one.other[low:high] == a
        assert one.prompt != one.other
    assert draw(TEMPLATES, 8, seed=1) == found
    assert draw(TEMPLATES, 8, seed=2) != found
    assert len(draw(TEMPLATES, 1000)) == 24  # 2 templates × 6 pairs × 2 places: all there are


def test_records_and_lists_of_answers() -> None:
    content = {
        "words": {"towns": [{"town": "Rome", "land": "Italy"}, {"town": "Oslo", "land": "Norway"}]},
        "slots": {"X": "towns", "Y": "towns"},
        "templates": ["[X.town] is in"],
        "answer": [" [X.land]", " the land [X.land]"],
        "wrong": " [Y.land]",
        "other": {"X": "Y"},
    }
    one = draw(content, 1)[0]
    lands = {"Rome": "Italy", "Oslo": "Norway"}
    town = one.prompt.split()[0]
    assert one.answers == (f" {lands[town]}", f" the land {lands[town]}")
    assert one.roles == {"X.town": (0, 4)}
    assert one.other != one.prompt


@pytest.mark.parametrize("name", SETS)
def test_the_sets_of_the_package_can_be_drawn(name: str) -> None:
    found = read_set(name, 40)
    assert len(found) == 40
    for one in found:
        assert set(one.answers) != set(one.wrong)
        assert list(one.roles) == list(one.other_roles)


def test_lines_are_read(tmp_path: Path) -> None:
    path = tmp_path / "set.jsonl"
    path.write_text(json.dumps(LINE) + "\n\n" + json.dumps({**LINE, "roles": {"x": [0, 3]}}) + "\n")
    one, two = read_set(path)
    assert one.roles == {"giver": (8, 11), "giver again": (16, 19)}
    assert one.other_roles["giver again"] == (16, 19)
    assert two.roles == {"x": (0, 3)}
    assert one.place.endswith(" line 1")
    assert two.place.endswith(" line 3")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"answer": ""}, "line 1: answer is ''"),
        ({"answer": None}, "line 1: answer is None"),
        ({"other": 3}, "line 1: other is 3"),
        ({"roles": ["x"]}, "line 1: roles are"),
        ({"other_role": {}}, "line 1: there is a field 'other_role'; expected 'other_roles'"),
        ({"other": LINE["prompt"]}, "line 1: the other prompt is the same"),
        ({"roles": {"x": "Zoe"}}, "'Zoe', the part called 'x', is not in"),
        ({"roles": {"x": ["Bob", 3]}}, "the part called 'x', is not in"),
        ({"roles": {"x": [5, 99]}}, "the part called 'x', is not in"),
    ],
)
def test_a_line_that_lacks_something_is_named(
    change: dict[str, Any], said: str, tmp_path: Path
) -> None:
    path = tmp_path / "set.jsonl"
    path.write_text(json.dumps({**LINE, **change}))
    with pytest.raises(InputError, match=said):
        read_set(path)


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no set of prompts 'nothing'; expected .*capitals"):
        read_set("nothing")
    (tmp_path / "a.jsonl").write_text("{")
    with pytest.raises(InputError, match="line 1 is no JSON"):
        read_set(tmp_path / "a.jsonl")
    (tmp_path / "b.jsonl").write_text("\n")
    with pytest.raises(InputError, match="holds no prompts"):
        read_set(tmp_path / "b.jsonl")
    for change, said in (
        ({"words": {}}, "words is"),
        ({"slots": {"A": "towns"}}, "slot A draws from 'towns'"),
        ({"templates": []}, "templates is"),
        ({"templates": ["[Z] is"]}, r"\[Z\] has no filling"),
        ({"words": {"names": ["Ann"], "places": ["zoo"]}}, "list 'names' has 1 words"),
    ):
        with pytest.raises(InputError, match=said):
            draw({**TEMPLATES, **change}, 2)
