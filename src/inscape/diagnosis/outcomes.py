"""What a model says to cases, as it is and with sets of features removed.

1. Everything that a diagnosis does to the model is of one kind: of each feature f of a set the
   fraction a[f] of its activation is taken away wherever it is active and tokens count,
   x − Σ a·z·W_dec[f] at the sites that the dictionary writes: 1 ablates, −1 doubles.
2. Many sets are tried in one pass: the rows are repeated, and each repetition has its own set.
3. From the pass only the values at the answers' positions are kept; the head, by far the widest
   product, is applied to these alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from inscape.core import Share, track
from inscape.diagnosis.cases import Batch, Case, encode
from inscape.dictionary import Dictionary
from inscape.intervention import Edit, Intervention, edits, hooks
from inscape.model import Inputs, Model, Pass

ROWS, TOKENS = 256, 4096
"""At most so many rows, and tokens with their padding, are run at a time."""

Member = tuple[Dictionary, int]
"""A feature of a dictionary."""
Set: TypeAlias = Mapping[Member, float]
"""The fraction that is taken away of each of some features."""


class Removal(Intervention):
    """Takes fractions `taken` [set, d_dict] of a dictionary's features away; `which` [row] is the
    set of each row. Its derivative is that of the fractions, the activations held constant."""

    def __init__(self, dictionary: Dictionary, taken: Tensor, which: Int[Tensor, " row"]) -> None:
        super().__init__(dictionary)
        self.taken, self.which = taken, which

    def rows(self, x: Tensor, now: Pass) -> Tensor:
        # Of positions that count alone: at a sink thousands of features can be active.
        return x[now.here.to(x.device)]

    def change(self, site: str, x: Tensor, now: Pass) -> Tensor:
        code, here = self.code(now), now.here.to(x.device)
        indices, values = code.indices.to(x.device), code.values.to(x.device)
        which = self.which.to(x.device)[:, None].expand(here.shape)[here]
        removed = functional.embedding_bag(
            indices,
            self.dictionary.decoder_at(site).to(x.device),
            mode="sum",
            per_sample_weights=values * self.taken[which[:, None], indices],
        )
        return x.index_put((here,), x[here] - removed.to(x.dtype))


@dataclass(frozen=True)
class Outcome:
    """What a model says to the rows of a batch.

    states: per row the final values [answer + 1, d_model] from before its answer to its last
    token. log_probability [row]: of the whole answers. greedy: per row what the model would say at
    each of these positions. answered [case]: whether the model writes the correct answer, or, where
    the case gives others, that is the likeliest of them.
    """

    states: tuple[Float[Tensor, "place d_model"], ...]
    greedy: tuple[Int[Tensor, " place"], ...]
    log_probability: Float[Tensor, " row"]
    answered: Bool[Tensor, " case"]

    def cases(self, batch: Batch, chosen: Sequence[int]) -> Outcome:
        """That of the chosen cases of the batch."""
        counts, firsts = batch.num_rows.tolist(), batch.first.tolist()
        rows = [row for i in chosen for row in range(firsts[i], firsts[i] + counts[i])]
        return Outcome(
            tuple(self.states[row] for row in rows),
            tuple(self.greedy[row] for row in rows),
            self.log_probability[rows],
            self.answered[list(chosen)],
        )

    @property
    def share(self) -> Share:
        """Of how many cases the correct answer is the model's answer (see `answered`)."""
        return Share(int(self.answered.sum()), len(self.answered))

    def logits(self, model: Model, batch: Batch) -> Float[Tensor, "case vocab"]:
        """The logits where the answers part."""
        at = (batch.parts - batch.starts[batch.first] + 1).tolist()
        rows = zip(batch.first.tolist(), at, strict=True)
        with torch.no_grad():
            return model.unembed(torch.stack([self.states[r][i] for r, i in rows])).cpu()


