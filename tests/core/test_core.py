from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest
from pydantic import ValidationError

from inscape.core import (
    Config,
    InputError,
    characters,
    first_shown,
    num_cores,
    pick_device,
    progress,
    quoted,
    seeded,
    tokens_as_label,
    total_memory,
    track,
)


class Small(Config):
    width: int = 4


def test_a_config_is_frozen_keyword_only_and_refuses_unknown_fields() -> None:
    config = Small(width=8)
    with pytest.raises(ValidationError):
        config.width = 9  # type: ignore[misc]
    with pytest.raises(InputError, match="setting widht is unknown; expected one of width"):
        Small(widht=3)  # type: ignore[call-arg]
    with pytest.raises(InputError, match="setting width = 'x' is not usable: input should be"):
        Small(width="x")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        Small(3)  # type: ignore[misc]
    assert config == Small.model_validate_json(config.model_dump_json())


def test_seeds_are_stable_and_independent() -> None:
    assert seeded(0, "a") == seeded(0, "a")
    different = {seeded(0), seeded(1), seeded(0, "a"), seeded(0, "b"), seeded(0, 1), seeded(0, "1")}
    assert len(different) == 6
    assert all(0 <= seed < 2**63 for seed in different)
    assert seeded(3, "shuffle", 7) == 1825288025656198170


def test_track_yields_everything_and_shows_a_bar_only_when_asked(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INSCAPE_PROGRESS", "0")
    assert list(track(range(5), "counting")) == [0, 1, 2, 3, 4]
    assert capsys.readouterr() == ("", "")

    monkeypatch.setenv("INSCAPE_PROGRESS", "1")
    assert list(track(iter("abc"), "reading", total=3, unit="letters")) == ["a", "b", "c"]
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "reading" in shown.err
    assert "100%" in shown.err


def test_long_work_without_a_terminal_prints_lines_with_the_rate(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("INSCAPE_PROGRESS", raising=False)
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    with progress("harvest", 4000, "tokens") as bar:
        for _ in range(40):
            clock[0] += 2
            bar.advance(100, loss=0.25)
    assert capsys.readouterr().err.splitlines() == [
        "harvest: 500 of 4.0k tokens, loss 0.25, 50 tokens/s",
        "harvest: 3.5k of 4.0k tokens, loss 0.25, 50 tokens/s",
        "harvest: 4.0k tokens in 80 s, 50 tokens/s",
    ]
    with progress("short") as bar:
        clock[0] += 5
        bar.advance()
    assert capsys.readouterr().err == ""
    with progress("writing texts", 8, "texts") as bar:
        for _ in range(8):
            clock[0] += 23
            bar.advance()
    assert capsys.readouterr().err.splitlines() == [
        "writing texts: 1 of 8 texts, 23 s each",
        "writing texts: 4 of 8 texts, 23 s each",
        "writing texts: 7 of 8 texts, 23 s each",
        "writing texts: 8 texts in 184 s, 23 s each",
    ]


def test_an_inner_bar_joins_the_outer_one_and_an_error_closes_both(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INSCAPE_PROGRESS", "1")
    with pytest.raises(RuntimeError, match="inside"), progress("outer", 2) as outer:
        outer.advance(1, loss=0.25)
        with progress("inner", 2) as inner:
            inner.advance()
            raise RuntimeError("inside")
    with progress("after", 1) as bar:
        bar.advance(1, loss=0.5)
        assert bar.done == 1
    assert "after" in capsys.readouterr().err


def test_the_device_is_there_or_is_refused_by_name() -> None:
    assert pick_device("cpu").type == "cpu"
    assert pick_device().type in ("cpu", "cuda")
    with pytest.raises(InputError, match="'gpu9' is unknown"):
        pick_device("gpu9")
    with pytest.raises(InputError, match="cuda:99"):
        pick_device("cuda:99")


def test_the_gpu_of_apple_is_refused_and_never_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device().type == pick_device("auto").type == "cpu"
    for name in ("mps", "mps:0"):
        with pytest.raises(InputError, match=f"device '{name}', which has no float64, is not supp"):
            pick_device(name)
    with pytest.raises(InputError, match="device 'meta' is not supported; expected cpu, cuda"):
        pick_device("meta")


def test_cores_and_memory_where_linux_has_no_say(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 0 < num_cores() <= (os.cpu_count() or 1)
    assert 2**28 < (total_memory() or 0) < 2**50
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)  # macOS, Windows
    assert num_cores() == os.cpu_count()
    monkeypatch.delattr(os, "sysconf", raising=False)  # Windows
    assert total_memory() is None


@pytest.mark.parametrize("room", ["inscape", "inscape.core", "inscape.storage"])
def test_the_lowest_rooms_do_not_import_torch(room: str) -> None:
    code = f"import sys, {room}; print([m for m in ('torch', 'transformers') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_quoted_text_is_readable_whatever_it_holds() -> None:
    assert quoted(" Paris") == "' Paris'"
    assert quoted("a\n\tb") == "'a↵⇥b'"
    assert quoted("it's") == '"it\'s"'
    assert quoted('"""', '"') == '\'"""\''
    assert quoted("'\"") == "“'\"”"
    assert quoted("a\x1b[0m") == "'a\\x1b[0m'"  # nothing that a terminal obeys
    assert tokens_as_label(["대", "\\x"]) == "tokens: '대', '\\x'"


@pytest.mark.parametrize(
    ("tokens", "shown"),
    [
        (["a", "<0xEB>", "<0x8C><0x80>", "b"], ["a", "", "대", "b"]),
        ([" <0xEB>", "<0x8C>", "<0x80>x"], ["", "", " 대x"]),
        (["<0xEB>"], ["<0xEB>"]),
        (["<0x80>", "<0xEB>", "<0x8C>", "<0x80>", "<0xEB>"], ["<0x80>", "", "", "대", "<0xEB>"]),
        (["<0xeb>", "a"], ["<0xeb>", "a"]),
        ([], []),
    ],
)
def test_bytes_that_make_up_a_character_are_shown_as_it(
    tokens: list[str], shown: list[str]
) -> None:
    assert characters(tokens) == shown
    assert first_shown(shown, 0) == next((i for i, text in enumerate(shown) if text), 0)
