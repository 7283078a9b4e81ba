"""The page about the command line names every verb and every option."""

from __future__ import annotations

import sys
from pathlib import Path

from inscape.cli import main as shell


def test_the_page_has_the_options_as_they_are(repository: Path) -> None:
    sys.path.insert(0, str(repository / "docs"))
    try:
        import options
    finally:
        sys.path.pop(0)
    text = (repository / "docs" / "cli.md").read_text()
    assert options.page(text) == text, "run: python docs/options.py"


def test_the_readme_names_every_verb(repository: Path) -> None:
    readme = (repository / "README.md").read_text()
    assert [verb for verb in shell.VERBS if f"| `{verb}` |" not in readme] == []
