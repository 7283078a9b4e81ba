"""Text that a model writes: the same however often it was stopped; settings are kept to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.families import tiny, tiny_tokenizer

from inscape.activations import documents, sample_text, sampling
from inscape.core import InputError
from inscape.model import Model

OPENINGS = ["the cat", "a", "sat on the mat and", "the dog", "b"]


@pytest.fixture(scope="module")
def model() -> Model:
    return Model.wrap(tiny("llama", vocab_size=300), tiny_tokenizer(), name="tiny")


def sampled(model: Model, out: Path, **changes: Any) -> list[Any]:
    settings: dict[str, Any] = {"new_tokens": 6, "batch_size": 2, "seed": 3, **changes}
    return list(documents(sample_text(model, OPENINGS, out, **settings)))


def test_every_opening_is_continued(model: Model, tmp_path: Path) -> None:
    found = sampled(model, tmp_path / "a")
    assert [text[: len(o)] for text, o in zip(found, OPENINGS, strict=True)] == OPENINGS
    assert any(len(text) > len(o) for text, o in zip(found, OPENINGS, strict=True))
    assert sampled(model, tmp_path / "b") == found
    assert sampled(model, tmp_path / "c", seed=4) != found


def test_padding_changes_nothing(model: Model, tmp_path: Path) -> None:
    """Nearly greedy, each opening goes on alone as it does in a batch."""
    greedy = {"temperature": 1e-4, "batch_size": 5}
    together = sampled(model, tmp_path / "together", **greedy)
    alone = sampled(model, tmp_path / "alone", **{**greedy, "batch_size": 1})
    assert together == alone


def test_a_stopped_run_goes_on(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = sampled(model, tmp_path / "whole")
    plain, calls = sampling.atomic_write, []

    def stopping(path: Path, data: bytes) -> None:
        calls.append(path.name)
        if len(calls) == 2:
            raise KeyboardInterrupt
        plain(path, data)

    monkeypatch.setattr(sampling, "atomic_write", stopping)
    with pytest.raises(KeyboardInterrupt):
        sampled(model, tmp_path / "stopped")
    monkeypatch.setattr(sampling, "atomic_write", plain)
    first = (tmp_path / "stopped/sampled-00000.jsonl").stat().st_mtime_ns
    assert sampled(model, tmp_path / "stopped") == whole
    assert (tmp_path / "stopped/sampled-00000.jsonl").stat().st_mtime_ns == first


def test_chat_messages_are_answered(model: Model, tmp_path: Path) -> None:
    model.tokenizer.chat_template = "{% for m in messages %}{{ m.content }} {% endfor %}"
    asked = [[{"role": "user", "content": "the cat"}]]
    out = sample_text(model, asked, tmp_path, new_tokens=4)
    (line,) = (out / "sampled-00000.jsonl").read_text().splitlines()
    assert [m["role"] for m in json.loads(line)["messages"]] == ["user", "assistant"]


def test_other_settings_and_other_folders_are_refused(model: Model, tmp_path: Path) -> None:
    sampled(model, tmp_path / "a")
    with pytest.raises(InputError, match="sampled with another seed"):
        sampled(model, tmp_path / "a", seed=5)
    (tmp_path / "b").mkdir()
    (tmp_path / "b/thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="is there already; expected a new folder"):
        sampled(model, tmp_path / "b")
    for wrong in ({"temperature": 0}, {"new_tokens": 0}, {"top_k": 0}):
        with pytest.raises(InputError):
            sampled(model, tmp_path / "c", **wrong)
    with pytest.raises(InputError, match="no opening"):
        sample_text(model, [], tmp_path / "d")
