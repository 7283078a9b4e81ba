"""Whole runs: what they reach, how they are resumed, what they refuse."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.training.source import Source, sparse_world

from inscape.core import DataError, InputError, Stopped, StorageError
from inscape.dictionary import Dictionary
from inscape.training import TrainConfig, geometric_median, remarks, train

RESID = ("resid_post.1", "resid_post.1")
MLP = ("mlp_in.1", "mlp_out.1")


def config(**changes: Any) -> TrainConfig:
    settings = {"d_dict": 48, "k": 5, "tokens": 60_000, "batch_size": 200, "lr": 5e-3}
    return TrainConfig(**{**settings, **changes})


def fvu(dictionary: Dictionary, x: torch.Tensor, y: torch.Tensor) -> float:
    error = (y - dictionary(x)).square().sum()
    return float(error / (y - y.mean(0)).square().sum())


def linear_fvu(x: torch.Tensor, y: torch.Tensor, rank: int) -> float:
    """What the best affine map of that rank from x leaves unexplained of y."""
    centred, target = x - x.mean(0), y - y.mean(0)
    fitted = centred @ torch.linalg.lstsq(centred, target).solution
    directions = torch.linalg.svd(fitted, full_matrices=False).Vh[:rank]
    rest = target - fitted @ directions.T @ directions
    return float(rest.square().sum() / target.square().sum())


@pytest.mark.parametrize("sites", [RESID, MLP])
def test_training_explains_fresh_data(tmp_path: Path, sites: tuple[str, str]) -> None:
    data = sparse_world()
    train_part = {site: x[:3000] for site, x in data.items()}
    dictionary = train(Source(train_part), *sites, tmp_path / "d", config(), name="it")
    x, y = (data[site][3000:] for site in sites)
    assert fvu(dictionary, x, y) < linear_fvu(x, y, rank=5)
    opened = Dictionary.open(tmp_path / "d")
    assert torch.equal(opened(x), dictionary(x))
    assert opened.config.transcoder == (sites is MLP)
    norms = opened.W_dec.norm(dim=1)
    assert bool((norms - 1).abs().max() < 1e-4) == (sites is RESID)
    lines = [json.loads(line) for line in (tmp_path / "d" / "train.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == 300
    assert lines[-1]["fvu"] < lines[0]["fvu"]
    assert lines[-1]["l0"] <= 5
    # What the log says of the last batches is what the saved weights do.
    assert lines[-1]["fvu"] == pytest.approx(fvu(dictionary, x, y), rel=0.3)
    assert not (tmp_path / "d.partial").exists()


def test_scale_is_folded_in(tmp_path: Path) -> None:
    """Activations a thousand times as large: the same codes up to that factor."""
    data = sparse_world()
    large = {site: 1000 * x for site, x in data.items()}
    short = config(tokens=4000)
    small = train(Source(data), *RESID, tmp_path / "a", short, name="a")
    big = train(Source(large), *RESID, tmp_path / "b", short, name="b")
    assert big.input_scale == pytest.approx(small.input_scale / 1000)
    x = data[RESID[0]][:100]
    torch.testing.assert_close(big(1000 * x), 1000 * small(x), rtol=1e-3, atol=1.0)


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.training.source import Source, sparse_world
from tests.training.test_train import config, MLP
from inscape.training import train
import json, torch
torch.set_num_threads(int(sys.argv[2]))
asked = config(checkpoint_seconds=0, **json.loads(sys.argv[3]))
def on_batch(number):
    if number == {step}:
        os.kill(os.getpid(), signal.SIGKILL)
source = Source(sparse_world(), on_batch)
train(source, *MLP, Path(sys.argv[1]), asked, name="t")
"""


