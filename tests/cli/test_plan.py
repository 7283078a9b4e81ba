"""`inscape plan`: what it tells people and programs, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.training.test_processes import said, torchrun

from inscape.cli import main as shell
from inscape.training import Rates
from inscape.training.rates import UNITS

SIZE = [
    "--d-model",
    "64",
    "--d-dict",
    "4096",
    "--k",
    "16",
    "--batch-size",
    "256",
    "--tokens",
    "1e6",
]


@pytest.fixture
def rates(tmp_path: Path) -> Path:
    """Rates of a machine that does a thousand million of everything a second."""
    path = tmp_path / "rates.json"
    at = {"d_in": 64, "d_out": 64, "d_dict": 4096}
    Rates(dict.fromkeys(UNITS, 1e9), at, {"processor": "one of the tests"}).write(path)
    return path


def planned(
    capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 0
) -> tuple[str, list[str]]:
    capsys.readouterr()
    assert shell.main(["plan", *map(str, arguments)]) == code
    shown = capsys.readouterr()
    return shown.out, [line for line in shown.err.splitlines() if line]


def test_for_people_and_for_programs(rates: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found: dict[str, Any] = json.loads(planned(capsys, *SIZE, "--rates", rates, "--json")[0])
    assert found["memory"]["moments"] == 2 * found["memory"]["weights"]
    assert found["memory_bytes"] == pytest.approx(sum(found["memory"].values()))
    assert found["num_steps"] == 3906
    assert found["activations_bytes"] == 3906 * 256 * 64 * 2
    product = 2 * 256 * 64 * 4096 / 1e9
    assert found["step_seconds"]["encode"] == pytest.approx(product)
    assert found["rates"]["machine"] == {"processor": "one of the tests"}
    shown, lines = planned(capsys, *SIZE, "--rates", rates)
    assert "step: encode" in shown
    assert "134 ms" in shown
    assert "one of the tests" in shown
    assert "assumed: 205 features are dead" in shown
    assert "network" not in shown
    assert lines == []


def test_processes_send_what_no_network_was_measured_for(
    rates: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shared = [*SIZE, "--rates", rates, "--processes", "4", "--feature-shards", "2"]
    shown, lines = planned(capsys, *shared)
    assert "sent in a step along data (2 processes)" in shown
    assert "step: exchange" in shown
    assert "the network's rate is not measured" in shown
    assert lines == [f"the rates of {rates} were measured at d_dict 4096, not 2048"]
    path = rates.with_name("network.json")
    path.write_text(json.dumps({**json.loads(rates.read_text()), "network": 1e6}))
    shared[shared.index(rates)] = path
    found = json.loads(planned(capsys, *shared, "--json")[0])
    assert found["exchange_seconds"] == pytest.approx(sum(found["sent"].values()) / 1e6)


def test_the_network_between_processes_is_measured(
    rates: Path, tmp_path: Path, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And told by the first of them."""
    path = tmp_path / "mine.json"
    command = ["-m", "inscape", "plan", *SIZE, "--rates", rates]
    result = torchrun(2, [*command, "--json"], repository)
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)  # one of them alone
    assert found["processes"] == {"data": 2, "features": 1}
    assert found["rates"]["machine"] == {"processor": "one of the tests", "processes": 2}
    network = found["rates"]["network"]
    assert 1e6 < network < 1e12
    assert found["exchange_seconds"] == pytest.approx(sum(found["sent"].values()) / network)
    command = ["-m", "inscape", "plan", *SIZE, "--processes", 8, "--feature-shards", 4]
    result = torchrun(2, [*command, "--measure", path], repository)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("step: exchange") == 1
    assert "not measured" not in result.stdout
    assert "assumed: exchange takes the time of its bytes" in result.stdout
    written = Rates.read(path)
    assert written.network is not None
    assert written.at["d_dict"] == 1024
    again = json.loads(planned(capsys, *SIZE, "--rates", path, "--processes", 2, "--json")[0])
    assert again["exchange_seconds"] == pytest.approx(sum(again["sent"].values()) / written.network)
    result = torchrun(2, [*command[:-1], 3, "--rates", path], repository)
    assert result.returncode != 0
    (line,) = said(result)
    assert "of 2: 8 processes cannot share the features 3 ways" in line


def test_whether_it_fits_and_how_it_would(rates: Path, capsys: pytest.CaptureFixture[str]) -> None:
    large = [
        "--d-model",
        "8192",
        "--d-dict",
        1 << 25,
        "--k",
        "64",
        "--batch-size",
        "8192",
        "--tokens",
        "1e9",
        "--variant",
        "batch_topk",
        "--rates",
        rates,
    ]
    shown, _ = planned(capsys, *large, "--processes", 64, "--feature-shards", 8, "--limit", 80)
    assert "does not fit into 80 GB; the least is" in shown
    shown, _ = planned(capsys, *SIZE, "--rates", rates, "--limit", "80")
    assert "fits into 80 GB" in shown
    shown, _ = planned(
        capsys, *SIZE, "--rates", rates, "--memory", 0, "--processes", 2, "--limit", 0.025
    )
    assert "does not fit into 25 MB; with --feature-shards 2 it does" in shown


def test_rates_are_measured_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mine.json"
    planned(capsys, *SIZE, "--measure", path)
    assert Rates.read(path).at["d_dict"] == 4096
    found = json.loads(planned(capsys, *SIZE, "--rates", path, "--json")[0])
    assert found["rates"]["per_second"] == Rates.read(path).per_second


def test_a_model_gives_its_width_memory_and_speed(
    rates: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [*SIZE[2:], "--rates", rates, "--model", tiny_model, "--site", "resid_post.1"]
    printed, lines = planned(capsys, *command, "--json")
    found = json.loads(printed)
    width = found["model"]["d_model"]
    assert found["activations_bytes"] == 3906 * 256 * width * 2
    assert found["model"]["memory_bytes"] > 0
    assert found["model"]["tokens_per_second"] > 0
    assert any(f"measured at d_in 64, not {width}" in line for line in lines)
    assert "to read them all" in planned(capsys, *command)[0]
    _, lines = planned(capsys, *command, "--d-model", 7, code=2)
    assert f"expected {width}, the width of --model" in lines[0]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["--k", "8192"], "k = 8192 is larger than the dictionary of 4096 features"),
        (["--tokens", "inf"], "--tokens inf; expected a number"),
        (["--tokens", "100"], "100 training tokens do not fill one batch"),
        (["--variant", "tokp"], "unknown variant 'tokp'"),
        (["--option", "penalty"], "NAME=VALUE"),
        (["--skip"], "--skip of an autoencoder"),
        (["--processes", "3", "--feature-shards", "2"], "3 processes cannot share"),
        (["--processes", "3"], "256 rows of a batch cannot be shared 3 ways"),
        (["--measure", "out.json"], "--rates and --measure"),
        (["--rates", "no.json"], "no.json does not exist"),
        (["--d-model", "0"], "d_in = 0"),
    ],
)
def test_what_is_refused(
    changes: list[str], said: str, rates: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    printed, lines = planned(capsys, *SIZE, "--rates", rates, *changes, code=2)
    assert printed == ""
    assert len(lines) == 1
    assert said in lines[0]


def test_a_width_is_needed(rates: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, lines = planned(capsys, *SIZE[2:], "--rates", rates, code=2)
    assert "expected --d-model or --model" in lines[0]
