"""A behaviour: prompts as batches of tokens with the role of each, and runs with parts exchanged.

1. A prompt and its other are tokenised; what their answers begin with together is fed in behind
   both. Each token has one role: that of the part of the text that it overlaps, "last" for the last
   one, "elsewhere" for the rest. What begins the text (BOS) is never touched.
2. The two are aligned stretch by stretch, where a stretch is a run of tokens of one role; of
   stretches of different lengths the last tokens meet, and the first of the shorter one stands for
   all before it.
3. A unit is an attention head, the neurons of one MLP, or a feature of a dictionary of the residual
   stream, in one role. Exchanging it sets it, at the tokens of its role, to what it is at the
   aligned tokens of the other prompt. Attention patterns, norms and all else are recomputed.
4. What is measured is the lead of the answer: its logit less that of the wrong one (of several
   each: of the logs of their summed exponentials).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from inscape.attribution.sources import check_logits
from inscape.circuits.sets import Example
from inscape.circuits.units import Unit, Units
from inscape.core import InputError, track
from inscape.model import Model, Prompt

LAST, ELSEWHERE, START = "last", "elsewhere", "start"
MAX_ROWS = 32
Edit = Callable[[Tensor], Tensor]
Edits = Callable[["Batch", str], Edit]


@dataclass(eq=False)
class Batch:
    """Rows of one length and template.

    tokens, others [row, pos]: of the prompts, and of those they are compared with (padded on the
    right). aligned [row, pos]: which token of the other stands for each. roles: where each role is
    [row, pos]. answers, wrong: tokens of each row. ends [row]: the last token of the other.
    """

    tokens: Int[Tensor, "row pos"]
    others: Int[Tensor, "row other"]
    aligned: Int[Tensor, "row pos"]
    roles: dict[str, Bool[Tensor, "row pos"]]
    answers: list[tuple[int, ...]]
    wrong: list[tuple[int, ...]]
    ends: Int[Tensor, " row"]
    template: str
    kept: dict[tuple[str, str], Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.tokens)

    def lead(self, logits: Float[Tensor, "row vocab"]) -> Float[Tensor, " row"]:
        """By how much the answers lead."""
        rows = zip(logits, self.answers, self.wrong, strict=True)
        return torch.stack([x[list(a)].logsumexp(0) - x[list(w)].logsumexp(0) for x, a, w in rows])

    def says(self, logits: Float[Tensor, "row vocab"]) -> list[int]:
        """1 where the likeliest token is an answer, −1 where it is a wrong one, else 0."""
        found = zip(logits.argmax(-1).tolist(), self.answers, self.wrong, strict=True)
        return [(top in a) - (top in w) for top, a, w in found]

    def chances(self, logits: Float[Tensor, "row vocab"]) -> list[float]:
        """The probability of the wrong answers."""
        rows = zip(logits.double().softmax(-1), self.wrong, strict=True)
        return [float(p[list(wrong)].sum()) for p, wrong in rows]


class Behaviour:
    """Examples on a model, as batches; what is read of the other prompts is kept.

    Raises:
        InputError: an example cannot be aligned with its other, or its answers begin alike; it is
            named.
    """

    def __init__(self, model: Model, examples: Sequence[Example], units: Units) -> None:
        self.model, self.units = model, units
        self.rows = [_row(model, example) for example in examples]
        self.batches = _batched(model, self.rows)

    @property
    def roles(self) -> list[str]:
        """The roles of the prompts, in their order there, "elsewhere" and "last" at the end."""
        found = dict.fromkeys(role for row in self.rows for role in row.roles)
        named = [role for role in found if role not in (ELSEWHERE, LAST, START)]
        return [*named, *(role for role in (ELSEWHERE, LAST) if role in found)]

    def select(self, keep: Sequence[bool]) -> Behaviour:
        """The examples of a mask, in the order of `outcomes`."""
        made = Behaviour.__new__(Behaviour)
        made.model, made.units = self.model, self.units
        order = [row for batch in _grouped(self.rows) for row in batch]
        made.rows = [row for row, there in zip(order, keep, strict=True) if there]
        made.batches = _batched(self.model, made.rows)
        return made

    def other(self, batch: Batch, site: str) -> Float[Tensor, "row pos width"]:
        """What is at a site in the other prompts, aligned."""
        if ("other", site) not in batch.kept:
            self._read(batch, [site])
        return batch.kept["other", site]

    def own(self, batch: Batch, site: str) -> Float[Tensor, "row pos width"]:
        """What is at a site in the prompts themselves."""
        if ("own", site) not in batch.kept:
            self._read(batch, [site])
        return batch.kept["own", site]

    def keep(self, sites: Iterable[str]) -> None:
        """Reads sites of all prompts in as few passes as there are batches."""
        for batch in self.batches:
            self._read(batch, [site for site in sites if ("own", site) not in batch.kept])

    def _read(self, batch: Batch, sites: Sequence[str]) -> None:
        if not sites:
            return
        rows = torch.arange(len(batch), device=self.model.device)[:, None]
        for name, tokens in (("own", batch.tokens), ("other", batch.others)):
            run = self.model.run(tokens, read=sites)
            for site in sites:
                value = run[site]
                batch.kept[name, site] = value if name == "own" else value[rows, batch.aligned]

    @torch.no_grad()
    def outcomes(self, sites: Iterable[str] = (), edits: Edits | None = None) -> Outcomes:
        """The leads of all prompts with sites edited; of `edits(batch, site)` each."""
        found = Outcomes([], [], [])
        wanted = list(sites)
        for batch in self.batches:
            made = {site: edits(batch, site) for site in wanted} if edits else {}
            logits = self.model.run(batch.tokens, edits=made, logits="last").logits
            assert logits is not None
            check_logits(self.model, logits)
            found.add(batch, logits[:, -1].float())
        return found

    @torch.no_grad()
    def compared(self) -> Outcomes:
        """The same of the other prompts: what the wrong answers' own prompts say."""
        found = Outcomes([], [], [])
        for batch in self.batches:
            final = self.model.run(batch.others, read=["final"])["final"]
            rows = torch.arange(len(batch), device=final.device)
            found.add(batch, self.model.unembed(final[rows, batch.ends]).float())
        return found

    def exchanged(self, units: Sequence[Unit]) -> Outcomes:
        """The outcomes with units exchanged (step 3)."""
        where = by_site(units)
        self.keep(where)

        def edits(batch: Batch, site: str) -> Edit:
            other, chosen = self.other(batch, site), where[site]
            return lambda x: self.units.set(x, other, chosen, batch.roles)

        return self.outcomes(where, edits)


