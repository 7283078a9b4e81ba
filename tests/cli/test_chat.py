"""Chat prompts at the command line go through the model's own template."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from inscape.atlas import Atlas
from inscape.cli import main as shell

TEMPLATE = "{% for m in messages %}<s>{{ m['role'] }}: {{ m['content'] }}</s>{% endfor %}<s>"
CHAT = '[{"role": "system", "content": "the sea"}, {"role": "user", "content": "a cat ran"}]'


@pytest.fixture(scope="module")
def chat_model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with a chat template; its weights, and so its hash, are the same."""
    folder = Path(shutil.copytree(tiny_model, tmp_path_factory.mktemp("chat") / "tiny"))
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    return folder


@pytest.fixture
def said(atlas: Path, chat_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    copy = Path(shutil.copytree(atlas, tmp_path / "atlas"))
    record = json.loads((copy / "atlas.json").read_text())
    record["model"]["source"] = str(chat_model)
    (copy / "atlas.json").write_text(json.dumps(record))

    def run(verb: str, *arguments: str, code: int = 0) -> str:
        capsys.readouterr()
        assert shell.main([verb, str(copy), *arguments]) == code
        shown = capsys.readouterr()
        return shown.out if code == 0 else shown.err

    run.path = copy  # type: ignore[attr-defined]
    return run


def test_a_message_is_traced_in_its_template(said: Any) -> None:
    before = set(Atlas.open(said.path).traces.names)
    plain = json.loads(said("trace", "a cat ran", "--json"))
    chat = json.loads(said("trace", "a cat ran", "--chat", "--json"))
    assert plain["metadata"]["prompt"] == "a cat ran"
    assert chat["metadata"]["prompt"] == "<s>user: a cat ran</s><s>"
    said("trace", CHAT, "--chat")
    traces = Atlas.open(said.path).traces
    new = set(traces.names) - before
    assert len(new) == 3, "each has a file of its own"
    assert {role for name in new for role in traces.open(name).roles} == {None, "system", "user"}


def test_a_chat_is_steered_searched_and_diagnosed(said: Any, tmp_path: Path) -> None:
    feature = ("--feature", "resid_post.1/3", "--max-new-tokens", "4")
    steered = json.loads(said("steer", CHAT, "--chat", *feature, "--json"))
    assert steered["prompt"] == "<s>system: the sea</s><s>user: a cat ran</s><s>"
    (hit, *_) = json.loads(said("search", "a cat ran", "--chat", "--json"))
    assert hit["where"] == ["prompt"]
    more = tmp_path / "more.jsonl"
    more.write_text(
        json.dumps({"prompt": "a dog sat", "correct": " boat"})
        + f'\n{{"prompt": {CHAT}, "correct": " boat"}}\n'
    )
    asked = ("--chat", "--correct", "boat", "--more", str(more), "--num-random", "2", "--json")
    found = json.loads(said("diagnose", "a cat ran", *asked))
    assert found["prompt"].startswith("<s>")
    assert found["num_prompts"] == 3


def test_what_is_no_chat_is_one_line(said: Any, atlas: Path, capsys: Any) -> None:
    assert "the messages are no JSON" in said("trace", "[{", "--chat", code=2)
    assert "both of them text" in said("trace", '[{"role": "user"}]', "--chat", code=2)
    assert "a prompt of str" in said("trace", '["a"]', "--chat", code=2)
    assert shell.main(["trace", str(atlas), "a cat", "--chat"]) == 2
    assert "this model's tokenizer has no chat template" in capsys.readouterr().err
