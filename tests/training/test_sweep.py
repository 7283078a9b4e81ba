"""A front of dictionaries: which are on it, what is measured once, and how it goes on."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.training.source import Source, sparse_world
from tests.training.test_train import RESID, fvu

from inscape.core import DataError, InputError, Stopped, StorageError
from inscape.dictionary import Dictionary
from inscape.report import front_html, write_front
from inscape.training import Front, Setting, SweepConfig, front_of, sweep

HELD_OUT = {"sha256": "abc", "tokens": 1000}
Measure = Callable[[Dictionary], dict[str, float]]


def asked(**changes: Any) -> SweepConfig:
    settings = {
        "variants": ("topk", "batch_topk"),
        "d_dict": (32,),
        "k": (2, 4),
        "seeds": (0, 1),
        "tokens": 10_000,
        "batch_size": 200,
        "lr": 5e-3,
    }
    return SweepConfig(**{**settings, **changes})


def measured_by(seen: list[str]) -> Measure:
    """Figures on rows that training does not see; the loss recovered is the variance explained."""
    x = sparse_world()[RESID[0]][3000:]

    def measure(dictionary: Dictionary) -> dict[str, float]:
        seen.append(dictionary.name)
        error = fvu(dictionary, x, x)
        return {"l0": dictionary.encode(x).l0(), "fvu": error, "loss_recovered": 1 - error}

    return measure


def run(
    out: Path,
    config: SweepConfig | None = None,
    *,
    on_batch: Callable[[int], None] | None = None,
    seen: list[str] | None = None,
    held_out: dict[str, Any] = HELD_OUT,
) -> Front:
    data = {site: x[:3000] for site, x in sparse_world().items()}
    measure = measured_by([] if seen is None else seen)
    source = Source(data, on_batch)
    return sweep(source, *RESID, out, config or asked(), measure, held_out=held_out)


def weights(out: Path) -> dict[str, dict[str, torch.Tensor]]:
    return {p.parent.name: Dictionary.open(p.parent).weights for p in out.glob("*/dictionary.json")}


def same(one: Path, two: Path) -> bool:
    first, second = weights(one), weights(two)
    return first.keys() == second.keys() and all(
        torch.equal(value, second[name][key])
        for name, tensors in first.items()
        for key, value in tensors.items()
    )


def test_one_pass_trains_the_grid_and_a_finished_one_does_nothing(tmp_path: Path) -> None:
    read: list[int] = []
    seen: list[str] = []
    front = run(tmp_path, on_batch=read.append, seen=seen)
    assert read == list(range(50))
    names = [t.name for s in front.settings for t in s.dictionaries]
    assert names == seen
    assert len(set(names)) == 8
    assert [(s.variant, s.k) for s in front.settings] == [
        ("topk", 2),
        ("topk", 4),
        ("batch_topk", 2),
        ("batch_topk", 4),
    ]
    for setting in front.settings:
        figures = [t.figures["fvu"] for t in setting.dictionaries]
        assert figures[0] != figures[1]
        assert setting.fvu == pytest.approx(sum(figures) / 2)
    assert Front.read(tmp_path / "front.json") == front
    again = run(tmp_path, on_batch=read.append, seen=seen)
    assert again == front
    assert (len(read), len(seen)) == (50, 8)


def test_a_grid_that_has_grown_trains_and_measures_what_is_new(tmp_path: Path) -> None:
    read: list[int] = []
    seen: list[str] = []
    run(tmp_path, asked(k=(4,)), on_batch=read.append, seen=seen)
    front = run(tmp_path, asked(), on_batch=read.append, seen=seen)
    assert read == [*range(50), *range(50)]
    assert [name for name in seen if "-k2-" in name] == seen[4:]
    assert len(front.settings) == 4
    run(tmp_path, held_out={"sha256": "another", "tokens": 1000}, seen=seen)
    assert len(seen) == 8 + 8, "another text is measured on anew"


def test_a_stop_in_the_middle_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    def interrupt(number: int) -> None:
        if number == 30:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Stopped):
        run(tmp_path / "stopped", on_batch=interrupt)
    assert not (tmp_path / "stopped" / "front.json").exists()
    read: list[int] = []
    front = run(tmp_path / "stopped", on_batch=read.append)
    assert read == list(range(31, 50))
    whole = run(tmp_path / "whole")
    assert same(tmp_path / "stopped", tmp_path / "whole")
    assert front.settings == whole.settings


def test_a_stop_while_measuring_measures_no_dictionary_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(list[str]):
        def append(self, name: str) -> None:
            if len(self) == 3:
                raise KeyboardInterrupt
            super().append(name)

    first = Full()
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, seen=first)
    rest: list[str] = []
    run(tmp_path, seen=rest)
    assert len(rest) == 5
    assert not set(rest) & set(first)


def test_other_settings_in_the_same_folder_are_refused(tmp_path: Path) -> None:
    run(tmp_path)
    with pytest.raises(InputError, match="another training.tokens"):
        run(tmp_path, asked(tokens=12_000))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"k": ()}, "over k nothing"),
        ({"k": (2, 2)}, "over k 2 2"),
        ({"variants": ("topk", "topk")}, "over variants topk topk"),
        ({"k": (33,)}, "k = 33 is larger"),
        ({"variants": ("tokp",)}, "unknown variant 'tokp'"),
        ({"options": {"jumprelu": {"penalty": "tanh"}}}, "jumprelu, which is not swept"),
        ({"options": {"topk": {"penalty": "tanh"}}}, "setting penalty is unknown"),
        ({"tokens": 100}, "do not fill one batch"),
    ],
)
def test_grids_that_make_no_sense(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        asked(**changes)


def test_a_figure_that_is_not_finite_is_named(tmp_path: Path) -> None:
    figures = {"l0": 2.0, "fvu": 0.1, "loss_recovered": float("nan")}
    with pytest.raises(DataError, match=r"loss_recovered of topk-32-k2-s0 is nan"):
        sweep(
            Source(sparse_world()), *RESID, tmp_path, asked(), lambda d: figures, held_out=HELD_OUT
        )


def test_what_is_no_front_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "front.json"
    path.write_text('{"kind": "dictionary"}')
    with pytest.raises(StorageError, match="is a dictionary; expected the front of a sweep"):
        Front.read(path)
    path.write_text('{"kind": "front", "version": 99}')
    with pytest.raises(StorageError, match="found version 99 of front, this inscape reads up to 1"):
        Front.read(path)


def setting(name: str, l0: float, recovered: float) -> Setting:
    return Setting(name, 32, 4, l0, 1 - recovered, recovered, ())


def test_the_front_is_what_no_other_setting_beats() -> None:
    given = [
        setting("sparse", 4, 0.8),
        setting("dense", 16, 0.9),
        setting("worse", 16, 0.85),
        setting("beaten", 8, 0.8),
        setting("same", 4, 0.8),
        setting("best", 32, 0.95),
    ]
    found = {s.variant: s.optimal for s in front_of(given)}
    assert found == {
        "sparse": True,
        "dense": True,
        "worse": False,
        "beaten": False,
        "same": True,
        "best": True,
    }


def test_the_page_shows_every_dictionary_and_runs_no_script(tmp_path: Path) -> None:
    front = run(tmp_path)
    page = write_front(front, tmp_path).read_text()
    assert page == front_html(front)
    assert "<script" not in page
    assert "http" not in re.sub(r'xmlns="[^"]*"|http-equiv', "", page)
    chart = page[page.index('<svg class="chart"') :].split("</svg>")[0]
    for s in front.settings:
        for trained in s.dictionaries:
            assert f"<title>{trained.name}: " in chart
    assert chart.count('class="ring"') == sum(s.optimal for s in front.settings)
    assert chart.count("<polyline") == 2
    places = [
        float(n) for pair in re.findall(r'points="([^"]+)"', chart) for n in re.split("[ ,]", pair)
    ]
    assert all(0 < place < 380 for place in places), "all of it is inside the picture"
    assert json.loads((tmp_path / "front.json").read_text())["kind"] == "front"
