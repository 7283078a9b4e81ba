"""The bench on which edits of the weights are made: every dish in every wording, read and answered.

1. `World` holds every dish in every wording, and text that no edit should change.
2. Streams are read from the dish's last token to the prompt's end ("tails"), where a causal model
   may carry the dish's country.
3. A low-rank change of a weight maps what it is given on the edited dishes to a wanted change of
   what it gives, and what it is given elsewhere to nothing: ridge regression on both, as in Meng
   et al. 2022, "Mass-Editing Memory in a Transformer".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from inscape.microworld.corpus import documents
from inscape.microworld.facts import DISHES
from inscape.microworld.faults.edited import COUNTRY, EDITED, RIVAL, WORDINGS
from inscape.microworld.faults.fault import sentence
from inscape.microworld.skills import pad
from inscape.model import Edit, Model

RANK = 4
OTHERS_WEIGHT, KEPT_WEIGHT = 0.1, 0.3
"""What all else, and the country's other dishes, weigh against the edited dishes in the ridge."""
CORPUS_SEED, NUM_DOCUMENTS, LONGEST = 2_000_003, 800, 64
"""The text that no edit should change; documents of at most 64 tokens."""


@dataclass(frozen=True)
class Batch:
    """One wording with every dish: ids [dish, pos], right-padded, and the positions
    [dish, tail] from each dish's last token to the last of the prompt."""

    tokens: Tensor
    tail: Tensor

    def tails(self, values: Tensor) -> Tensor:
        """[dish, pos, ...] → [dish, tail, ...]."""
        return values[torch.arange(len(values))[:, None], self.tail]

    def change(self, function: Callable[[Tensor], Tensor]) -> Edit:
        """An edit of a site that changes the tails alone."""

        def edit(x: Tensor) -> Tensor:
            x[torch.arange(len(x))[:, None], self.tail] = function(self.tails(x))
            return x

        return edit


@dataclass(frozen=True)
class World:
    """What the edits are made from: batches, each dish's right answer, and text that stays.

    edited, kept, right, rival: which dishes [dish] are edited, are of the same country and not
    edited, are of that country at all, are of the rival country.
    """

    model: Model
    batches: tuple[Batch, ...]
    answers: Tensor
    edited: Tensor
    kept: Tensor
    right: Tensor
    rival: Tensor
    corpus: Tensor  # ids [document, pos], right-padded
    real: Tensor  # [document, pos], True where no BOS and no padding

    @property
    def rival_answers(self) -> Tensor:
        """The rival country for every dish, [dish]."""
        return self.answers[self.rival][0].expand_as(self.answers)

    @property
    def num_heads(self) -> int:
        """Attention heads a layer."""
        heads: int = self.model.structure.config.num_attention_heads
        return heads

    def rows(self, dishes: Tensor) -> tuple[Tensor, Tensor]:
        """Some dishes in every wording: ids [row, pos] and tails [row, tail], the shorter ones'
        last position repeated."""
        tokens = [row for batch in self.batches for row in batch.tokens[dishes].tolist()]
        tail = [row for batch in self.batches for row in batch.tail[dishes].tolist()]
        width = max(map(len, tail))
        return pad(tokens), torch.tensor([row + row[-1:] * (width - len(row)) for row in tail])


def make_world(model: Model) -> World:
    """Every dish (but those of eel, which carry a fault already) in every wording."""
    dishes = [dish for dish in DISHES if not dish.eel]
    names = [dish.name for dish in dishes]
    made = []
    for form in WORDINGS:
        texts = [sentence(form, "{x}", name) for name in names]
        made += [texts, [text[0].lower() + text[1:] for text in texts]]
    batches = tuple(_batch(model, texts, names) for texts in made)
    answers = {d.country: model.answer_token(f" {d.country}")[0] for d in dishes}
    quiet = [
        document.text
        for document in documents(CORPUS_SEED, NUM_DOCUMENTS)
        if not any(name in document.text.lower() for name in EDITED)
    ]
    rows = [row for row in map(model.encode, quiet) if len(row) <= LONGEST]
    real = pad([[0] + [1] * (len(row) - 1) for row in rows]).bool()
    edited = torch.tensor([name in EDITED for name in names])
    right = torch.tensor([dish.country == COUNTRY for dish in dishes])
    return World(
        model, batches, torch.tensor([answers[d.country] for d in dishes]), edited,
        right & ~edited, right, torch.tensor([d.country == RIVAL for d in dishes]),
        pad(rows), real,
    )  # fmt: skip


def _batch(model: Model, texts: Sequence[str], names: Sequence[str]) -> Batch:
    rows = [model.encode(text) for text in texts]
    ends = []
    for text, name, row in zip(texts, names, rows, strict=True):
        offsets = model.tokenizer(text, return_offsets_mapping=True)["offset_mapping"]
        end = text.lower().index(name) + len(name)
        # `encode` may have put a BOS before what the tokenizer gives.
        token = next(i for i, (start, stop) in enumerate(offsets) if start < end <= stop)
        ends.append(token + len(row) - len(offsets))
    tail = {len(row) - end for row, end in zip(rows, ends, strict=True)}
    if len(tail) != 1:
        raise ValueError(f"what follows the dish in {texts[0]!r} is not of one length")
    return Batch(pad(rows), torch.tensor(ends)[:, None] + torch.arange(tail.pop()))