@pytest.mark.parametrize(
    "settings",
    [{}, {"variant": "jumprelu", "options": {"penalty": "tanh"}, "skip": True}],
    ids=["topk", "jumprelu"],
)
def test_a_killed_run_goes_on_to_the_same_bits(
    tmp_path: Path, repository: Path, settings: dict[str, Any]
) -> None:
    step = int.from_bytes(os.urandom(2)) % 250 + 5
    out = tmp_path / "killed"
    code = KILLED.format(step=step)
    threads = str(torch.get_num_threads())
    result = subprocess.run(
        [sys.executable, "-c", code, str(out), threads, json.dumps(settings)],
        cwd=repository,
        env={**os.environ, "PYTHONPATH": f"{repository}:{repository / 'src'}"},
        capture_output=True,
        check=False,
    )
    assert result.returncode == -signal.SIGKILL, result.stderr.decode()
    assert not out.exists()
    begun: list[int] = []
    asked = config(**settings)
    resumed = train(Source(sparse_world(), begun.append), *MLP, out, asked, name="t")
    assert begun[0] in (step - 1, step), f"killed at step {step}"
    whole = train(Source(sparse_world()), *MLP, tmp_path / "whole", asked, name="t")
    for key, value in whole.weights.items():
        assert torch.equal(value, resumed.weights[key]), f"{key}, killed at step {step}"
    steps = [json.loads(line)["step"] for line in (out / "train.jsonl").read_text().splitlines()]
    assert steps == sorted(set(steps))


def test_ctrl_c_keeps_the_work(tmp_path: Path) -> None:
    def interrupt(number: int) -> None:
        if number == 40:
            os.kill(os.getpid(), signal.SIGINT)

    out = tmp_path / "d"
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(Stopped, match="after step 41 of 300"):
        train(Source(sparse_world(), interrupt), *RESID, out, config(), name="d")
    assert signal.getsignal(signal.SIGINT) is before
    begun: list[int] = []
    resumed = train(Source(sparse_world(), begun.append), *RESID, out, config(), name="d")
    assert begun[0] == 41
    whole = train(Source(sparse_world()), *RESID, tmp_path / "w", config(), name="d")
    assert all(torch.equal(whole.weights[key], resumed.weights[key]) for key in whole.weights)


def test_a_full_disk_keeps_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    plain = os.fsync

    def full(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) > 7:
            raise OSError(errno.ENOSPC, "No space left on device")
        plain(descriptor)

    often = config(tokens=4000, checkpoint_seconds=0)
    with monkeypatch.context() as patch:
        patch.setattr("inscape.storage.atomic.os.fsync", full)
        with pytest.raises(StorageError, match="no space left"):
            train(Source(sparse_world()), *RESID, tmp_path / "d", often, name="d")
    begun: list[int] = []
    resumed = train(Source(sparse_world(), begun.append), *RESID, tmp_path / "d", often, name="d")
    assert begun[0] == 7
    whole = train(Source(sparse_world()), *RESID, tmp_path / "w", often, name="d")
    assert all(torch.equal(whole.weights[key], resumed.weights[key]) for key in whole.weights)


def test_a_loss_that_is_not_finite_ends_the_run_and_keeps_the_last_checkpoint(
    tmp_path: Path,
) -> None:
    out, source = tmp_path / "d", Source(sparse_world())

    def poison(number: int) -> None:
        if number == 40:
            source.data[RESID[0]][:] = torch.inf

    source.on_batch = poison
    asked = config(checkpoint_seconds=0)
    with pytest.raises(DataError, match="the loss is nan.* at step 40; expected finite numbers"):
        train(source, *RESID, out, asked, name="t")
    assert not out.exists()
    begun: list[int] = []
    resumed = train(Source(sparse_world(), begun.append), *RESID, out, asked, name="t")
    whole = train(Source(sparse_world()), *RESID, tmp_path / "whole", asked, name="t")
    assert begun[0] == 40
    assert all(torch.equal(value, resumed.weights[key]) for key, value in whole.weights.items())


