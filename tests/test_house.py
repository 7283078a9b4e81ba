"""The house keeps its own rules."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import inscape

# Each room and what it may import directly; design's table, rooms that do not exist yet included.
BASE = {"core", "storage"}
ROOMS: dict[str, set[str]] = {
    "core": set(),
    "storage": {"core"},
    "model": {"core"},
    "dictionary": BASE,
    "activations": BASE | {"model"},
    "training": BASE | {"dictionary"},
    "features": BASE | {"model", "dictionary", "activations"},
    "labels": BASE | {"features"},
    "intervention": {"core", "model", "dictionary"},
    "attribution": BASE | {"model", "dictionary", "features", "intervention"},
    "diagnosis": BASE | {"model", "dictionary", "features", "intervention", "attribution"},
    "validation": BASE | {"model", "dictionary", "features", "labels", "intervention"},
    "exchange": BASE | {"dictionary", "features", "labels", "attribution"},
    "microworld": BASE | {"model"},
}
for above in ("benchmark", "atlas", "report", "server", "cli"):
    ROOMS[above] = set(ROOMS)


def rooms(repository: Path) -> list[str]:
    source = repository / "src" / "inscape"
    return [room for room in ROOMS if (source / room / "__init__.py").is_file()]


def test_every_folder_is_a_room_of_the_design(repository: Path) -> None:
    source = repository / "src" / "inscape"
    folders = {p.name for p in source.iterdir() if p.is_dir() and any(p.rglob("*.py"))}
    assert folders <= set(ROOMS)


def test_every_room_has_its_import_contract(repository: Path) -> None:
    settings = tomllib.loads((repository / "pyproject.toml").read_text())["tool"]["importlinter"]
    there = rooms(repository)
    found = {}
    for contract in settings["contracts"]:
        assert contract["type"] == "forbidden"
        assert contract["allow_indirect_imports"] is True
        (room,) = contract["source_modules"]
        found[room] = set(contract["forbidden_modules"])
        assert not contract.get("ignore_imports")
    expected = {
        f"inscape.{room}": {f"inscape.{o}" for o in there if o != room and o not in ROOMS[room]}
        for room in there
    }
    assert found == {room: forbidden for room, forbidden in expected.items() if forbidden}


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

    for path in (repository / "src").rglob("*.py"):
        text = path.read_text()
        assert text.count("\n") <= 500, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                assert length <= 80, f"{path}:{node.lineno} {node.name}"
