"""The demo writes into its own folder only."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.families import tiny

from inscape.atlas import Atlas
from inscape.core import InputError
from inscape.model import Model
from inscape.report.demo import demo


def test_a_folder_of_the_users_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("my thesis")
    with pytest.raises(InputError, match="is there already; expected a new folder"):
        demo(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["text.txt"]


def test_an_atlas_of_another_model_is_refused(tmp_path: Path) -> None:
    Atlas.create(tmp_path / "atlas", Model.wrap(tiny("llama"), name="mine"))
    with pytest.raises(InputError, match="atlas is an atlas of mine; expected one of smollm2"):
        demo(tmp_path / "out", atlas=tmp_path / "atlas")
    assert [path.name for path in tmp_path.rglob("*")] == ["atlas", "atlas.json"]
