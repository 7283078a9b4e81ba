"""Processes that share the forward passes hold the blocks of one that runs them all; a card keeps
what is made on it."""

from __future__ import annotations

import json
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.activations.card import CARD, Card, OnCard
from tests.activations.queues import Pieces, reading_with
from tests.families import VOCAB_SIZE, tiny
from tests.training.test_processes import torchrun

from inscape.activations import OnlineActivations
from inscape.activations.queues import SingleQueue
from inscape.activations.statistics import row_norms
from inscape.core import InputError
from inscape.model import Model
from inscape.training import Ranks, TrainConfig, train

SITES = ["mlp_in.0", "resid_post.1"]
CONTEXT, BLOCK = 21, 150

RUN = """
import sys
from pathlib import Path
from tests.activations.test_sharing import read_together
from inscape.training import connected
with connected(int(sys.argv[1])) as ranks:
    read_together(ranks, Path(sys.argv[2]), pieces=sys.argv[3] == "pieces")
"""


def source(model: Any, ranks: Ranks | None = None, *, pieces: bool = False) -> OnlineActivations:
    """Blocks of several forward batches each; with `pieces`, read as on a card."""
    rng = np.random.default_rng(1)
    corpus = [rng.integers(3, VOCAB_SIZE, size=int(n)).tolist() for n in rng.integers(5, 40, 40)]
    memory = (3 if pieces else 2) * (BLOCK + CONTEXT) * 2 * model.d_model * len(SITES)
    with reading_with(Pieces() if pieces else SingleQueue()):
        return OnlineActivations(
            model, corpus, SITES, context=CONTEXT, batch_tokens=42, memory=memory, sharing=ranks
        )


def counted(model: Model) -> list[int]:
    """What each forward pass of the model from now on has to read: its tokens."""
    plain, found = model.run, []

    def run(tokens: torch.Tensor, **options: Any) -> Any:
        found.append(tokens.numel())
        return plain(tokens, **options)

    model.run = run  # type: ignore[method-assign]
    return found


def read_together(ranks: Ranks, out: Path, pieces: bool) -> None:
    """Hold what is read together against what is read whole and alone, twice over; note the passes
    of this process."""
    torch.set_num_threads(1)
    passes = []
    sources = []
    for given in (None, ranks):
        torch.manual_seed(0)
        model = Model.wrap(tiny("llama"), name="tiny", bos="always")
        passes.append(counted(model))
        sources.append(source(model, given, pieces=pieces and given is not None))
    alone, together = sources
    for site in SITES:
        one, other = (s.site_stats(site) for s in sources)
        assert np.array_equal(one.mean, other.mean)
        assert (one.mean_norm, one.variance) == (other.mean_norm, other.variance)
    for start in (0, 37):  # over several epochs; and from a place in the middle
        drawn = [s.batches(SITES, 48, seed=5, start=start, epochs=9) for s in sources]
        for one, other in zip(*drawn, strict=True):
            assert all(torch.equal(one[site], other[site]) for site in SITES)
    held = alone._held.keys() & together._held.keys()
    assert len(held) == 2
    for number in held:
        block = alone._held[number]
        assert np.array_equal(block.flags, together._held[number].flags)
        for site in SITES:
            assert torch.equal(block.acts[site], together._held[number].acts[site])
    (out / f"{ranks.number}.json").write_text(json.dumps([passes[0], passes[1]]))


@pytest.mark.parametrize(
    ("world", "features", "how"), [(2, 1, "whole"), (4, 2, "whole"), (2, 1, "pieces")]
)
def test_processes_share_the_passes_and_hold_the_same(
    world: int, features: int, how: str, tmp_path: Path, repository: Path
) -> None:
    (tmp_path / "run.py").write_text(RUN)
    result = torchrun(world, [tmp_path / "run.py", features, tmp_path, how], repository)
    assert result.returncode == 0, result.stderr
    found = [json.loads((tmp_path / f"{number}.json").read_text()) for number in range(world)]
    (alone, *others), own = zip(*found, strict=True)
    assert all(other == alone for other in others)
    assert sorted(chain(*own)) == sorted(alone)  # none is run twice, and none is left out
    assert all(0.5 < len(passes) * world / len(alone) < 1.5 for passes in own)


def test_a_model_elsewhere_than_the_processes_is_refused() -> None:
    class Two(Ranks):
        num_data = 2

    with pytest.raises(InputError, match="tiny is on cpu, and the processes .* on cuda") as error:
        source(Model.wrap(tiny("llama"), name="tiny", bos="always"), Two("cuda"))
    assert "device='cuda'" in str(error.value)


@pytest.mark.parametrize("pieces", [False, True])
def test_activations_stay_on_the_card(pieces: bool) -> None:
    """What comes back are norms, means and single numbers; what goes there are places."""
    model = Model.wrap(tiny("llama"), name="tiny", bos="always")
    wanted = source(model)
    tokens = BLOCK + CONTEXT
    with Card() as card:
        found = source(OnCard(model), pieces=pieces)
        for site in SITES:
            one, other = wanted.site_stats(site), found.site_stats(site)
            assert np.array_equal(one.mean, other.mean)
            assert (one.mean_norm, one.variance) == (other.mean_norm, other.variance)
        drawn = (islice(s.batches(SITES, 48, seed=5), 40) for s in (wanted, found))
        for one, other in zip(*drawn, strict=True):
            assert all(x.device == CARD for x in other.values())
            copied = len(card.to_cpu)
            assert all(torch.equal(one[site], other[site].cpu()) for site in SITES)
            del card.to_cpu[copied:]  # the test's own
        assert all(x.device == CARD for block in found._held.values() for x in block.acts.values())
    assert card.to_cpu, "the norms"
    assert max(card.to_cpu) <= 4 * tokens < 2 * BLOCK * model.d_model
    assert max(card.to_card) <= 8 * tokens


def test_what_a_card_makes_trains_as_what_a_processor_makes(tmp_path: Path) -> None:
    model = Model.wrap(tiny("llama"), name="tiny", bos="always")
    for number, whiten in enumerate((False, True)):
        config = TrainConfig(d_dict=48, k=4, tokens=1920, batch_size=48, whiten=whiten)
        site = SITES[1]
        wanted = train(source(model), site, site, tmp_path / f"{number}", config, name="d")
        with Card():
            found = train(
                source(OnCard(model)), site, site, tmp_path / f"card{number}", config, name="d"
            )
        for key, value in wanted.weights.items():
            assert torch.equal(found.weights[key], value)


def test_the_card_refuses_what_lies_elsewhere() -> None:
    with Card() as card:
        x = torch.ones(4, 3).to(CARD)
        with pytest.raises(AssertionError, match="of the card and of the CPU"):
            x[torch.tensor([1])]
        assert torch.equal(row_norms(x), torch.full((4,), 3**0.5))
    assert (card.to_card, card.to_cpu) == ([48], [16])
