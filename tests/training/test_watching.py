"""What is measured while a dictionary is trained, and who hears of it."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from tests.training.source import Source, sparse_world
from tests.training.test_train import RESID, config, fvu

from inscape.core import InputError, Stopped
from inscape.dictionary import Dictionary
from inscape.training import Watch, train
from inscape.training.listeners import TensorBoard, WandB, scalars


class Heard:
    """A listener that remembers."""

    def __init__(self) -> None:
        self.said: list[Any] = []

    def begin(self, name: str, step: int) -> None:
        self.said.append(("begin", name, step))

    def line(self, line: Mapping[str, Any]) -> None:
        self.said.append(line["step"])

    def end(self) -> None:
        self.said.append("end")


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "train.jsonl").read_text().splitlines()]


def test_what_is_measured_is_the_dictionary_as_it_is(tmp_path: Path) -> None:
    x = sparse_world()[RESID[0]][3000:]
    seen: list[Dictionary] = []

    def measure(dictionary: Dictionary) -> dict[str, float]:
        seen.append(dictionary)
        return {"fvu": fvu(dictionary, x, x)}

    asked = config(tokens=20_000, variant="batch_topk")
    source = Source(sparse_world())
    made = train(source, *RESID, tmp_path / "d", asked, name="d", watch=Watch(measure, times=3))
    told = {line["step"]: line["held_out"] for line in lines(tmp_path / "d") if "held_out" in line}
    assert list(told) == [34, 67, 100]
    assert told[100]["fvu"] == pytest.approx(fvu(made, x, x))
    assert told[100]["fvu"] < told[34]["fvu"]
    assert made.made_from["figures"]["held_out"] == told[100]
    assert torch.equal(seen[-1].W_enc, made.W_enc)
    unwatched = train(source, *RESID, tmp_path / "e", asked, name="d")
    assert torch.equal(unwatched.W_dec, made.W_dec)


def test_listeners_hear_each_line_and_where_a_run_goes_on(tmp_path: Path) -> None:
    def interrupt(number: int) -> None:
        if number == 50:
            os.kill(os.getpid(), signal.SIGINT)

    asked, heard = config(tokens=20_000), Heard()
    with pytest.raises(Stopped):
        source = Source(sparse_world(), interrupt)
        train(source, *RESID, tmp_path / "d", asked, name="d", listeners=[heard])
    assert heard.said == [("begin", "d", 0), 20, 40, "end"]
    again = Heard()
    train(Source(sparse_world()), *RESID, tmp_path / "d", asked, name="d", listeners=[again])
    assert again.said == [("begin", "d", 51), 60, 80, 100, "end"]


def test_numbers_of_a_line() -> None:
    line = {"step": 3, "dead_share": None, "held_out": {"ce": 0.5}, "note": "x"}
    assert dict(scalars(line)) == {"step": 3.0, "held_out/ce": 0.5}


@pytest.mark.parametrize(("package", "make"), [("wandb", WandB), ("tensorboard", TensorBoard)])
def test_a_missing_package_is_named_with_the_command(
    package: str, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    with pytest.raises(InputError, match=f"pip install {package}"):
        make("here")


def test_weights_and_biases_gets_the_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[Any] = []

    class Run:
        def log(self, figures: dict[str, float], step: int) -> None:
            said.append((step, figures))

        def finish(self) -> None:
            said.append("finished")

    module = ModuleType("wandb")
    module.init = lambda **settings: said.append(settings) or Run()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "wandb", module)
    listener = WandB("mine")
    listener.begin("resid1", 40)
    listener.line({"step": 60, "fvu": 0.5})
    listener.end()
    assert said[0]["project"] == "mine"
    assert said[0]["name"] == "resid1"
    assert said[1:] == [(60, {"step": 60.0, "fvu": 0.5}), "finished"]


def test_tensorboard_gets_the_figures(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is an extra")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    listener = TensorBoard(tmp_path)
    listener.begin("resid1", 0)
    for step in (20, 40):
        listener.line({"step": step, "fvu": 1 / step, "held_out": {"ce": 2.0}})
    listener.end()
    events = EventAccumulator(str(tmp_path / "resid1"))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("fvu")] == [
        (20, pytest.approx(0.05)),
        (40, pytest.approx(0.025)),
    ]
