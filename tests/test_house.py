"""The house keeps its own rules."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import inscape

# The rooms, from the top down; each imports only rooms below it.
ROOMS = (
    "cli report atlas validation diagnosis circuits attribution labels features intervention "
    "training activations exchange dictionary model storage core"
).split()


def test_every_folder_is_a_room_of_the_one_contract(repository: Path) -> None:
    source = repository / "src" / "inscape"
    folders = {p.name for p in source.iterdir() if p.is_dir() and any(p.rglob("*.py"))}
    assert folders == set(ROOMS)
    settings = tomllib.loads((repository / "pyproject.toml").read_text())["tool"]["importlinter"]
    (contract,) = [c for c in settings["contracts"] if c["type"] == "layers"]
    assert contract["layers"] == ["inscape_microworld", *(f"inscape.{room}" for room in ROOMS)]
    assert "ignore_imports" not in contract


def loaded_by(code: str) -> set[str]:
    script = f"{code}\nimport sys, json; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout))


HEAVY = {"torch", "transformers", "numba", "pyarrow", "sklearn", "scipy", "numpy"}


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert loaded_by("import inscape") & HEAVY == set()
    assert loaded_by("import inscape.cli.main") & HEAVY == set()


@pytest.mark.parametrize("name", [n for n in inscape.__all__ if n != "__version__"])
def test_every_public_name_is_there(name: str) -> None:
    assert callable(getattr(inscape, name))
    assert name in dir(inscape)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Modle'"):
        _ = inscape.Modle  # type: ignore[attr-defined]


def tracked(repository: Path) -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=repository, capture_output=True, text=True
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    names = filter(None, listed.stdout.split("\0"))
    return [path for name in names if (path := repository / name).is_file()]


def test_no_file_names_a_package_host(repository: Path) -> None:
    hosts = ["py" + "pi.org", "python" + "hosted", "download.py" + "torch.org", "--find" + "-links"]
    for path in tracked(repository):
        if path.suffix in (".safetensors", ".png"):
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        assert [host for host in hosts if host in text] == [], path


def test_the_lock_pins_everything_that_the_project_asks_for(repository: Path) -> None:
    from packaging.requirements import Requirement

    lines = (repository / "requirements.lock").read_text().splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    assert all(str(pin.specifier).startswith("==") and not pin.url for pin in pins)
    locked = {pin.name.lower().replace("_", "-"): pin for pin in pins}
    assert str(locked["torch"].specifier) == "==2.13.0"
    project = tomllib.loads((repository / "pyproject.toml").read_text())
    asked = list(project["project"]["dependencies"])
    asked += (
        project["project"]["optional-dependencies"]["dev"] + project["build-system"]["requires"]
    )
    for requirement in map(Requirement, asked):
        pin = locked[requirement.name.lower().replace("_", "-")]
        assert requirement.specifier.contains(str(pin.specifier).removeprefix("=="))


def test_files_and_functions_fit_in_the_head(repository: Path) -> None:
    import ast

    sources = [*(repository / "src").rglob("*.py"), *(repository / "packages").rglob("src/**/*.py")]
    for path in sources:
        text = path.read_text()
        assert text.count("\n") <= 500, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                # The signature does not count: a verb's has a line and more for each option.
                length = (node.end_lineno or node.lineno) - node.body[0].lineno + 1
                assert length <= 80, f"{path}:{node.lineno} {node.name}"
