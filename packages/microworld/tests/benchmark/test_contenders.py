"""How contenders are timed, and the rows made of it, at tiny sizes on a processor."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from benchmarks import card, contenders, training, turns
from benchmarks.contenders import Setting, Step
from benchmarks.measurement import Absent, Run

TINY = Setting(d_model=32, d_dict=256, k=4, batch=64)
pytestmark = pytest.mark.filterwarnings("ignore")  # the peers', where they are installed


def test_contenders_take_turns_on_the_same_batches() -> None:
    seen: list[tuple[str, float]] = []

    def make(name: str) -> Step:
        return lambda x: seen.append((name, float(x.sum())))

    made = {name: (lambda name=name: make(name)) for name in "ab"}
    found = turns.times(made, TINY, rounds=3, warm=2, seed=1)
    assert [name for name, _ in seen] == ["a", "b"] * 5
    assert [x for name, x in seen if name == "a"] == [x for name, x in seen if name == "b"]
    assert len({x for _, x in seen}) == 5
    assert {name: len(seconds) for name, seconds in found.items()} == {"a": 3, "b": 3}


def test_one_that_a_card_does_not_hold_is_left_out() -> None:
    def large(x: torch.Tensor) -> None:
        raise torch.OutOfMemoryError("no")

    found = turns.times({"a": lambda: large, "b": lambda: lambda x: None}, TINY, rounds=2)
    assert list(found) == ["b"]


def test_peers_products_are_in_tf32_on_a_card_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, bool, str]] = []

    def peer(setting: Setting, variant: str, *, low: bool, device: str) -> Step:
        return lambda x: seen.append((device, low, torch.get_float32_matmul_precision()))

    monkeypatch.setitem(contenders.PEERS, "peer", ("none", peer))
    x = torch.zeros(1)
    contenders.named("peer autocast", TINY, device="cuda")(x)
    contenders.named("peer", TINY, device="cuda")(x)
    contenders.named("peer", TINY)(x)
    assert seen == [("cuda", True, "high"), ("cuda", False, "high"), ("cpu", False, "highest")]
    assert torch.get_float32_matmul_precision() == "highest"


def test_the_product_is_in_the_type_that_inscape_chooses(monkeypatch: pytest.MonkeyPatch) -> None:
    for able, dtype in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(turns, "half_is_faster", lambda entries, device, able=able: able)
        assert turns.own_type(TINY) == dtype
    made: list[torch.Tensor] = []
    monkeypatch.setattr(torch, "mm", lambda a, b, out: made.extend((a, b, out)))
    turns.floor(TINY, torch.float32)(torch.ones(64, 32))
    assert [tuple(part.shape) for part in made] == [(64, 32), (32, 256), (64, 256)]
    assert {part.dtype for part in made} == {torch.float32}


def test_a_ratio_is_taken_within_a_round() -> None:
    slow = np.array([1.0, 10.0, 100.0])  # a machine that slows down
    figure, (low, high) = turns.ratio(2 * slow, slow)
    assert figure == low == high == 2.0


def test_the_row_of_the_card(tmp_path: Path) -> None:
    run = Run(1, tmp_path / "seed-1")
    row = card.on_card(TINY, run, device="cpu", rounds=2)
    figures = {check.name: check.figure for check in row.checks}
    there = [name for name in card.WAYS if name in contenders.installed()]
    ours = ["step / product", "inscape, tokens per second", "inscape, GB"]
    peers = [
        told
        for name in there
        for told in (f"{name} / inscape", f"{name}, tokens per second", f"{name}, GB")
    ]
    assert list(figures) == ours + peers
    assert all(figure > 0 for figure in figures.values())
    assert row.checks[0].bar == "≤ 2"
    assert "product in float32" in row.title
    assert set(row.detail) == {
        "inscape",
        "product",
        *(way for name in there for way in card.WAYS[name]),
    }
    speed = TINY.batch / row.detail["inscape"]
    assert figures["inscape, tokens per second"] == pytest.approx(speed)
    if not torch.cuda.is_available():
        with pytest.raises(Absent, match="there is no graphics card"):
            card.on_card(TINY, run)


def test_a_process_of_its_own_tells_what_it_held() -> None:
    none = turns.peak("inscape", TINY, 0)
    large = Setting(d_model=256, d_dict=65536, k=4, batch=64)
    weights = 2 * large.d_model * large.d_dict * 4
    assert turns.peak("inscape", large, 1) - none > 3 * weights  # with both moments


def test_the_row_of_sizes(tmp_path: Path) -> None:
    row = training.sizes(Run(1, tmp_path / "seed-1"), (TINY, Setting(64, 128, 4, 32)))
    assert [check.name for check in row.checks] == [
        f"{size}, {what}"
        for size in ("d 32, 256 features", "d 64, 128 features")
        for what in (
            "tokens per second",
            "step / product",
            "from a store, tokens per second",
            "whole training, tokens per second",
        )
    ]
    assert all(check.figure > 0 for check in row.checks)
    assert row.checks[3].figure < row.checks[2].figure  # a whole training is more than its steps
    assert "product in float32" in row.samples
    assert "batches 64, 32; k 4," in row.samples
