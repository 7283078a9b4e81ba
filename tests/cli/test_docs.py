"""The page about the command line names every verb and every option."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer

from inscape.cli import main as shell


@pytest.mark.parametrize("verb", shell.VERBS)
def test_every_verb_and_option_is_documented(verb: str, repository: Path) -> None:
    page = (repository / "docs" / "cli.md").read_text()
    sections = dict(part.split("\n", 1) for part in page.split("\n## ")[1:])
    assert list(sections) == list(shell.VERBS)
    group = typer.main.get_command(shell.make_app([verb]))
    options = {
        name: parameter
        for parameter in group.commands[verb].params  # type: ignore[attr-defined]
        if parameter.param_type_name == "option" and parameter.name != "help"
        for name in (*parameter.opts, *parameter.secondary_opts)
    }
    documented = {
        name.strip("`"): line
        for line in sections[verb].splitlines()
        if line.startswith("| `--")
        for name in line.split("|")[1].strip().split(" / ")
    }
    assert documented.keys() == options.keys()
    for name, parameter in options.items():
        if parameter.default is not None and not isinstance(parameter.default, bool):
            assert f" Default: {parameter.default}. |" in documented[name]


def test_the_readme_names_every_verb(repository: Path) -> None:
    readme = (repository / "README.md").read_text()
    assert [verb for verb in shell.VERBS if f"| `{verb}` |" not in readme] == []
