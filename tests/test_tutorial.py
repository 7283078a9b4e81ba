"""The tutorial: the notebook is the page, and every cell runs."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

from inscape.model import Model


@pytest.fixture(scope="module")
def page(repository: Path) -> ModuleType:
    sys.path.insert(0, str(repository / "docs"))
    try:
        import notebook
    finally:
        sys.path.pop(0)
    return notebook


def test_the_notebook_is_the_page(page: ModuleType, repository: Path) -> None:
    text = (repository / "docs" / "tutorial.md").read_text()
    written = json.loads((repository / "docs" / "tutorial.ipynb").read_text())
    assert written == page.notebook(text), "run: python docs/notebook.py"


def test_every_cell_runs(page: ModuleType, repository: Path, smollm2: Model) -> None:
    scope: dict[str, object] = {}
    for kind, content in page.cells((repository / "docs" / "tutorial.md").read_text()):
        if kind == "code":
            exec(compile(content, content.splitlines()[0], "exec"), scope)
    assert scope["diagnosis"].repair.changes  # type: ignore[attr-defined]