@dataclass(frozen=True)
class Outcomes:
    """Of each prompt the lead of its answer, what the model says (1: the answer, −1: the wrong one,
    0: something else), and the probability of the wrong one."""

    leads: list[float]
    says: list[int]
    chances: list[float]

    def add(self, batch: Batch, logits: Float[Tensor, "row vocab"]) -> None:
        """The outcomes of a batch too."""
        self.leads.extend(batch.lead(logits).tolist())
        self.says.extend(batch.says(logits))
        self.chances.extend(batch.chances(logits))

    @property
    def mean(self) -> float:
        """The mean lead."""
        return sum(self.leads) / max(len(self.leads), 1)

    @property
    def chance(self) -> float:
        """The mean probability of the wrong answer."""
        return sum(self.chances) / max(len(self.chances), 1)

    @property
    def turned(self) -> int:
        """On how many the wrong answer leads."""
        return sum(lead < 0 for lead in self.leads)


@dataclass(frozen=True)
class _Row:
    ids: tuple[int, ...]
    other: tuple[int, ...]
    roles: tuple[str, ...]
    aligned: tuple[int, ...]
    answers: tuple[int, ...]
    wrong: tuple[int, ...]
    template: str


def _row(model: Model, example: Example) -> _Row:
    given, other = model.prompt(example.prompt), model.prompt(example.other)
    pair = [example.answers[0], example.wrong[0]]
    try:
        split = model.first_difference(given, pair)
        shared = split.prompt.ids[len(given) :]
    except InputError as error:
        raise InputError(f"{example.place}: {error}") from error
    roles = _roles(given, example.roles, shared)
    others = _roles(other, example.other_roles, shared)
    aligned = _aligned(roles, others)
    if aligned is None:
        raise InputError(
            f"{example.place}: its roles are {_said(roles)}, those of the other {_said(others)}",
            expected="the same roles in the same order",
        )
    return _Row(
        ids=split.prompt.ids,
        other=(*other.ids, *shared),
        roles=roles,
        aligned=aligned,
        answers=_first(model, given, example.answers, split.tokens[0], len(shared)),
        wrong=_first(model, given, example.wrong, split.tokens[1], len(shared)),
        template=example.template,
    )


