"""Several processes train what one process trains: data × features, by gloo."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from inscape.core import InputError
from inscape.training.initial import _normal
from inscape.training.ranks import Ranks
from inscape_microworld.benchmark.gradients import CASES

WORKER = """
import json, os, sys
import torch
torch.set_num_threads(1)
from torch import distributed
from inscape.training.ranks import Mesh, Ranks
from tests.training.test_ranks import run
rank, world, features, folder = sys.argv[1:5]
distributed.init_process_group(
    "gloo", init_method="file://" + folder + "/meeting", rank=int(rank), world_size=int(world)
)
mesh, number = Mesh(int(features)), int(rank)
assert mesh.any(number == 1, False, True) == (True, False, True)
assert mesh.least(float(number) - 2) == -2 and mesh.least(float("inf")) == float("inf")
whole = {"W_enc": torch.arange(16.0).view(8, 2), "b_dec": torch.ones(2)}
own = {"W_enc": whole["W_enc"][mesh.shard(8)], "b_dec": whole["b_dec"]}
gathered = mesh.gathered(own)
assert (gathered is None) == (number > 0)
assert gathered is None or all(torch.equal(gathered[key], whole[key]) for key in whole)
found = run(mesh)
if int(rank) == 0:
    torch.save(found, folder + "/found.pt")
distributed.barrier()
distributed.destroy_process_group()
"""
STEPS, BATCH = 12, 48


def run(ranks: Ranks) -> dict[str, Any]:
    """Losses of every variant and kind over some steps with dead features, and the last weights of
    this process."""
    from tests.training.test_variants import ALL

    from inscape.dictionary import DictionaryConfig, joined
    from inscape.training import TrainConfig, Trainer

    found: dict[str, Any] = {}
    for variant, options in ALL:
        for kind in ("autoencoder", "skip", "crosscoder", "cross-layer"):
            skip, transcoder = kind == "skip", kind in ("skip", "cross-layer")
            if kind == "cross-layer" and (variant == "matryoshka" or ranks.num_features > 1):
                continue
            several = () if kind in ("autoencoder", "skip") else (6, 6)
            sites = range(len(several) or 1)
            generator = torch.Generator().manual_seed(5)
            shape = DictionaryConfig(
                site_in=joined(f"{'mlp_in' if transcoder else 'resid_post'}.{n}" for n in sites),
                site_out=joined(f"{'mlp_out' if transcoder else 'resid_post'}.{n}" for n in sites),
                d_in=12,
                d_out=12,
                d_dict=64,
                k=6,
                subtract_b_dec=not transcoder,
                skip=skip,
                widths=several,
            )
            config = TrainConfig(
                d_dict=64,
                k=6,
                tokens=STEPS * BATCH,
                batch_size=BATCH,
                lr=3e-3,
                aux_k=5,
                aux_weight=1 / 32,
                dead_tokens=3 * BATCH,
                variant=variant,
                options=options,
                skip=skip,
            )
            weights = {
                name: torch.randn(shape.shapes()[name], generator=generator) / 12**0.5
                for name in ("W_enc", "b_enc", "W_dec", "b_dec")
            }
            weights["W_dec"] /= weights["W_dec"].norm(dim=1, keepdim=True)
            weights["W_enc"][:3] *= 0.02  # too faint to be active: dead after some steps
            weights["W_enc"][40] *= 0.02
            trainer = Trainer(shape, config, weights, ranks)
            losses = []
            for _ in range(STEPS):
                x = torch.randn((BATCH, 12), generator=generator)
                y = torch.randn((BATCH, 12), generator=generator) if transcoder else x
                metrics = trainer.step(x[ranks.part], y[ranks.part])
                losses.append((metrics.loss, metrics.fvu, metrics.l0, metrics.explained_variance))
            name = f"{variant} {json.dumps(options)} {kind}"
            found[name] = losses, {k: v.clone() for k, v in trainer.weights.items()}
    return found


@pytest.mark.parametrize(("world", "features"), [(2, 1), (2, 2), (4, 2)])
def test_several_processes_have_the_losses_of_one(
    world: int, features: int, tmp_path: Path, repository: Path
) -> None:
    assert {variant for variant, _ in CASES} == {
        "topk",
        "batch_topk",
        "matryoshka",
        "relu",
        "jumprelu",
        "gated",
    }
    environment = {**os.environ, "PYTHONPATH": f"{repository}:{repository / 'src'}"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(rank), str(world), str(features), str(tmp_path)],
            cwd=repository,
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(world)
    ]
    errors = [process.communicate(timeout=300)[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * world, [
        error[-2000:] for error in errors
    ]
    found, alone = torch.load(tmp_path / "found.pt"), run(Ranks())
    # The features of a cross-layer transcoder are not shared among processes.
    assert {name for name in alone if name not in found} == (
        set() if features == 1 else {name for name in alone if name.endswith("cross-layer")}
    )
    for name, (losses, weights) in alone.items():
        if name not in found:
            continue
        theirs, shards = found[name]
        torch.testing.assert_close(
            torch.tensor(theirs), torch.tensor(losses), atol=1e-5, rtol=1e-5, msg=name
        )
        for key, value in weights.items():
            whole = features == 1 or key in ("b_dec", "W_skip")
            own = value if whole else value[: 64 // features]
            assert shards[key].shape == own.shape
            torch.testing.assert_close(shards[key], own, atol=2e-4, rtol=1e-3, msg=f"{name}: {key}")


def test_features_that_cannot_be_shared_are_refused() -> None:
    from inscape.dictionary import DictionaryConfig
    from inscape.training import TrainConfig, Trainer

    class Three(Ranks):
        num_features = 3

    shape = DictionaryConfig(
        site_in="embed", site_out="embed", d_in=4, d_out=4, d_dict=8, k=2, subtract_b_dec=True
    )
    config = TrainConfig(d_dict=8, k=2, tokens=100, batch_size=10)
    with pytest.raises(InputError, match="8 features cannot be shared 3 ways"):
        Trainer(shape, config, {}, Three())
    crossing = DictionaryConfig(
        site_in="mlp_in.0+mlp_in.1",
        site_out="mlp_out.0+mlp_out.1",
        d_in=4,
        d_out=4,
        d_dict=12,
        k=2,
        subtract_b_dec=False,
        widths=(2, 2),
    )
    with pytest.raises(InputError, match="share the rows alone"):
        Trainer(crossing, config, {}, Three())


@pytest.mark.parametrize(("rows", "width"), [(5000, 3), (8193, 7), (4096, 16), (2, 20)])
def test_the_first_weights_are_the_same_for_any_share_of_the_features(
    rows: int, width: int
) -> None:
    whole = torch.randn((rows, width), generator=torch.Generator().manual_seed(3))
    for part in (slice(0, rows), slice(rows // 2, rows), slice(0, rows // 2)):
        found = _normal(rows, width, torch.Generator().manual_seed(3), part)
        assert torch.equal(found, whole[part])
