"""`inscape train --beside`: stores of one text by several models, joined on the command line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tests.families import tiny

from inscape.cli import main as shell
from inscape.dictionary import Dictionary

Run = Callable[..., tuple[int, str, list[str]]]
SHORT = ("--k", 8, "--d-dict", 96, "--tokens", 12288, "--json")


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command: its exit code, what it printed, and its lines of standard error."""

    def command(*arguments: object) -> tuple[int, str, list[str]]:
        capsys.readouterr()
        code = shell.main([str(argument) for argument in arguments])
        shown = capsys.readouterr()
        return code, shown.out, [line for line in shown.err.splitlines() if line]

    return command


@pytest.fixture(scope="module")
def stores(
    tiny_model: Path, text: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """Of two models with one tokenizer, at all MLP inputs and a residual stream."""
    folder = tmp_path_factory.mktemp("beside")
    other = folder / "models" / "other"
    shutil.copytree(tiny_model, other)
    size = json.loads((tiny_model / "config.json").read_text())["vocab_size"]
    module = tiny("llama", vocab_size=size)
    for weight in module.parameters():
        weight.data += 0.1 * torch.randn(weight.shape)
    module.save_pretrained(other)
    found = []
    for name, model in (("base", tiny_model), ("chat", other)):
        sites = [f"mlp_in.{layer}" for layer in range(3)] + ["resid_post.1"]
        given = [part for site in sites for part in ("--site", site)]
        command = ["harvest", model, "--text", text, "--out", folder / name, "--context", 32]
        assert shell.main([*map(str, command), *given]) == 0
        found.append(folder / name)
    return found[0], found[1]


def test_a_crosscoder_of_two_models(run: Run, stores: tuple[Path, Path], tmp_path: Path) -> None:
    base, chat = stores
    site = "base:resid_post.1+chat:resid_post.1"
    train = ("train", base, "--beside", chat, "--site")
    code, out, err = run(*train, site, "--out", tmp_path / "both", *SHORT)
    assert code == 0, err
    assert json.loads(out)[0]["reads"] == json.loads(out)[0]["writes"] == site
    made = Dictionary.open(tmp_path / "both")
    hashes = {name: of["model_hash"] for name, of in made.made_from["activations"].items()}
    assert set(hashes) == {"base", "chat"}
    assert len(set(hashes.values())) == 2
    assert made.site_norms().shape == (96, 2)
    assert max(made.made_from["figures"]["site_fvu"].values()) < 1
    pattern = "base:mlp_in.*+chat:mlp_in.*"
    code, out, err = run(*train, pattern, "--out", tmp_path / "layers", *SHORT)
    assert code == 0, err
    wanted = [f"{name}:mlp_in.{layer}" for name in ("base", "chat") for layer in range(3)]
    assert json.loads(out)[0]["reads"].split("+") == wanted


def test_what_cannot_be_joined_is_one_line(
    run: Run, stores: tuple[Path, Path], atlas: Path, tiny_model: Path, text: Path, tmp_path: Path
) -> None:
    base, chat = stores
    for name in ("a/base", "a:b", "a+b"):
        shutil.copytree(chat, tmp_path / name)
    short = tmp_path / "short"
    run("harvest", tiny_model, "--text", text, "--out", short, "--max-tokens", 500)
    out = ("--site", "base:resid_post.1", "--out", tmp_path / "d", *SHORT[:-1])
    both = ("train", base, "--beside", chat, *out)
    refusals = {
        "are both called 'base'": ("train", base, "--beside", tmp_path / "a/base", *out),
        "a store called 'a:b'": ("train", base, "--beside", tmp_path / "a:b", *out),
        "a store called 'a+b'": ("train", tmp_path / "a+b", "--beside", chat, *out),
        "--held-out with --beside": (*both, "--held-out", text, "--model", tiny_model),
        "--model with --beside": (*both, "--model", tiny_model),
        f"{atlas} is an atlas": ("train", atlas, "--beside", chat),
        f"--beside does not apply to {text}": (
            "train",
            text,
            "--beside",
            chat,
            *out,
            "--model",
            tiny_model,
        ),
        f"{text.parent} is not a store": ("train", base, "--beside", text.parent, *out),
        "base and short hold different tokens": (*both, "--beside", short),
        "is of none of the stores": (*both, "--site", "resid_post.1"),
        "no site is one of mlp_in.*": (*both, "--site", "mlp_in.*"),
    }
    for message, command in refusals.items():
        code, printed, lines = run(*command)
        assert (code, printed, len(lines)) == (2, "", 1), lines
        assert message in lines[0]
    assert not (tmp_path / "d").exists()
