"""Several dictionaries on one pass over the data."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.training.source import Source, sparse_world
from tests.training.test_train import MLP, RESID, config

from inscape.core import InputError, Stopped
from inscape.dictionary import Dictionary
from inscape.training import Job, train, train_many


def jobs(folder: Path) -> list[Job]:
    """Sites, sizes, sparsities, variants, seeds and lengths differ; the data's order does not."""
    return [
        Job(*RESID, folder / "a", config(tokens=20_000, data_seed=7), "a"),
        Job(*RESID, folder / "b", config(tokens=20_000, data_seed=7, seed=3, k=3, d_dict=64), "b"),
        Job(*MLP, folder / "c", config(tokens=12_000, data_seed=7, variant="jumprelu"), "c"),
        Job(*MLP, folder / "d", config(tokens=20_000, data_seed=7, skip=True), "d"),
    ]


def alone(folder: Path, source: Source) -> list[Dictionary]:
    return [
        train(source, j.site_in, j.site_out, j.out, j.config, name=j.name) for j in jobs(folder)
    ]


def same(first: list[Dictionary], second: list[Dictionary]) -> bool:
    return all(
        torch.equal(value, two.weights[key])
        for one, two in zip(first, second, strict=True)
        for key, value in one.weights.items()
    )


def test_together_they_come_to_the_same_bits_and_each_batch_is_read_once(tmp_path: Path) -> None:
    read: list[int] = []
    together = train_many(Source(sparse_world(), read.append), jobs(tmp_path / "together"))
    assert read == list(range(100))
    assert same(together, alone(tmp_path / "alone", Source(sparse_world())))
    assert [d.name for d in together] == ["a", "b", "c", "d"]
    assert not list((tmp_path / "together").glob("*.partial"))
    assert train_many(Source(sparse_world()), jobs(tmp_path / "together"))[2].name == "c"


def test_stopped_together_they_go_on_together(tmp_path: Path) -> None:
    def interrupt(number: int) -> None:
        if number == 70:  # the third has ended by then
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Stopped, match="after step 71 of 100"):
        train_many(Source(sparse_world(), interrupt), jobs(tmp_path / "together"))
    assert (tmp_path / "together" / "c" / "dictionary.json").is_file()
    read: list[int] = []
    together = train_many(Source(sparse_world(), read.append), jobs(tmp_path / "together"))
    assert read == list(range(71, 100))
    assert same(together, alone(tmp_path / "alone", Source(sparse_world())))
    assert not list((tmp_path / "together").glob("*.partial"))


def test_runs_that_stopped_at_different_steps_meet_again(tmp_path: Path) -> None:
    def interrupt(number: int) -> None:
        if number == 30:
            os.kill(os.getpid(), signal.SIGINT)

    first = jobs(tmp_path / "together")[0]
    with pytest.raises(Stopped):
        train_many(Source(sparse_world(), interrupt), [first])
    together = train_many(Source(sparse_world()), jobs(tmp_path / "together"))
    assert same(together, alone(tmp_path / "alone", Source(sparse_world())))


def test_other_orders_are_other_passes(tmp_path: Path) -> None:
    a, b, *_ = jobs(tmp_path)
    b = replace(b, config=config(tokens=20_000, seed=5))
    read: list[int] = []
    train_many(Source(sparse_world(), read.append), [a, b])
    assert read == [*range(100), *range(100)]


def test_one_folder_for_two_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    a, b, *_ = jobs(tmp_path)
    with pytest.raises(InputError, match="two dictionaries would be written"):
        train_many(Source(sparse_world()), [a, replace(b, out=a.out)])
    bad = replace(b, config=config(tokens=20_000, skip=True))
    with pytest.raises(InputError, match="identity"):
        train_many(Source(sparse_world()), [a, bad])
    assert not list(tmp_path.iterdir())
