"""The command that measures: what it prints, what it puts into the table, when it fails."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from benchmarks import figures, table
from benchmarks.measurement import Absent, Measured, Measurement, Run

from inscape_microworld.benchmark import ROWS, Check, Row

BEFORE, AFTER = "# Figures\n\nby hand\n\n", "\n\n## What is short\n\n| a | table by hand |\n"


def row(name: str, *checks: Check, samples: str = "3 things") -> Row:
    return Row(name, f"about {name}", checks, samples)


def by_seed(run: Run) -> Row:
    print("what a measurement prints is no figure")
    return row("depth", Check("a | b", run.seed / 10, "≥ 0.2"), Check("beside", 7.0, ""))


def once(run: Run) -> Row:
    return row("speed", Check("ratio", 1.5, "≤ 3", (1.0, 2.0)), Check("loss", float("nan"), ""))


@pytest.fixture(autouse=True)
def rows(monkeypatch: pytest.MonkeyPatch) -> dict[str, Measurement]:
    fake = {"depth": Measurement(by_seed), "speed": Measurement(once, seeded=False)}
    monkeypatch.setattr(figures, "FIGURES", fake)
    return fake


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., list[Any]]:
    """Runs the command on temporary paths; the lines of JSON."""

    def command(*arguments: str) -> list[Any]:
        paths = ["--out", str(tmp_path / "out"), "--docs", str(tmp_path / "figures.md")]
        paths += ["--record", str(tmp_path / "record.json")]
        assert figures.main([*arguments, *paths]) == 0
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    return command


def test_a_row_is_a_line_of_json(run: Callable[..., list[Any]]) -> None:
    depth, speed = run()
    assert depth == {
        "name": "depth",
        "bar": {"a | b": "≥ 0.2", "beside": ""},
        "measured": {
            "a | b": {
                "figure": 0.2,
                "low": 0.1,
                "high": 0.3,
                "by_seed": {"1": 0.1, "2": 0.2, "3": 0.3},
            },
            "beside": {
                "figure": 7.0,
                "low": 7.0,
                "high": 7.0,
                "by_seed": {"1": 7.0, "2": 7.0, "3": 7.0},
            },
        },
        "holds": False,
    }
    assert speed["holds"]
    assert speed["measured"] == {
        "ratio": {"figure": 1.5, "low": 1.0, "high": 2.0, "by_seed": {}},
        "loss": {"figure": None, "low": None, "high": None, "by_seed": {}},
    }


def test_a_row_holds_if_every_seed_holds_every_bar(run: Callable[..., list[Any]]) -> None:
    assert [line["holds"] for line in run("--only", "depth", "--seeds", "2", "3")] == [True]
    assert [line["holds"] for line in run("--only", "depth", "--seeds", "1", "3")] == [False]
    nan = Measured(
        "x", {1: row("x", Check("y", 1.0, "≥ 0")), 2: row("x", Check("y", float("nan"), "≥ 0"))}
    )
    assert not nan.holds
    assert nan.to_json()["measured"]["y"]["figure"] is None


def test_the_record_keeps_other_rows_and_the_page_what_is_written_by_hand(
    run: Callable[..., list[Any]], tmp_path: Path
) -> None:
    docs, record = tmp_path / "figures.md", tmp_path / "record.json"
    check = {"name": "kept", "bar": "≥ 1", "value": 2.0, "low": None, "high": None}
    elder = {
        "name": "elder",
        "title": "a thing",
        "checks": [{**check, "num_holding": 1, "num_rows": 1}],
    }
    record.write_text(json.dumps([elder]))
    docs.write_text(f"{BEFORE}{table.BEGIN}\n{table.END}{AFTER}")
    run("--only", "speed")
    run("--only", "depth")
    run("--only", "depth", "--seeds", "3")
    rows = json.loads(record.read_text())
    assert [row["name"] for row in rows] == ["depth", "speed", "elder"]
    assert rows[0]["seeds"] == [3]
    assert rows[0]["command"] == "python -m benchmarks.figures --only depth --seeds 3"
    assert [c["value"] for c in rows[0]["checks"]] == [0.3, 7.0]
    assert rows[2] == elder
    text = docs.read_text()
    assert text.startswith(f"{BEFORE}{table.BEGIN}\n{table.HEAD[0]}\n")
    assert text.endswith(f"\n{table.END}{AFTER}")
    assert "| depth | about depth | a \\| b 0.3 [≥ 0.2] | holds |" in text
    assert "| elder | a thing | kept 2 [≥ 1] | holds |" in text


def test_the_summary_says_median_range_and_whether_seeds_hold(
    run: Callable[..., list[Any]], tmp_path: Path
) -> None:
    run()
    text = (tmp_path / "figures.md").read_text()
    assert "0.2 (0.1 to 0.3) [≥ 0.2] | **short** on some seeds |" in text
    assert "| ratio 1.5 (1 to 2) [≤ 3] | holds |" in text


def test_what_cannot_be_done_is_said_in_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    docs = tmp_path / "figures.md"
    docs.write_text("no markers")
    for arguments, told in ((["--only", "sped"], "'sped'"), ([], "no place for the summary")):
        assert figures.main([*arguments, "--docs", str(docs)]) == 2
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1)
        assert told in err
    assert docs.read_text() == "no markers"


def test_a_row_that_cannot_be_measured_here_is_left_out_in_a_line(
    rows: dict[str, Measurement], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def measure(run: Run) -> Row:
        if run.seed == 2:
            raise Absent("there is no card", expected="one")
        return row("depth", Check("x", 1.0, ""))

    rows["depth"] = Measurement(measure)
    paths = ["--docs", str(tmp_path / "figures.md"), "--record", str(tmp_path / "record.json")]
    assert figures.main(paths) == 0
    out, err = capsys.readouterr()
    assert [json.loads(line)["name"] for line in out.splitlines()] == ["speed"]
    told = [line for line in err.splitlines() if "left out" in line]
    assert told == ["depth is left out: there is no card; expected one"]
    assert [row["name"] for row in json.loads((tmp_path / "record.json").read_text())] == ["speed"]


def test_demos_are_made_first_and_only_for_rows_that_read_them(
    rows: dict[str, Measurement],
    run: Callable[..., list[Any]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    events: list[str] = []
    monkeypatch.setattr(figures, "make_demo", lambda run: events.append(run.folder.name))

    def measure(run: Run) -> Row:
        events.append(f"measured {run.seed}")
        return row("deep", Check("x", 1.0, ""))

    rows["deep"] = Measurement(measure, needs_demo=True)
    run("--only", "depth")
    assert events == []
    run("--only", "deep", "--seeds", "4", "5")
    assert events == ["seed-4", "seed-5", "measured 4", "measured 5"]


def test_a_finished_demo_is_reused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    started: list[list[str]] = []
    monkeypatch.setattr(figures.subprocess, "run", lambda command, **_: started.append(command))
    figures.make_demo(Run(3, tmp_path))
    assert started[0][1:] == [
        "-m",
        "inscape_microworld",
        "demo",
        "--seed",
        "3",
        "--out",
        str(tmp_path),
    ]
    (tmp_path / figures.RECORD).write_text("{}")
    figures.make_demo(Run(3, tmp_path))
    assert len(started) == 1


def test_every_row_of_the_table_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert set(figures.FIGURES) >= {*ROWS, "demo"}


def test_the_record_is_of_measurements_and_the_page_is_its_summary(
    repository: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.undo()
    rows = json.loads((repository / "benchmarks" / "record.json").read_text())
    assert {row["name"] for row in rows} <= set(figures.FIGURES)
    page = (repository / "docs" / "figures.md").read_text()
    (tmp_path / "figures.md").write_text(page)
    table.summarise(tmp_path / "figures.md", rows)
    assert (tmp_path / "figures.md").read_text() == page
