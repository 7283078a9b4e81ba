"""The documentation's pages are all in the navigation, and their links lead somewhere."""

from __future__ import annotations

import ast
import builtins
import re
from pathlib import Path

import pytest
import yaml


def pages(repository: Path) -> list[Path]:
    return sorted((repository / "docs").glob("*.md"))


def test_the_navigation_has_every_page(repository: Path) -> None:
    nav = yaml.safe_load((repository / "mkdocs.yml").read_text())["nav"]
    named = [name for entry in nav for name in entry.values()]
    assert sorted(named) == [path.name for path in pages(repository)]


def test_every_link_of_the_docs_leads_somewhere(repository: Path) -> None:
    readmes = [repository / "README.md", repository / "packages/microworld/README.md"]
    for page in [*pages(repository), *readmes, repository / "CONTRIBUTING.md"]:
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page}: {target}"


def test_the_reference_names_what_there_is(repository: Path) -> None:
    import inscape

    names = re.findall(r"^::: (\S+)", (repository / "docs" / "api.md").read_text(), re.M)
    public = {name.rpartition(".")[2] for name in names}
    assert set(inscape.__all__) - public == {"__version__"}


@pytest.mark.parametrize("word", ["told", "rivals", "begin anew", "eyes"])
def test_pages_are_in_plain_english(word: str, repository: Path) -> None:
    for page in pages(repository):
        if page.name != "smollm2-features.md":  # the model's own words
            assert not re.search(rf"\b{word}\b", page.read_text()), page


def test_every_python_example_defines_its_names(repository: Path) -> None:
    """In the order of the page: by an import or an assignment of the same or an earlier block."""
    for page in [*pages(repository), repository / "README.md"]:
        known = set(dir(builtins))
        for block in re.findall(r"^```python\n(.*?)^```", page.read_text(), re.M | re.S):
            names = [node for node in ast.walk(ast.parse(block)) if isinstance(node, ast.Name)]
            known |= {node.id for node in names if isinstance(node.ctx, ast.Store)}
            for node in ast.walk(ast.parse(block)):
                if isinstance(node, ast.Import | ast.ImportFrom):
                    known |= {one.asname or one.name.partition(".")[0] for one in node.names}
                elif isinstance(node, ast.FunctionDef | ast.ClassDef):
                    known.add(node.name)
                elif isinstance(node, ast.arg):
                    known.add(node.arg)
            used = {node.id for node in names if isinstance(node.ctx, ast.Load)}
            assert used <= known, f"{page}: {sorted(used - known)} in\n{block}"


def test_every_format_is_in_the_table(repository: Path) -> None:
    from inscape.exchange.registry import FORMATS

    page = (repository / "docs" / "dictionaries.md").read_text()
    for name in FORMATS:
        assert re.search(rf"^\| `{name}`", page, re.M), name
