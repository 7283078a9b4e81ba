"""One concept swapped for another inside the model, and whether the answer follows.

1. A swap is a prompt whose mention [onset, end) carries a concept, a donor concept, and the answer
   that would be right with the donor in its place.
2. Supervised interchange: the class means of the concept at a site span a subspace; inside it, x
   gets the donor's mean; outside it stays as it is.
3. Feature swap: the features of the concept are set to 0 and those of the donor to their mean when
   present: x + Σ (new − old)·direction. What the features do not explain stays as it is.
4. The answer follows when every token of the wanted answer is the first choice, each given the ones
   before it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from inscape.core import InputError, seeded
from inscape.model import Model
from inscape_microworld.benchmark.interface import Features, written_site
from inscape_microworld.benchmark.matching import ConceptMatch
from inscape_microworld.skills import pad

Place = Literal["subject", "mention", "last", "answer"]
"""The mention's last token; its tokens from the onset on; the prompt's last token; every token that
a token of the answer is predicted from."""
BATCH = 128
SiteEdit = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Swap:
    """See step 1; onset and end are characters, the onset's own token counts. group: what figures
    are taken together by (a composition)."""

    text: str
    onset: int
    end: int
    concept: str
    donor: str
    wanted: str
    group: str = ""


@dataclass(frozen=True, eq=False)
class Batch:
    """Swaps as right-padded tokens [n, pos] of prompt and wanted answer. answer: [n, 2] positions
    of the answer's tokens; mention: [n, 2] those of the mention; both half-open."""

    swaps: Sequence[Swap]
    tokens: Int[Tensor, "n pos"]
    answer: Int[Tensor, "n 2"]
    mention: Int[Tensor, "n 2"]

    def mask(self, place: Place) -> Bool[Tensor, "n pos"]:
        """The positions of a place."""
        at = torch.arange(self.tokens.shape[1])[None]
        if place == "last":
            return at == self.answer[:, :1] - 1
        if place == "answer":
            return (at >= self.answer[:, :1] - 1) & (at < self.answer[:, 1:] - 1)
        last = self.mention[:, 1:]
        return at == last - 1 if place == "subject" else (at >= self.mention[:, :1]) & (at < last)


class Change(Protocol):
    """Something that edits the model's pass over some swaps of a batch."""

    def edits(self, batch: Batch, rows: Tensor) -> Mapping[str, SiteEdit]:
        """The edits for a run of exactly these rows, cut to their longest."""
        ...


def batch(model: Model, swaps: Sequence[Swap]) -> Batch:
    """The swaps as tokens.

    Raises:
        InputError: there are none.
    """
    if not swaps:
        raise InputError("there are no swaps", expected="prompts whose mention has a donor")
    encoded = model.tokenizer([s.text + s.wanted for s in swaps], return_offsets_mapping=True)
    answer, mention = [], []
    for swap, offsets in zip(swaps, encoded["offset_mapping"], strict=True):
        ends = torch.tensor([end for _, end in offsets])
        first = int((ends <= len(swap.text)).sum())
        answer.append((first, len(ends)))
        mention.append((int((ends <= swap.onset).sum()), int((ends <= swap.end - 1).sum()) + 1))
    return Batch(
        list(swaps), pad(encoded["input_ids"]), torch.tensor(answer), torch.tensor(mention)
    )


@torch.no_grad()
def answers(
    model: Model, swaps: Batch, change: Change | None = None
) -> tuple[Bool[Tensor, " n"], Int[Tensor, " n"]]:
    """Whether each wanted answer is given, and the first choice after each prompt."""
    hit = torch.zeros(len(swaps.swaps), dtype=torch.bool)
    first = torch.zeros(len(swaps.swaps), dtype=torch.long)
    order = swaps.answer[:, 1].argsort(stable=True)
    for begin in range(0, len(order), BATCH):
        rows = order[begin : begin + BATCH]
        width = int(swaps.answer[rows, 1].max())
        tokens = swaps.tokens[rows, :width]
        edits = change.edits(swaps, rows) if change is not None else None
        run = model.run(tokens.to(model.device), read=["final"], edits=edits)
        span = swaps.answer[rows]
        at = torch.arange(1, width)[None]
        inside = (at >= span[:, :1]) & (at < span[:, 1:])
        row, position = inside.nonzero(as_tuple=True)
        choice = model.unembed(run["final"].cpu().to(model.device)[row, position]).argmax(-1).cpu()
        wrong = choice != tokens[row, position + 1]
        hit[rows] = torch.zeros(len(rows)).index_add(0, row, wrong.float()) == 0
        begins = position + 1 == span[row, 0]
        first[rows[row[begins]]] = choice[begins]
    return hit, first


