"""Whole runs on several processes, started by torchrun: what they reach, and how they end."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.families import VOCAB_SIZE, tiny
from tests.training.source import Source, sparse_world

from inscape.activations import harvest
from inscape.cli import main as shell
from inscape.core import InputError, Stopped, StorageError
from inscape.dictionary import Dictionary
from inscape.model import Model
from inscape.training import Ranks, TrainConfig, Watch, connected, train
from inscape.training.listeners import scalars

MLP = ("mlp_in.1", "mlp_out.1")
TINY = ["--site", "resid_post.1", "--d-dict", "64", "--k", "4", "--batch-size", "64"]

RUN = """
import os, sys
from pathlib import Path
from tests.training.test_processes import go_on
from inscape.core import Stopped
from inscape.training import connected
stop, shards = int(sys.argv[1]), int(sys.argv[2])
mine = os.environ["RANK"] == "1"
try:
    with connected(shards) as ranks:
        for out in sys.argv[3:]:
            go_on(Path(out), stop if mine else None, ranks)
except Stopped as error:
    print(error)
"""

FAULTY = """
import errno, itertools, os, signal, sys, types
from inscape.cli import main as shell
from inscape.training import loop
loop.time = types.SimpleNamespace(monotonic=itertools.count(0, 60).__next__)  # always due
loop._CHECKPOINT_COST = 0
fault, number, plain = sys.argv[1], itertools.count(1), os.fsync
def fsync(descriptor):
    if os.environ["RANK"] == "1" and next(number) == 4:
        if fault == "full":
            raise OSError(errno.ENOSPC, "No space left on device")
        if fault == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
    plain(descriptor)
