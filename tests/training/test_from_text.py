"""Several dictionaries on one forward pass: what each comes to, stops, and what is refused."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.families import VOCAB_SIZE, tiny

from inscape.activations import OnlineActivations, reader
from inscape.core import DataError, InputError
from inscape.dictionary import Dictionary
from inscape.model import Model
from inscape.training import Job, TrainConfig, train, train_from_text

MEMORY = 60_000
PAIRS = {"resid_post.1": ("resid_post.1", "resid_post.1"), "mlp.0": ("mlp_in.0", "mlp_out.0")}


@pytest.fixture(scope="module")
def model() -> Model:
    return Model.wrap(tiny("llama"), name="tiny")


def corpus() -> list[list[int]]:
    rng = np.random.default_rng(1)
    return [rng.integers(3, VOCAB_SIZE, size=int(n)).tolist() for n in rng.integers(5, 40, 40)]


def jobs(out: Path, **settings: float) -> list[Job]:
    config = TrainConfig(**{"d_dict": 64, "k": 4, "tokens": 3200, "batch_size": 64, **settings})
    return [
        Job(*sites, out / name, config.model_copy(update={"seed": seed}), name)
        for seed, (name, sites) in enumerate(PAIRS.items())
    ]


def made(model: Model, out: Path, **settings: float) -> list[Dictionary]:
    return train_from_text(model, corpus(), jobs(out, **settings), context=21, memory=MEMORY)


def same(one: Dictionary, other: Dictionary) -> bool:
    return all(torch.equal(one.weights[key], other.weights[key]) for key in one.weights)


def test_each_is_what_it_is_alone_on_the_same_activations(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes = []
    run = reader.Reader.run

    def counted(self: reader.Reader, *args: object) -> None:
        passes.append(self.sites)
        run(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(reader.Reader, "run", counted)
    together = made(model, tmp_path / "together")
    sites = sorted({site for pair in PAIRS.values() for site in pair})
    assert all(sorted(read) == sites for read in passes)
    for job, one in zip(jobs(tmp_path / "alone", data_seed=0), together, strict=True):
        source = OnlineActivations(model, corpus(), passes[0], context=21, memory=MEMORY)
        alone = train(source, job.site_in, job.site_out, job.out, job.config, name=job.name)
        assert same(one, alone)
    files = [path.name for path in (tmp_path / "together").iterdir()]
    assert sorted(files) == sorted(PAIRS)


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.families import tiny
from tests.training import test_from_text as here
from inscape.model import Model
from inscape.training.trainer import Trainer

step, count = Trainer.step, [0]

def killed(self, *args):
    count[0] += 1
    if count[0] == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self, *args)

Trainer.step = killed
here.made(Model.wrap(tiny("llama"), name="tiny"), Path(sys.argv[1]), checkpoint_seconds=0)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no such signal")
def test_a_killed_run_goes_on_to_the_same_bits(
    model: Model, tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = made(model, tmp_path / "whole")
    for at in (30, 35):  # in the middle of a step of one of the two
        command = [sys.executable, "-c", KILLED, str(tmp_path / "cut"), str(at)]
        done = subprocess.run(command, cwd=repository, env=os.environ, capture_output=True)
        assert done.returncode == -signal.SIGKILL, done.stderr
    for one, other in zip(whole, made(model, tmp_path / "cut"), strict=True):
        assert same(one, other)


def test_a_finished_one_is_not_trained_again(model: Model, tmp_path: Path) -> None:
    first, second = made(model, tmp_path)
    weights = (tmp_path / "mlp.0" / "weights.safetensors").stat().st_mtime_ns
    jobs(tmp_path)[0].out.rename(tmp_path / "elsewhere")
    again = made(model, tmp_path)
    assert same(again[0], first)
    assert same(again[1], second)
    assert (tmp_path / "mlp.0" / "weights.safetensors").stat().st_mtime_ns == weights


def test_what_cannot_share_batches_is_refused(model: Model, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no dictionary"):
        train_from_text(model, corpus(), [])
    mixed = [jobs(tmp_path)[0], jobs(tmp_path, batch_size=32)[1]]
    with pytest.raises(InputError, match="batches of 32, 64 tokens"):
        train_from_text(model, corpus(), mixed)
    assert list(tmp_path.iterdir()) == []


def test_activations_in_memory_are_trained_on(tmp_path: Path) -> None:
    x = torch.randn((500, 16), generator=torch.Generator().manual_seed(0))
    made = train(x, k=4, d_dict=64, tokens=6400, batch_size=64)
    assert (made.k, made.d_dict, made.config.d_in) == (4, 64, 16)
    both = {"mlp_in.1": x, "mlp_out.1": x @ x[:16].T}
    kept = train(both, "mlp_in.1", "mlp_out.1", tmp_path / "d", k=4, tokens=1024, name="d")
    assert (kept.config.site_in, kept.config.site_out) == ("mlp_in.1", "mlp_out.1")
    assert same(Dictionary.open(tmp_path / "d"), kept)
    for bad, said in ((x[0], r"shape \(16,\)"), ({"a": x, "b": x[:3]}, "as many tokens")):
        with pytest.raises(InputError, match=said):
            train(bad, k=4)
    with pytest.raises(DataError, match="NaN"):
        train(torch.full((4, 4), float("nan")), k=1)
