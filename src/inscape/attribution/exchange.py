"""Which neurons turn one answer into another's: exchanged between two prompts.

1. Two prompts, such as "The capital of France is" and "The capital of Japan is". Every neuron has a
   value at every token of both, and tokens their counterparts (`counterparts`).
2. The gradient of the log-probability of the other prompt's answer, times the change of each
   neuron, ranks them. A part of those wanted is set to their values in the other prompt; the next
   part is ranked by the gradient from there, and so on: what the first have done counts.
3. Measured in the unmodified model, attention and norms recomputed: the answer with all of them
   exchanged, and with random neurons exchanged whose values change as much.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from inscape.attribution.interventions import without_counterpart
from inscape.attribution.sources import check_finite
from inscape.core import InputError, LabelOf, ModelError, Share, no_label, quoted, seeded, whole
from inscape.model import Model, Prompt, Site, Source, counterparts
from inscape.storage import Result

ROUNDS, CONTROLS = 5, 20
Values = Float[Tensor, "layer pos neuron"]


@dataclass(frozen=True)
class Member:
    """A neuron at a token: its value in the prompt, and in the other."""

    layer: int
    position: int
    neuron: int
    value: float
    other: float


@dataclass
class Exchange(Result):
    """What exchanging neurons of a prompt with those of another does to its answer.

    answers: the two next tokens, of the prompt and of the other. before, after: their
        probabilities on the prompt, and what the model says.
    turned: whether it says the other's answer. controls: how many of as many random sets, of
        neurons whose values change as much, turn it too.
    """

    SCHEMA: ClassVar[str] = "inscape.exchange"
    MADE_BY: ClassVar[str] = "trace"

    model: str
    prompt: str
    other: str
    answers: tuple[str, str]
    before: tuple[float, float, str]
    after: tuple[float, float, str]
    turned: bool
    controls: Share
    members: list[Member]
    prompt_tokens: list[str]
    notes: list[str] = field(default_factory=list)
    names: LabelOf = field(default=no_label, repr=False, compare=False)

    def summary(self, num: int = 8) -> str:
        """As lines of text."""
        first, second = map(quoted, self.answers)
        said = [
            f"{first} {p:.3f}, {second} {q:.3f}; it says {quoted(says)}"
            for p, q, says in (self.before, self.after)
        ]
        lines = [
            f"prompt: {self.prompt}",
            f"other:  {self.other}",
            f"before: {said[0]}",
            f"with {len(self.members)} neurons of the other: {said[1]}",
            f"random ones instead: {self.controls.count} of {self.controls.total} sets turn it",
            "first of them:",
        ]
        for one in self.members[:num]:
            name = f"mlp_act.{one.layer}/{one.neuron}"
            label = self.names(f"mlp_act.{one.layer}", one.neuron)
            place = f"{quoted(self.prompt_tokens[one.position])}@{one.position}"
            shown = f"{label} [{name}]" if label else name
            lines.append(f"  {shown} {place}: {one.value:+.2f} becomes {one.other:+.2f}")
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])


def exchange(
    model: Model,
    prompt: Source,
    other: Source,
    *,
    neurons: int = 100,
    rounds: int = ROUNDS,
    controls: int = CONTROLS,
    seed: int = 0,
    names: LabelOf = no_label,
) -> Exchange:
    """The neurons that, exchanged with another prompt's, turn the answer to the other's.

    neurons: how many; rounds: in how many parts they are chosen; controls: random sets beside them.

    Raises:
        InputError: the prompts have the same answer.
    """
    whole(neurons, "neurons", 1)
    whole(rounds, "rounds", 1)
    whole(controls, "controls", 0)
    one, two = model.prompt(prompt), model.prompt(other)
    places = counterparts(one.ids, two.ids)
    swap = Swap(model, one, two, list(places.items()))
    answers = int(swap.own.argmax()), int(swap.others.argmax())
    if answers[0] == answers[1]:
        raise InputError(
            f"both prompts have the answer {model.token_text(answers[0])!r}",
            expected="prompts with different answers",
        )
    chosen, order = swap.choose(answers[1], neurons, rounds)
    logits = swap.run(chosen)
    count = 0
    for number in range(controls):
        count += (
            int(swap.run(swap.alike(chosen, seeded(seed, "exchange", number))).argmax())
            == answers[1]
        )
    layer, position, neuron = (part.tolist() for part in torch.unravel_index(order, chosen.shape))
    members = [
        Member(n, p, i, float(swap.values[n, p, i]), float(swap.theirs[n, p, i]))
        for n, p, i in zip(layer, position, neuron, strict=True)
    ]
    return Exchange(
        model=model.name,
        prompt=one.text,
        other=two.text,
        answers=(model.token_text(answers[0]), model.token_text(answers[1])),
        before=_said(model, swap.own, answers),
        after=_said(model, logits, answers),
        turned=int(logits.argmax()) == answers[1],
        controls=Share(count, controls),
        members=members,
        prompt_tokens=list(one.texts),
        notes=without_counterpart(one.texts, places),
        names=names,
    )


def _said(model: Model, logits: Tensor, answers: tuple[int, int]) -> tuple[float, float, str]:
    p = torch.softmax(logits.double(), -1)
    return float(p[answers[0]]), float(p[answers[1]]), model.token_text(int(logits.argmax()))


class Swap:
    """The values of all neurons on two prompts; runs the first with some of the second's.

    Args:
        places: positions of the first prompt with those of the second that stand for them; what is
            not among them is never exchanged. By default all, of prompts of one length.
    """

    def __init__(
        self,
        model: Model,
        one: Prompt,
        two: Prompt,
        places: Sequence[tuple[int, int]] | None = None,
    ) -> None:
        self.model, self.prompt = model, one
        self.sites = [str(site) for site in model.sites() if site.kind == "mlp_act"]
        if not self.sites:
            raise ModelError(
                f"{model.name} has no MLPs with neurons of their own",
                expected="neurons that can be exchanged",
                next_step="mixtures of experts can be traced, by transcoders also by features",
            )
        self.values, self.own = self._read(one)
        theirs, self.others = self._read(two)
        own, other = zip(*(places or ((n, n) for n in range(len(one)))), strict=True)
        self.theirs = self.values.clone()
        self.theirs[:, list(own)] = theirs[:, list(other)]
        self.open = torch.zeros(self.values.shape, dtype=torch.bool, device=self.values.device)
        self.open[:, list(own)] = True

    def _read(
        self, prompt: Prompt, edits: Mapping[str, Callable[[Tensor], Tensor]] | None = None
    ) -> tuple[Values, Float[Tensor, " vocab"]]:
        run = self.model.run(prompt, read=self.sites, edits=edits, logits="last")
        assert run.logits is not None
        check_finite(self.model, {site: run[site] for site in self.sites})
        values = [run[site][0].float() for site in self.sites]
        return torch.stack(values), run.logits[0, -1].float()

    def _edits(
        self, chosen: Bool[Tensor, "layer pos neuron"]
    ) -> dict[str, Callable[[Tensor], Tensor]]:
        def exchanged(n: int) -> Callable[[Tensor], Tensor]:
            return lambda x: torch.where(chosen[n], self.theirs[n].to(x.dtype), x)

        return {site: exchanged(n) for n, site in enumerate(self.sites)}

    def run(self, chosen: Bool[Tensor, "layer pos neuron"]) -> Float[Tensor, " vocab"]:
        """The logits with these exchanged."""
        return self._read(self.prompt, self._edits(chosen))[1]

    def choose(
        self, answer: int, num: int, rounds: int
    ) -> tuple[Bool[Tensor, "layer pos neuron"], Tensor]:
        """Which are exchanged, and their numbers in the order in which they were chosen."""
        chosen = torch.zeros(self.values.shape, dtype=torch.bool, device=self.values.device)
        order: list[Tensor] = []
        for part in range(rounds):
            count = num * (part + 1) // rounds - num * part // rounds
            values, gradients = self._gradients(chosen, answer)
            gain = ((self.theirs - values) * gradients).masked_fill(chosen | ~self.open, -torch.inf)
            best = gain.flatten().topk(min(count, gain.numel()))
            found = best.indices[best.values > 0]
            chosen.view(-1)[found] = True
            order.append(found)
        return chosen, torch.cat(order)

    def _gradients(
        self, chosen: Bool[Tensor, "layer pos neuron"], answer: int
    ) -> tuple[Values, Values]:
        """Values, and gradients of the answer's log-probability, with these exchanged."""
        kept: dict[str, Tensor] = {}

        def keeping(site: str, edit: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
            def keep(x: Tensor) -> Tensor:
                kept[site] = edit(x)
                return kept[site]

            return keep

        edits: dict[str | Site, Callable[[Tensor], Tensor]] = {
            "embed": lambda x: x.detach().clone().requires_grad_(True)
        }
        edits |= {site: keeping(site, edit) for site, edit in self._edits(chosen).items()}
        run = self.model.run(self.prompt, read=["final"], edits=edits, grad=True)
        with torch.enable_grad():
            goal = self.model.unembed(run["final"][0, -1]).log_softmax(-1)[answer]
        gradients = torch.autograd.grad(goal, [kept[site] for site in self.sites])
        return (
            torch.stack([kept[site].detach()[0].float() for site in self.sites]),
            torch.stack([gradient[0].float() for gradient in gradients]),
        )

    def alike(self, chosen: Bool[Tensor, "layer pos neuron"], seed: int) -> Tensor:
        """As many random ones, whose values change about as much: each the neighbour of one that is
        chosen in the order of the size of the change."""
        size = (self.theirs - self.values).abs().flatten()
        order = size.argsort()
        place = torch.empty_like(order)
        place[order] = torch.arange(len(order), device=order.device)
        generator = random.Random(seed)
        own = torch.nonzero(chosen.flatten())[:, 0]
        taken = set(own.tolist())
        picked: list[int] = []
        for rank in place[own].tolist():
            near = order[max(rank - NEAR, 0) : rank + NEAR + 1].tolist()
            free = [one for one in near if one not in taken]
            if free:
                picked.append(generator.choice(free))
                taken.add(picked[-1])
        found = torch.zeros_like(chosen)
        found.view(-1)[picked] = True
        return found


NEAR = 500  # ranks by the size of the change