os.fsync = fsync
sys.exit(shell.main(sys.argv[2:]))
"""


def go_on(out: Path, stop: int | None = None, ranks: Ranks | None = None) -> list[int]:
    """A run of 100 steps with all that a checkpoint holds, to its end or to a SIGTERM; the batches
    that were read."""
    read: list[int] = []

    def on_batch(number: int) -> None:
        read.append(number)
        if number == stop:
            os.kill(os.getpid(), signal.SIGTERM)

    torch.set_num_threads(1)
    x = sparse_world()[MLP[0]][:100]
    config = TrainConfig(
        d_dict=48,
        k=5,
        tokens=20_000,
        batch_size=200,
        lr=5e-3,
        log_every=4,
        dead_tokens=2000,
        variant="jumprelu",
        options={"penalty": "tanh"},
        skip=True,
        clip=1.0,  # gradients of full size: rounding pushes no entry over its threshold's edge
    )
    watch = Watch(lambda found: {"mean": float(found(x).mean())}, times=5)
    source = Source(sparse_world(), on_batch)
    train(source, *MLP, out, config, name="t", watch=watch, ranks=ranks)
    return read


def torchrun(
    count: int, arguments: list[Any], repository: Path
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--nproc-per-node",
            str(count),
            *map(str, arguments),
        ],
        cwd=repository,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={
            **os.environ,
            "PYTHONPATH": f"{repository}:{repository / 'src'}",
            "OMP_NUM_THREADS": "1",
        },
    )


def said(result: subprocess.CompletedProcess[str]) -> list[str]:
    """What inscape says on standard error, among what torchrun does."""
    return [line for line in result.stderr.splitlines() if line.startswith("inscape:")]


def lines(folder: Path) -> list[dict[str, float]]:
    """The figures of a log, without what tells of time."""
    found = [json.loads(line) for line in (folder / "train.jsonl").read_text().splitlines()]
    return [dict(scalars({**line, "tokens_per_second": None})) for line in found]


def assert_alike(folder: Path, other: Path, after: int = 0) -> None:
    found, wanted = lines(folder), lines(other)
    assert len(found) == len(wanted)
    for one, two in zip(found, wanted, strict=True):
        if one["step"] > after:
            assert one == pytest.approx(two, rel=1e-5, abs=1e-5), one["step"]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(1)
    corpus = [rng.integers(3, VOCAB_SIZE, size=20).tolist() for _ in range(60)]
    out = tmp_path_factory.mktemp("processes") / "store"
    harvest(
        Model.wrap(tiny("llama"), name="tiny", bos="always"),
        corpus,
        ["resid_post.1"],
        out,
        context=21,
    )
    return out


def test_a_checkpoint_goes_on_with_any_number_of_processes(
    tmp_path: Path, repository: Path
) -> None:
    (tmp_path / "run.py").write_text(RUN)
    assert go_on(tmp_path / "whole") == list(range(100))
    four, one, two = (tmp_path / name for name in ("four", "one", "two"))
    result = torchrun(4, [tmp_path / "run.py", 39, 2, four], repository)
    assert "training stopped after step 40 of 100" in result.stdout, result.stderr
    (found,) = four.with_name("four.partial").glob("checkpoint*")
    assert found.name == "checkpoint-40"
    assert len(list(found.glob("*.safetensors"))) == 4
    for name in ("one", "broken"):
        shutil.copytree(four.with_name("four.partial"), tmp_path / f"{name}.partial")
    shard = sorted((tmp_path / "broken.partial" / found.name).glob("*.safetensors"))[1]
    shard.unlink()
    with pytest.raises(StorageError, match=f"{shard.name} is missing"):
        go_on(tmp_path / "broken")

    with pytest.raises(Stopped):
        go_on(one, stop=59)
    assert [path.name for path in one.with_name("one.partial").glob("checkpoint*")] == [
        "checkpoint.safetensors"
    ]
    shutil.copytree(one.with_name("one.partial"), two.with_name("two.partial"))
    assert go_on(one) == list(range(60, 100))
    assert_alike(one, tmp_path / "whole")

    result = torchrun(2, [tmp_path / "run.py", -1, 2, four, two], repository)
    assert result.returncode == 0, result.stderr
    assert_alike(four, tmp_path / "whole")
    assert_alike(two, tmp_path / "whole")


def test_the_command_goes_on_after_a_full_disk_and_a_killed_process(
    store: Path, tmp_path: Path, repository: Path
) -> None:
    """And comes to what one process comes to undisturbed."""
    (tmp_path / "faulty.py").write_text(FAULTY)
    command = ["train", store, *TINY, "--tokens", "3840", "--json", "--out"]
    assert shell.main([*map(str, command), str(tmp_path / "one")]) == 0
    command += [tmp_path / "two", "--feature-shards", 2]
    told = {
        "full": "inscape: process 1 of 2: no space left on the disk of",
        "killed": "inscape: process 0 of 2: another process has ended, or cannot be reached",
    }
    kept = 0
    for fault in ("full", "killed"):
        result = torchrun(2, [tmp_path / "faulty.py", fault, *command], repository)
        assert result.returncode != 0
        (line,) = said(result)
        assert line.startswith(told[fault])
        assert "run the same command again" in line
        left = {path.name for path in (tmp_path / "two.partial").iterdir()}
        (checkpoint,) = left - {".lock", "train.jsonl"}
        former, kept = kept, int(checkpoint.removeprefix("checkpoint-"))
        assert former < kept < 20
    result = torchrun(2, ["-m", "inscape", *command], repository)
    assert result.returncode == 0, result.stderr
    assert [made["folder"] for made in json.loads(result.stdout)] == [str(tmp_path / "two")]
    assert_alike(tmp_path / "two", tmp_path / "one", after=20)  # its line has steps 7 to 20 alone
    one, two = (Dictionary.open(tmp_path / name) for name in ("one", "two"))
    for key, value in one.weights.items():
        torch.testing.assert_close(two.weights[key], value, atol=1e-4, rtol=1e-4)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["faulty.py", "one", "two"]


def test_what_cannot_be_shared_is_one_line(store: Path, tmp_path: Path, repository: Path) -> None:
    command = ["train", store, *TINY, "--out", tmp_path / "out", "--feature-shards", 3]
    result = torchrun(2, ["-m", "inscape", *command], repository)
    assert result.returncode != 0
    (line,) = said(result)
    assert "of 2: 2 processes cannot share the features 3 ways" in line
    assert "exitcode  : 2" in result.stderr
    assert not list(tmp_path.iterdir())


def test_one_process_cannot_share(tmp_path: Path) -> None:
    alone = connected(2)
    with pytest.raises(InputError, match="one process cannot share the features 2 ways"):
        alone.__enter__()

    class Three(Ranks):
        num_data = 3

    with pytest.raises(InputError, match="a batch of 200 tokens cannot be shared by 3 processes"):
        go_on(tmp_path / "out", ranks=Three())