def _first(
    model: Model, given: Prompt, answers: Sequence[str], token: int, shared: int
) -> tuple[int, ...]:
    """The deciding token of each answer."""
    rest = [model.answer(given, text).ids for text in answers[1:]]
    return tuple(dict.fromkeys([token, *(ids[shared] for ids in rest if len(ids) > shared)]))


def _roles(
    prompt: Prompt, parts: Mapping[str, tuple[int, int]], shared: Sequence[int]
) -> tuple[str, ...]:
    """The role of each token, with those that are fed in behind."""
    text = "".join(prompt.texts)
    shift = text.find(prompt.text) if prompt.text else 0
    found, at = [], -max(shift, 0)
    for piece, word in zip(prompt.texts, prompt.words, strict=True):
        start, at = at, at + len(piece)
        first = start + len(piece) - len(piece.lstrip())  # the space before a word is not its part
        here = [n for n, (low, high) in parts.items() if first < high and at > low]
        found.append(here[-1] if here else ELSEWHERE if word else START)
    found += [ELSEWHERE] * len(shared)
    found[-1] = LAST
    return tuple(found)


def _aligned(roles: Sequence[str], others: Sequence[str]) -> tuple[int, ...] | None:
    """For each token the other prompt's that stands for it; None where the stretches differ."""

    def stretches(names: Sequence[str]) -> list[tuple[str, list[int]]]:
        runs = groupby(range(len(names)), names.__getitem__)
        return [(name, list(run)) for name, run in runs]

    own, their = stretches(roles), stretches(others)
    if [name for name, _ in own] != [name for name, _ in their]:
        return None
    found: list[int] = []
    for (_, here), (_, there) in zip(own, their, strict=True):
        offset = len(there) - len(here)
        found += [there[max(n + offset, 0)] for n in range(len(here))]
    return tuple(found)


def _said(roles: Sequence[str]) -> str:
    return ", ".join(name for name, _ in groupby(roles))


def _grouped(rows: Sequence[_Row]) -> list[list[_Row]]:
    groups: dict[tuple[str, int], list[_Row]] = defaultdict(list)
    for row in rows:
        groups[row.template, len(row.ids)].append(row)
    return [
        group[first : first + MAX_ROWS]
        for group in groups.values()
        for first in range(0, len(group), MAX_ROWS)
    ]


def _batched(model: Model, rows: Sequence[_Row]) -> list[Batch]:
    device, batches = model.device, []
    for group in track(_grouped(rows), "reading prompts", unit="batches"):
        others = [torch.tensor(row.other, device=device) for row in group]
        names = dict.fromkeys(role for row in group for role in row.roles)
        batches.append(
            Batch(
                tokens=torch.tensor([row.ids for row in group], device=device),
                others=torch.nn.utils.rnn.pad_sequence(others, batch_first=True),
                aligned=torch.tensor([row.aligned for row in group], device=device),
                roles={
                    name: torch.tensor([[r == name for r in row.roles] for row in group]).to(device)
                    for name in names
                },
                answers=[row.answers for row in group],
                wrong=[row.wrong for row in group],
                ends=torch.tensor([len(row.other) - 1 for row in group], device=device),
                template=group[0].template,
            )
        )
    return batches


def by_site(units: Iterable[Unit]) -> dict[str, list[Unit]]:
    """Units by their sites."""
    found: dict[str, list[Unit]] = defaultdict(list)
    for unit in units:
        found[unit.site].append(unit)
    return dict(found)