def test_a_rate_that_destroys_the_dictionary_is_reported(tmp_path: Path) -> None:
    made = train(Source(sparse_world()), *RESID, tmp_path / "d", config(lr=10.0), name="t")
    assert all(bool(value.isfinite().all()) for value in made.weights.values())
    assert any("explains less than the mean does" in remark for remark in remarks(made))


def test_finished_runs_are_returned_and_others_refused(tmp_path: Path) -> None:
    out = tmp_path / "d"
    short = config(tokens=2000)
    train(Source(sparse_world()), *RESID, out, short, name="d")
    begun: list[int] = []
    again = train(Source(sparse_world(), begun.append), *RESID, out, short, name="d")
    assert not begun
    assert again.name == "d"
    with pytest.raises(InputError, match=r"another training\.k \(5 there, 4 asked for\)"):
        train(Source(sparse_world()), *RESID, out, config(tokens=2000, k=4), name="d")
    with pytest.raises(InputError, match=r"another activations\.made"):
        other = Source(sparse_world(), identity={"made": "elsewhere"})
        train(other, *RESID, out, short, name="d")


def test_a_checkpoint_of_another_shape_is_refused(tmp_path: Path) -> None:
    def interrupt(number: int) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Stopped):
        train(Source(sparse_world(), interrupt), *RESID, tmp_path / "d", config(), name="d")
    with pytest.raises(InputError, match=r"another training\.d_dict"):
        train(Source(sparse_world()), *RESID, tmp_path / "d", config(d_dict=64), name="d")


def stopped(out: Path) -> None:
    """A run that ends after a few steps, with a checkpoint."""

    def interrupt(number: int) -> None:
        if number == 20:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Stopped):
        train(Source(sparse_world(), interrupt), *RESID, out, config(log_every=5), name="d")


def test_a_checkpoint_that_was_changed_is_refused(tmp_path: Path) -> None:
    stopped(tmp_path / "d")
    checkpoint = tmp_path / "d.partial" / "checkpoint.safetensors"
    content = bytearray(checkpoint.read_bytes())
    content[-100] ^= 64
    checkpoint.write_bytes(content)
    with pytest.raises(StorageError, match=r"checkpoint\.safetensors differs from its checksum"):
        train(Source(sparse_world()), *RESID, tmp_path / "d", config(log_every=5), name="d")


@pytest.mark.parametrize("left", [None, 0, 70])
def test_a_run_whose_log_was_lost_goes_on(left: int | None, tmp_path: Path) -> None:
    """A power cut can take what was not forced to the disk."""
    stopped(tmp_path / "d")
    log = tmp_path / "d.partial" / "train.jsonl"
    if left is None:
        log.unlink()
    else:
        log.write_bytes(log.read_bytes()[:left])
    made = train(Source(sparse_world()), *RESID, tmp_path / "d", config(log_every=5), name="d")
    whole = train(Source(sparse_world()), *RESID, tmp_path / "w", config(log_every=5), name="d")
    assert all(torch.equal(whole.weights[key], made.weights[key]) for key in whole.weights)
    lines = [json.loads(line) for line in (tmp_path / "d" / "train.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == 300


def test_bad_settings() -> None:
    with pytest.raises(InputError, match="k = 60"):
        config(k=60)
    with pytest.raises(InputError, match="do not fill one batch"):
        config(tokens=100)


def test_schedule_rises_and_falls() -> None:
    settings = config(warmup=0.1, decay=0.2)
    rates = [settings.learning_rate(step) for step in range(settings.num_steps)]
    assert rates[0] == pytest.approx(5e-3 / 30)
    assert rates[29:240] == [pytest.approx(5e-3)] * 211
    assert 0 < rates[-1] < rates[-2] < 5e-3


def test_geometric_median_withstands_outliers() -> None:
    rows = torch.randn((201, 3), generator=torch.Generator().manual_seed(0))
    rows[:40] += 1e4
    assert geometric_median(rows).norm() < 1