def outcomes(model: Model, batch: Batch, sets: Sequence[Set], what: str = "") -> Iterator[Outcome]:
    """The outcome under each set, many in one pass; progress is shown as `what`."""
    rows, order = len(batch.starts), batch.lengths.argsort(stable=True)
    fitting = max(1, min(ROWS, TOKENS // max(1, batch.tokens.shape[1])))
    together = max(1, fitting // rows)
    blocks = [sets[i : i + together] for i in range(0, len(sets), together)]
    for block in track(blocks, what, unit="batches") if what else blocks:
        found: list[list[Tensor]] = [[torch.empty(0)] * rows for _ in block]
        # Rows of similar length run together, so that there is little padding.
        for part in torch.split(order, max(1, fitting // len(block))):
            for values, states in zip(found, _states(model, batch, part, block), strict=True):
                for row, state in zip(part.tolist(), states, strict=True):
                    values[row] = state
        yield from judged(model, batch, found)


def outcome(model: Model, batch: Batch, removed: Set | None = None) -> Outcome:
    """The outcome under one set; of the model as it is without one."""
    return next(outcomes(model, batch, [removed or {}]))


@torch.no_grad()
def _states(
    model: Model, batch: Batch, rows: Tensor, sets: Sequence[Set]
) -> list[list[Float[Tensor, "place d_model"]]]:
    """Per set and row the final values at the positions of the answer."""
    lengths = batch.lengths[rows]
    longest = int(lengths.max())
    tokens = batch.tokens[rows, :longest].repeat(len(sets), 1)
    counted = batch.counted[rows, :longest].repeat(len(sets), 1)
    which = torch.arange(len(sets)).repeat_interleave(len(rows))
    final = model.run(
        Inputs(tokens.to(model.device), counted=counted),
        read=["final"],
        edits=hooks(model, _removals(model, sets, which)) or None,
    )["final"]
    starts = batch.starts[rows].tolist()
    return [
        [
            final[k * len(rows) + i, start - 1 : int(length)]
            for i, (start, length) in enumerate(zip(starts, lengths, strict=True))
        ]
        for k in range(len(sets))
    ]


def _removals(model: Model, sets: Sequence[Set], which: Tensor) -> list[Removal]:
    used = {id(d): d for one in sets for d, _ in one}
    found = []
    for dictionary in used.values():
        taken = torch.zeros(len(sets), dictionary.d_dict)
        for k, one in enumerate(sets):
            for (owner, feature), fraction in one.items():
                if owner is dictionary:
                    taken[k, feature] = fraction
        found.append(Removal(dictionary, taken.to(model.device), which))
    return found


@torch.no_grad()
def judged(model: Model, batch: Batch, sets: Sequence[Sequence[Tensor]]) -> list[Outcome]:
    """For each set the outcome that its final values, one entry a row, are."""
    flat = [(row, state) for states in sets for row, state in enumerate(states)]
    greedy: list[Tensor] = []
    scores: list[Tensor] = []
    said: list[bool] = []
    for first in range(0, len(flat), 64):
        part = flat[first : first + 64]
        logits = model.unembed(torch.cat([state for _, state in part]))
        best, total, begin = logits.argmax(-1).cpu(), logits.logsumexp(-1), 0
        for row, state in part:
            ids, end = torch.tensor(batch.answer(row)), begin + len(state)
            at = slice(begin, end - 1)
            here = logits[at].gather(-1, ids.to(logits.device)[:, None])[:, 0] - total[at]
            scores.append(here.sum().cpu())
            greedy.append(best[begin:end])
            more = bool(batch.digits[row]) and model.token_text(int(best[end - 1]))[:1].isdigit()
            said.append(torch.equal(best[at], ids) and not more)
            begin = end
    counts = list(zip(batch.first.tolist(), batch.num_rows.tolist(), strict=True))
    found = []
    for k, states in enumerate(sets):
        rows = slice(k * len(states), (k + 1) * len(states))
        scored, own = torch.stack(scores[rows]), said[rows]
        answered = [own[r] or (n > 1 and int(scored[r : r + n].argmax()) == 0) for r, n in counts]
        found.append(Outcome(tuple(states), tuple(greedy[rows]), scored, torch.tensor(answered)))
    return found


def shares(
    model: Model, sets: Mapping[str, Sequence[Case]], changes: Sequence[Edit] = ()
) -> dict[str, Share]:
    """Of each named set of cases how many the model, as changed, answers correctly."""
    batches = {name: encode(model, cases) for name, cases in sets.items() if cases}
    with model.standing_edits(edits(model, changes)):
        return {name: outcome(model, batch).share for name, batch in batches.items()}
