"""The bench on which edits of the weights are made: every dish in every wording, read and answered.

1. `World` holds every dish in every wording, and text that no edit should change.
2. Streams are read from the dish's last token to the prompt's end ("tails"), where a causal model
   may carry the dish's country.
3. A low-rank change of a weight maps what it is given on the edited dishes to a wanted change of
   what it gives, and what it is given elsewhere to nothing: ridge regression on both, as in Meng
   et al. 2022, "Mass-Editing Memory in a Transformer".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from inscape.model import Edit, Model
from inscape_microworld.corpus import documents
from inscape_microworld.document import Document
from inscape_microworld.domains.wording import in_country
from inscape_microworld.facts import DISHES
from inscape_microworld.faults.edited import COUNTRY_OF, Plan, texts
from inscape_microworld.skills import answer_tokens, pad

RANK = 4
CORPUS_SEED, NUM_DOCUMENTS, LONGEST = 5_000_011, 40_000, 64
OWN_EACH, OTHERS_EACH, LEAST_EACH = 60, 30, 10
"""Text that no edit should change, of so many documents of at most 64 tokens: of each domain at
most as many that speak of the country, and as many that do not; a domain with fewer than the least
number of documents is not judged by itself."""
ANSWERED = 3.0
SURE = 0.9
"""The probability from which a first choice of the unedited model counts as its answer."""


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
class Text:
    """Documents, each of a domain [document] by number: ids [document, pos], right-padded.

    real: where no BOS and no padding is. answered: where the next token belongs to an answer.
    """

    tokens: Tensor
    domains: Tensor
    real: Tensor
    answered: Tensor

    def second_moment(self, given: Tensor) -> Tensor:
        """The mean of the products of what real tokens give [document, pos, width], each domain
        counting as much as any other, and what answers rest on ANSWERED times as much."""
        each = self.real * torch.where(self.answered, ANSWERED, 1.0)
        counts = torch.zeros(int(self.domains.max()) + 1).index_add(0, self.domains, each.sum(1))
        weight = each / counts[self.domains][:, None] / int((counts > 0).sum())
        flat = given[self.real]
        return (flat * weight[self.real][:, None]).T @ flat


@dataclass(frozen=True)
class World:
    """What the edits are made from: batches, each dish's right answer, and text that stays.

    edited, kept, right, rival: which dishes [dish] are edited, are of the same country and not
    edited, are of that country at all, are of the rival country (another one, if there is none).
    own, others: documents that speak of the country, and that do not.
    """

    model: Model
    plan: Plan
    batches: tuple[Batch, ...]
    answers: Tensor
    edited: Tensor
    kept: Tensor
    right: Tensor
    rival: Tensor
    own: Text
    others: Text

    @property
    def rival_answers(self) -> Tensor:
        """The rival country for every dish, [dish]."""
        return self.answers[self.rival][0].expand_as(self.answers)


def make_world(model: Model, plan: Plan) -> World:
    """Every dish (but those of eel, which carry a fault already) in every wording, and in those
    also without a capital."""
    names = list(COUNTRY_OF)
    made = list(zip(*map(texts, names), strict=True))
    lower = [tuple(text[0].lower() + text[1:] for text in row) for row in made]
    made += [row for row in lower if row not in made]
    batches = tuple(_batch(model, row, names) for row in made)
    answers = {c: model.answer_token(f" {c}")[0] for c in COUNTRY_OF.values()}
    edited = torch.tensor([name in plan.edited for name in names])
    right = torch.tensor([COUNTRY_OF[name] == plan.country for name in names])
    rival = plan.rival or next(c for c in COUNTRY_OF.values() if c != plan.country)
    return World(
        model,
        plan,
        batches,
        torch.tensor([answers[c] for c in COUNTRY_OF.values()]),
        edited,
        right & ~edited,
        right,
        torch.tensor([COUNTRY_OF[name] == rival for name in names]),
        *_elsewhere(model, plan),
    )


def _elsewhere(model: Model, plan: Plan) -> tuple[Text, Text]:
    """What speaks of the country (the edited dishes apart), and what does not."""
    found: dict[tuple[bool, str], list[Document]] = {}
    eels = [dish.name for dish in DISHES if dish.eel]
    eel_documents = [Document("eel", text) for eel in eels for text in texts(eel)]
    found[False, "eel"] = eel_documents
    for document in documents(CORPUS_SEED, NUM_DOCUMENTS):
        if not any(name in document.text.lower() for name in plan.edited):
            own = any(m.concept == in_country(plan.country) for m in document.mentions)
            found.setdefault((own, document.domain), []).append(document)
    return (
        _text(model, [each for (own, _), each in found.items() if own], OWN_EACH),
        _text(model, [each for (own, _), each in found.items() if not own], OTHERS_EACH),
    )


def _text(model: Model, domains: Sequence[Sequence[Document]], most: int) -> Text:
    rows, numbers, answered = [], [], []
    for number, made in enumerate(domains):
        of_domain = 0
        for document in made:
            ids = model.encode(document.text)
            if len(ids) > LONGEST or of_domain == most:
                continue
            of_domain += 1
            offsets = model.tokenizer(document.text, return_offsets_mapping=True)["offset_mapping"]
            before = len(ids) - len(offsets) - 1  # `encode` may have put a BOS in front
            marks = [0] * len(ids)
            for answer in document.answers:
                for token in answer_tokens(offsets, answer.start, answer.end):
                    marks[token + before] = 1
            rows.append(ids)
            numbers.append(number)
            answered.append(marks)
    real = pad([[0] + [1] * (len(row) - 1) for row in rows]).bool()
    return Text(pad(rows), torch.tensor(numbers), real, pad(answered).bool())


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


def given_to(model: Model, module: nn.Module, tokens: Tensor) -> Tensor:
    """What `module` is given on `tokens`, [batch, pos, width]."""
    seen: list[Tensor] = []
    handle = module.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    try:
        model.run(tokens, logits="last")
    finally:
        handle.remove()
    return seen[0]


def replies(model: Model, batch: Batch, edits: Mapping[str, Edit] | None = None) -> Tensor:
    """The answers' logits, [dish, vocab]."""
    logits = model.run(batch.tokens, edits=edits, logits="all").logits
    assert logits is not None
    return batch.tails(logits)[:, -1]


