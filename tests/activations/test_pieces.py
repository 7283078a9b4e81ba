"""Blocks that are read by pieces, beside the steps: the same batches as of blocks read whole."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch
from tests.activations.card import Card, OnCard
from tests.activations.queues import Pieces, Queues, reading_with
from tests.families import VOCAB_SIZE, tiny

from inscape.activations import OnlineActivations
from inscape.activations.queues import SingleQueue, concurrent_queue
from inscape.core import DataError, InputError
from inscape.model import Model

SITES = ["mlp_in.0", "resid_post.1"]
CONTEXT, BATCH_TOKENS = 21, 42


@pytest.fixture
def model() -> Model:
    torch.manual_seed(0)
    return Model.wrap(tiny("llama"), name="tiny", bos="always")


def corpus() -> list[list[int]]:
    rng = np.random.default_rng(1)
    return [rng.integers(3, VOCAB_SIZE, size=int(n)).tolist() for n in rng.integers(5, 40, 40)]


def source(
    model: Any, queue: SingleQueue | None = None, block_tokens: int = 150
) -> OnlineActivations:
    """Blocks of a few passes each, read whole where there is no queue."""
    queue = queue or SingleQueue()
    rooms = 3 if queue.concurrent else 2
    memory = rooms * (block_tokens + CONTEXT) * 2 * model.d_model * len(SITES)
    with reading_with(queue):
        made = OnlineActivations(
            model, corpus(), SITES, context=CONTEXT, batch_tokens=BATCH_TOKENS, memory=memory
        )
    assert made.block_tokens == block_tokens
    return made


def passes_of(model: Model) -> list[bytes]:
    """The tokens of each forward pass from now on, until they are noted anew."""
    found: list[bytes] = []

    def run(tokens: torch.Tensor, **options: Any) -> Any:
        found.append(tokens.numpy().tobytes())
        return Model.run(model, tokens, **options)

    model.run = run  # type: ignore[method-assign]
    return found


def assert_same(found: Any, wanted: Any) -> None:
    for one, other in zip(found, wanted, strict=True):
        assert all(torch.equal(one[site], other[site]) for site in SITES)


@pytest.mark.parametrize("block_tokens", [60, 150, 400, 5000])  # many blocks, six, a few, and one
def test_batches_are_those_of_blocks_read_whole(model: Model, block_tokens: int) -> None:
    for epochs in (1, 3):
        wanted = source(model, None, block_tokens).batches(SITES, 48, seed=5, epochs=epochs)
        found = source(model, Pieces(), block_tokens).batches(SITES, 48, seed=5, epochs=epochs)
        assert_same(found, wanted)
    wanted = list(islice(source(model, None, block_tokens).batches(SITES, 48, seed=5), 50))
    for start in (0, 1, 7, 30, 44):  # the last ones are of the second and third epoch
        found = source(model, Pieces(), block_tokens).batches(SITES, 48, seed=5, start=start)
        assert_same(islice(found, 50 - start), wanted[start:])


@pytest.mark.parametrize("ahead", [0, 1, 17])  # in the same round, and in others
def test_two_drawings_at_once_do_not_disturb_each_other(model: Model, ahead: int) -> None:
    wanted = [
        list(islice(source(model).batches(SITES, size, seed=size, start=start), 30))
        for size, start in ((48, 0), (20, ahead))
    ]
    shared = source(model, Pieces())
    drawings = [shared.batches(SITES, 48, seed=48), shared.batches(SITES, 20, seed=20, start=ahead)]
    found = list(islice(zip(*drawings, strict=False), 30))
    assert_same([one for one, _ in found], wanted[0])
    assert_same([other for _, other in found], wanted[1])


def drawn(
    model: Model, queue: SingleQueue, size: int, **options: Any
) -> tuple[list[int], list[bytes]]:
    """How many passes each batch asked for, and all of them."""
    passes = passes_of(model)
    before, counts = 0, []
    for _ in source(model, queue).batches(SITES, size, seed=5, **options):
        counts.append(len(passes) - before)
        before = len(passes)
    return counts, passes


def test_each_batch_has_its_share_of_the_passes(model: Model) -> None:
    most = 6  # passes of a block of 150 tokens and a row, 42 at a time
    counts, found = drawn(model, Pieces(), 10, epochs=3)
    whole, wanted = drawn(model, SingleQueue(), 10, epochs=3)
    assert sorted(found) == sorted(wanted)  # each pass of each block is run once
    assert 3 < max(whole) <= most
    rounds = sum(map(bool, whole))
    assert rounds > 12
    assert max(counts[1:]) <= 2  # about 15 batches a round: one pass of a round, one of the next
    assert sum(map(bool, counts)) > 3 * rounds
    assert counts[0] <= most + 1


def test_a_start_amid_a_round_has_its_share_with_what_is_left_of_it(model: Model) -> None:
    """No batch makes up for those that were not drawn."""
    for start in range(14, 22):
        counts = []
        passes = passes_of(model)
        batches = source(model, Pieces()).batches(SITES, 10, seed=5, start=start)
        for _ in range(12):
            before = len(passes)
            next(batches)
            counts.append(len(passes) - before)
        assert counts[0] >= 6  # two blocks
        assert max(counts[1:]) <= 3


def test_a_begun_block_that_lost_its_room_is_read_when_its_round_begins(model: Model) -> None:
    wanted = source(model).batches(SITES, 10, seed=5)
    shared = source(model, Pieces())
    batches = shared.batches(SITES, 10, seed=5)
    assert_same([next(batches)], [next(wanted)])
    assert list(shared._held) == [1, 0]
    for number in (2, 3, 4):
        shared._block(number)  # as another drawing would
    passes = passes_of(model)
    assert_same([next(batches)], [next(wanted)])
    assert len(passes) == len(shared._held[0].reading._passes)  # block 0 alone
    assert 1 not in shared._held
    assert_same(islice(batches, 30), islice(wanted, 30))


@pytest.mark.parametrize("block_tokens", [60, 150, 400, 5000])
def test_a_card_may_do_both_queues_in_any_order(model: Model, block_tokens: int) -> None:
    with Queues() as queues:
        shared = source(model, queues, block_tokens)
        assert shared.site_stats(SITES[0]).count
        first = shared.batches(SITES, 48, seed=5)
        for _ in range(40):  # alone, over several epochs
            next(first)
        for _ in zip(range(10), first, shared.batches(SITES, 20, seed=6), strict=False):
            pass  # the rooms of one drawing go to the other
    assert min(queues.accesses) > 100


@pytest.mark.parametrize("left_out", ["begin", "end"])
def test_a_queue_that_does_not_wait_is_found(
    model: Model, left_out: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing: Callable[..., None] = lambda self: None  # noqa: E731
    monkeypatch.setattr(Queues, left_out, nothing)
    with Queues() as queues, pytest.raises(AssertionError, match="still"):
        list(source(model, queues).batches(SITES, 48, seed=5, epochs=2))


def test_within_a_round_nothing_waits_for_the_card(model: Model) -> None:
    wanted = source(model).batches(SITES, 10, seed=5)
    with Card() as card:
        batches = source(OnCard(model), Pieces()).batches(SITES, 10, seed=5)
        waited = []
        for number in range(60):  # four rounds
            before = len(card.to_cpu) + len(card.waits)
            batch = next(batches)
            if len(card.to_cpu) + len(card.waits) > before:
                waited.append(number)
            assert_same([{site: x.cpu() for site, x in batch.items()}], [next(wanted)])
    assert waited[0] == 0
    assert 3 <= len(waited) <= 6  # where a block is finished: norms, and whether they are finite


def test_three_blocks_have_the_memory_of_two(model: Model) -> None:
    memory = 600 * 2 * model.d_model * len(SITES)

    def made(queue: SingleQueue, memory: int = memory) -> OnlineActivations:
        with reading_with(queue):
            return OnlineActivations(model, corpus(), SITES, context=CONTEXT, memory=memory)

    whole, pieces = made(SingleQueue()), made(Pieces())
    assert (whole.block_tokens, pieces.block_tokens) == (300 - CONTEXT, 200 - CONTEXT)
    assert pieces.identity["block_tokens"] == 200 - CONTEXT
    assert all(len(x) == 600 for one in (whole, pieces) for x in one._room.values())
    least = 6 * CONTEXT * 2 * model.d_model * len(SITES)
    with pytest.raises(InputError, match=f"at least {least},"):
        made(Pieces(), least - 1)
    assert made(Pieces(), least).block_tokens == CONTEXT


def test_what_is_not_finite_is_told_when_its_round_begins(model: Model) -> None:
    """After as many batches as where blocks are read whole, and every time."""
    plain, told = model.run, []
    for queue in (SingleQueue(), Pieces()):
        made, count = source(model, queue), 0
        bad = made._take(2)
        assert bad is not None
        row = bad.ids[: bad.lengths[0]]

        def run(tokens: torch.Tensor, row: np.ndarray = row, **options: Any) -> Any:
            found = plain(tokens, **options)
            for number, ids in enumerate(tokens.numpy()):
                if np.array_equal(ids[: len(row)], row):
                    found.acts[model.site(SITES[1])][number, 1] = np.inf
            return found

        model.run = run  # type: ignore[method-assign]
        with pytest.raises(DataError, match="not finite") as error:
            for _ in made.batches(SITES, 10, seed=5):
                count += 1
        with pytest.raises(DataError, match="not finite"):
            made._block(2)
        told.append((str(error.value), count))
    assert told[0] == told[1]
    assert told[0][1] > 15


def test_on_a_card_the_queue_is_a_stream_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which stream waits for which; there is no card here to see them wait."""
    said: list[tuple[object, ...]] = []

    class Stream:
        def __init__(self, device: torch.device, name: str = "aside") -> None:
            self.name = f"{name} on {device}"

        def wait_stream(self, other: Stream) -> None:
            said.append((self.name, "waits for", other.name))

    class Room:
        def record_stream(self, stream: Stream) -> None:
            said.append(("kept for", stream.name))

    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: Stream(device, "steps"))
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: ("within", stream.name))
    assert not concurrent_queue(torch.device("cpu")).concurrent
    queue = concurrent_queue(torch.device("cuda:1"))
    assert queue.concurrent
    queue.begin()
    queue.end()
    queue.uses(Room())  # type: ignore[arg-type]
    ours, theirs = "aside on cuda:1", "steps on cuda:1"
    assert queue.within() == ("within", ours)
    waits = "waits for"
    assert said == [(ours, waits, theirs), (theirs, waits, ours), ("kept for", ours)]