@dataclass(frozen=True, eq=False)
class MeanSwap:
    """The supervised interchange at one site and place (see step 2)."""

    site: str
    place: Place
    basis: Float[Tensor, "d_model rank"]
    means: Mapping[str, Float[Tensor, " d_model"]]

    def edits(self, batch: Batch, rows: Tensor) -> Mapping[str, SiteEdit]:
        """The interchange for these rows."""
        goal = torch.stack([self.means[batch.swaps[int(i)].donor] for i in rows])
        mask = batch.mask(self.place)[rows]

        def write(x: Tensor) -> Tensor:
            row, position = mask[:, : x.shape[1]].nonzero(as_tuple=True)
            basis = self.basis.to(x)
            x[row, position] += (goal.to(x)[row] - x[row, position]) @ basis @ basis.T
            return x

        return {self.site: write}

    def random(self, seed: int = 0) -> MeanSwap:
        """The same in a random subspace of the same rank: the control."""
        generator = torch.Generator().manual_seed(seeded(seed, "random subspace"))
        rows = torch.randn(self.basis.shape, generator=generator)
        return MeanSwap(self.site, self.place, torch.linalg.qr(rows)[0], self.means)


@torch.no_grad()
def fit_means(
    model: Model, swaps: Sequence[Swap], sites: Sequence[str], places: Iterable[Place]
) -> list[MeanSwap]:
    """The interchange at every site and place, from the class means of these prompts' concepts.

    A concept that only the donors have gets no mean: leave such swaps out (`swappable`).
    """
    whole = batch(model, swaps)
    run = model.run(whole.tokens.to(model.device), read=list(sites))
    found = []
    for place in places:
        row, position = whole.mask(place).nonzero(as_tuple=True)
        names = sorted({swap.concept for swap in swaps})
        label = torch.tensor([names.index(whole.swaps[int(r)].concept) for r in row])
        for site in sites:
            x = run[site].cpu().float()[row, position]
            sums = torch.zeros(len(names), x.shape[1]).index_add_(0, label, x)
            means = sums / label.bincount(minlength=len(names))[:, None]
            _, strength, right = torch.linalg.svd(means - means.mean(0), full_matrices=False)
            basis = right[strength > 1e-4 * strength.max()].T
            by_name = dict(zip(names, means, strict=True))
            found.append(MeanSwap(site, place, basis, by_name))
    return found


@dataclass(frozen=True)
class Members:
    """The features that stand for a concept, with their mean activations when it is present."""

    features: tuple[int, ...]
    means: tuple[float, ...]


def members(matches: Iterable[ConceptMatch]) -> dict[str, Members]:
    """The unions of matched concepts, for swapping; concepts without a feature are left out."""
    return {m.concept: Members(m.features, m.means) for m in matches if m.features}


@dataclass(frozen=True, eq=False)
class FeatureSwap:
    """The swap of a system's features at one place (see step 3). A concept without members has
    no features to set."""

    system: Features
    members: Mapping[str, Members]
    place: Place

    def edits(self, batch: Batch, rows: Tensor) -> Mapping[str, SiteEdit]:
        """The swap for these rows."""
        mask = batch.mask(self.place)[rows]
        none = Members((), ())
        wanted: list[dict[int, float]] = []
        for i in rows.tolist():
            swap = batch.swaps[i]
            donor = self.members.get(swap.donor, none)
            own = dict.fromkeys(self.members.get(swap.concept, none).features, 0.0)
            wanted.append({**own, **dict(zip(donor.features, donor.means, strict=True))})
        used = sorted({feature for goal in wanted for feature in goal})
        slot = torch.full((self.system.num_features,), -1)
        slot[used] = torch.arange(len(used))
        goal, swapped = torch.zeros(len(rows), len(used)), torch.zeros(len(rows), len(used))
        for r, values in enumerate(wanted):
            for feature, value in values.items():
                goal[r, slot[feature]], swapped[r, slot[feature]] = value, 1.0
        read, written = self.system.site, written_site(self.system)
        held: list[Tensor] = []

        def capture(x: Tensor) -> Tensor:
            row, position = mask[:, : x.shape[1]].nonzero(as_tuple=True)
            at, features, values = (t.cpu() for t in self.system.encode(x[row, position].float()))
            kept = slot[features] >= 0
            old = torch.zeros(len(row), len(used))
            old[at[kept], slot[features[kept]]] = values[kept].float()
            held.append((goal[row] - old) * swapped[row])
            return x

        def write(x: Tensor) -> Tensor:
            if not used:
                return x
            if read == written:
                capture(x)
            row, position = mask[:, : x.shape[1]].nonzero(as_tuple=True)
            directions = torch.stack([self.system.direction(f) for f in used])
            x[row, position] += held.pop().to(x) @ directions.to(x)
            return x

        return {written: write} if read == written else {read: capture, written: write}


@dataclass(frozen=True)
class Together:
    """Changes of different sites in one pass: those of later sites see what earlier ones did."""

    changes: Sequence[Change]

    def edits(self, batch: Batch, rows: Tensor) -> Mapping[str, SiteEdit]:
        """The edits of all of them."""
        found: dict[str, SiteEdit] = {}
        for change in self.changes:
            made = change.edits(batch, rows)
            if both := found.keys() & made.keys():
                raise InputError(
                    f"two changes write {sorted(both)[0]!r}", expected="a site for each of them"
                )
            found.update(made)
        return found


def swappable(swaps: Iterable[Swap], known: Iterable[str]) -> list[Swap]:
    """The swaps whose concept and donor are both among those known."""
    names = set(known)
    return [s for s in swaps if s.concept in names and s.donor in names]