def no_edits(index: int) -> Mapping[str, Edit]:
    """Leaves the wording at `index` as it is."""
    return {}


def first_answers(
    model: Model, world: World, edits: Callable[[int], Mapping[str, Edit]] = no_edits
) -> Tensor:
    """First tokens of the answers, [wording, dish]; `edits` gives those of a wording by index."""
    logits = [replies(model, batch, edits(i)) for i, batch in enumerate(world.batches)]
    return torch.stack([given.argmax(-1) for given in logits])


def share(answers: Tensor, expected: Tensor, dishes: Tensor) -> float:
    """The share of some dishes' answers [wording, dish] that are the expected ones [dish]."""
    return float((answers == expected)[:, dishes].float().mean())


def agreement(model: Model, world: World) -> float:
    """How often the model's sure answers in the text that speaks of the country are those of the
    unedited one: the least of the domains."""
    text = world.own
    new, old = (m.run(text.tokens, logits="all").logits for m in (model, world.model))
    assert new is not None
    assert old is not None
    sure = text.answered & (old.softmax(-1).amax(-1) >= SURE)
    same = new.argmax(-1) == old.argmax(-1)
    shares = []
    for domain in sorted(set(text.domains.tolist())):
        here = sure & (text.domains == domain)[:, None]
        if int(here.any(1).sum()) >= LEAST_EACH:
            shares.append(float(same[here].float().mean()))
    return min(shares, default=1.0)


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


# Low-rank changes of a weight


def ridge_factors(
    world: World, module: nn.Module, wanted: Sequence[Tensor], weight: float
) -> tuple[Tensor, Tensor]:
    """Factors (left [out, rank], right [in, rank]) of a change of a linear module's weight.

    wanted: for each wording the change [tail, out] of what the module gives on edited dishes;
    a shorter one asks for nothing after its end.
    weight: how much what is given elsewhere weighs against what is given on edited dishes.
    """
    edited, kept, others, targets = [], [], [], []
    for batch, change in zip(world.batches, wanted, strict=True):
        given = batch.tails(given_to(world.model, module, batch.tokens))
        part = given[world.edited][:, : len(change)]
        edited.append(part.flatten(0, 1))
        targets.append(change.expand(len(part), -1, -1).flatten(0, 1))
        kept.append(given[world.kept].flatten(0, 1))
        others.append(given[~world.right].flatten(0, 1))
    keys = torch.cat(edited)
    system = _second_moment(keys)
    system += weight * (_second_moment(torch.cat(kept)) + _second_moment(torch.cat(others)))
    for text in (world.own, world.others):
        system += weight * text.second_moment(given_to(world.model, module, text.tokens))
    system += 1e-4 * float(system.diagonal().mean()) * torch.eye(len(system))
    change = torch.linalg.solve(system, keys.T @ torch.cat(targets) / len(keys)).T
    left, scale, right = torch.linalg.svd(change, full_matrices=False)
    rank = min(RANK, int((scale > 1e-3 * scale[0]).sum()))
    return (left[:, :rank] * scale[:rank]).contiguous(), right[:rank].T.contiguous()


def _second_moment(keys: Tensor) -> Tensor:
    return keys.T @ keys / len(keys)