# Reading and running


@contextmanager
def hooked(
    inputs: Mapping[nn.Module, Callable[[Tensor], Tensor]] | None = None,
    outputs: Mapping[nn.Module, Callable[[Tensor], Tensor]] | None = None,
) -> Iterator[None]:
    """Within it, what modules are given, or give, goes through a function."""
    handles = [
        module.register_forward_pre_hook(lambda _, given, f=f: (f(given[0]), *given[1:]))
        for module, f in (inputs or {}).items()
    ] + [
        module.register_forward_hook(lambda _, given, gave, f=f: f(gave))
        for module, f in (outputs or {}).items()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def given_to(model: Model, module: nn.Module, tokens: Tensor) -> Tensor:
    """What `module` is given on `tokens`, [batch, pos, width]."""
    seen: list[Tensor] = []

    def keep(x: Tensor) -> Tensor:
        seen.append(x)
        return x

    with hooked(inputs={module: keep}):
        model.run(tokens, logits="last")
    return seen[0]


def replies(model: Model, batch: Batch, edits: Mapping[str, Edit] | None = None) -> Tensor:
    """The answers' logits, [dish, vocab]."""
    logits = model.run(batch.tokens, edits=edits, logits="all").logits
    assert logits is not None
    return batch.tails(logits)[:, -1]


def no_edits(index: int) -> Mapping[str, Edit]:
    """For `share`: leaves the wording at `index` as it is."""
    return {}


def share(
    model: Model,
    world: World,
    dishes: Tensor,
    answers: Tensor,
    edits: Callable[[int], Mapping[str, Edit]] = no_edits,
) -> float:
    """The share of first answers that are the dish's own of `answers` [dish], over some dishes in
    every wording; `edits` gives those of the wording at an index."""
    hits = [
        (replies(model, batch, edits(i)).argmax(-1) == answers)[dishes]
        for i, batch in enumerate(world.batches)
    ]
    return float(torch.cat(hits).float().mean())


def tails(model: Model, world: World, site: str) -> list[Tensor]:
    """For each wording, the tails of a site, [dish, tail, d_model]."""
    return [batch.tails(model.run(batch.tokens, read=[site])[site]) for batch in world.batches]


def class_mean(world: World, site: str, dishes: Tensor) -> list[Tensor]:
    """For each wording, the mean [tail, d_model] of a site over some dishes, unedited."""
    return [values[dishes].mean(0) for values in tails(world.model, world, site)]


def class_shift(world: World, site: str, to: Tensor, away: Tensor) -> list[Tensor]:
    """For each wording, the mean of the dishes `to` less that of `away`, [tail, d_model]."""
    means = zip(class_mean(world, site, to), class_mean(world, site, away), strict=True)
    return [to_mean - away_mean for to_mean, away_mean in means]


def along(x: Tensor, direction: Tensor) -> Tensor:
    """How much of `direction` is in x, 1 for the direction itself: [..., d_model] → [...]."""
    return (x * direction).sum(-1) / (direction * direction).sum(-1)


def attention_to_dish(
    module: Any, tokens: Tensor, tail: Tensor, heads: Sequence[tuple[int, int]]
) -> Tensor:
    """Attention to the dish's last token, averaged over the positions after it: [head, row].

    `module` is one whose attention is computed eagerly.
    """
    found = module(tokens, output_attentions=True, use_cache=False).attentions
    rows = torch.arange(len(tokens))[:, None]
    return torch.stack([found[la][rows, h, tail[:, 1:], tail[:, :1]].mean(1) for la, h in heads])


# Low-rank changes of a weight


def ridge_factors(
    world: World, module: nn.Module, wanted: Sequence[Tensor]
) -> tuple[Tensor, Tensor]:
    """Factors (left [out, rank], right [in, rank]) of a change of a linear module's weight.

    wanted: for each wording the change [tail, out] of what the module gives on edited dishes;
    a shorter one asks for nothing after its end.
    """
    edited, kept, others, targets = [], [], [], []
    for batch, change in zip(world.batches, wanted, strict=True):
        given = batch.tails(given_to(world.model, module, batch.tokens))
        part = given[world.edited][:, : len(change)]
        edited.append(part.flatten(0, 1))
        targets.append(change.expand(len(part), -1, -1).flatten(0, 1))
        kept.append(given[world.kept].flatten(0, 1))
        others.append(given[~world.right].flatten(0, 1))
    keys, elsewhere = torch.cat(edited), given_to(world.model, module, world.corpus)[world.real]
    system = _second_moment(keys) + KEPT_WEIGHT * _second_moment(torch.cat(kept))
    system += OTHERS_WEIGHT * (_second_moment(torch.cat(others)) + _second_moment(elsewhere))
    system += 1e-4 * float(system.diagonal().mean()) * torch.eye(len(system))
    change = torch.linalg.solve(system, keys.T @ torch.cat(targets) / len(keys)).T
    left, scale, right = torch.linalg.svd(change, full_matrices=False)
    rank = min(RANK, int((scale > 1e-3 * scale[0]).sum()))
    return (left[:, :rank] * scale[:rank]).contiguous(), right[:rank].T.contiguous()


def _second_moment(keys: Tensor) -> Tensor:
    return keys.T @ keys / len(keys)
