"""The steering lab: what a model says under an edit, compared with what it says without.

`steer` shows one prompt; `dose_response` measures an effect over a prompt set at several
strengths, always with its cost in fluency: the loss that the unmodified model gives to the steered
text. Baselines for any claim about a feature: a prompt that asks for the behaviour (`prompted`),
the difference of two means, and a random direction of equal norm.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from inscape.core import InputError, all_of, bootstrap_mean, short, track
from inscape.intervention.edits import Edit, edits
from inscape.intervention.repair import Repair
from inscape.model import Inputs, Model, Source
from inscape.storage import Result

Effect = Callable[[str], float]
Changes = Sequence[Edit] | Callable[[float], Sequence[Edit]]


@dataclass(frozen=True)
class SteerResult(Result):
    """Continuations of one prompt (without it), and the unmodified model's loss on each.

    Losses are nats per token over the continuation; None where it is empty. changes: the edits in
    words, such as "clamp resid_post.14/692 to 30". repair: the same edits, to be applied again
    (only from an atlas).
    """

    SCHEMA: ClassVar[str] = "inscape.steering"
    MADE_BY: ClassVar[str] = "steer"

    prompt: str
    plain: str
    steered: str
    plain_tokens: list[int]
    steered_tokens: list[int]
    plain_loss: float | None
    steered_loss: float | None
    changes: tuple[str, ...] = ()
    repair: Repair | None = None

    def __repr__(self) -> str:
        return (
            f"SteerResult({short(self.prompt)}, plain={short(self.plain)}, "
            f"steered={short(self.steered)}, {len(self.changes)} changes)"
        )

    @property
    def changed(self) -> bool:
        """Whether the edit changed a token."""
        return self.plain_tokens != self.steered_tokens

    def summary(self) -> str:
        """Both texts, each with the loss that the unmodified model gives to it."""
        lines = list(self.changes)
        for name, text, loss in (
            ("plain", self.plain, self.plain_loss),
            ("steered", self.steered, self.steered_loss),
        ):
            rated = "" if loss is None else f" (loss {loss:.2f} nats per token)"
            lines.append(
                f"{name}{rated}:\n  {(self.prompt + text).replace(chr(10), chr(10) + '  ')}"
            )
        return "\n".join(lines)


@dataclass(frozen=True)
class Dose:
    """One strength over a prompt set.

    effect: mean of the effect measure, with its 95 % bootstrap interval over prompts.
    loss: mean nats per token of the unmodified model on the continuations.
    """

    strength: float
    effect: float
    interval: tuple[float, float]
    loss: float
    num_prompts: int


def steer(
    model: Model,
    prompt: Source,
    changes: Sequence[Edit],
    max_new_tokens: int = 40,
    *,
    temperature: float = 0.0,
    seed: int = 0,
) -> SteerResult:
    """Continues a prompt plain and under the changes, greedily or sampled with one seed.

    Raises InputError when the prompt leaves no room for `max_new_tokens`.
    """
    given, changes = model.prompt(prompt), all_of(Edit, changes, "an edit")
    start = len(given)
    options: dict[str, Any] = {"temperature": temperature, "seed": seed}
    steered = model.generate(given, max_new_tokens, edits=edits(model, changes), **options)[0]
    plain = model.generate(given, max_new_tokens, **options)[0]
    return SteerResult(
        prompt=given.text,
        plain=model.continuation(plain, start),
        steered=model.continuation(steered, start),
        plain_tokens=plain[start:].tolist(),
        steered_tokens=steered[start:].tolist(),
        plain_loss=text_loss(model, plain, start, given.pixels),
        steered_loss=text_loss(model, steered, start, given.pixels),
        changes=tuple(map(str, changes)),
    )


@torch.no_grad()
def text_loss(
    model: Model, tokens: Int[Tensor, " pos"], start: int, pixels: Tensor | None = None
) -> float | None:
    """Mean loss (nats) of the unmodified model on tokens from `start` on; None without any.

    pixels: those of the pictures that the tokens hold (see `Prompt`).
    """
    first = max(start, 1)
    if tokens.shape[0] <= first:
        return None
    logits = model.run(Inputs(tokens[None], pixels), logits="all").logits
    assert logits is not None
    loss = torch.nn.functional.cross_entropy(logits[0, first - 1 : -1], tokens[first:])
    return float(loss)


def dose_response(
    model: Model,
    prompts: Sequence[str],
    changes: Changes,
    strengths: Sequence[float],
    effect: Effect,
    *,
    max_new_tokens: int = 20,
    temperature: float = 0.0,
    samples: int = 1,
    seed: int = 0,
) -> list[Dose]:
    """Effect and fluency at each strength; strength 0 is not special, include it if needed.

    Every prompt is continued `samples` times (more than once asks for a temperature); the interval
    is over prompts, of which each counts with its mean.

    changes: edits whose value is set to each strength (for an edit with a unit: in units of the
        feature's observed maximum), or a function from the strength to edits.
    effect: a figure from the continuation's text.
    """
    if not prompts:
        raise InputError("no prompts were given", expected="at least one")
    doses = []
    for strength in track(strengths, "steering", unit="strengths"):
        if callable(changes):
            chosen = changes(strength)
        else:
            chosen = [replace(change, value=strength) for change in changes]  # type: ignore[type-var]
        effects: list[float] = []
        losses: list[float | None] = []
        for i, text in enumerate(prompts):
            prompt = model.prompt(text)
            made = model.generate(
                prompt.repeated(samples),
                max_new_tokens,
                edits=edits(model, chosen),
                temperature=temperature,
                seed=seed + i,
            )
            said = [effect(model.continuation(row, len(prompt))) for row in made]
            effects.append(float(np.mean(said)))
            losses += [text_loss(model, row, len(prompt)) for row in made]
        written = [loss for loss in losses if loss is not None]
        doses.append(
            Dose(
                strength=float(strength),
                effect=float(np.mean(effects)),
                interval=bootstrap_mean(effects, seed),
                loss=float(np.mean(written)) if written else float("nan"),
                num_prompts=len(prompts),
            )
        )
    return doses


def prompted(
    model: Model, prompts: Sequence[str], prefix: str, effect: Effect, **options: Any
) -> Dose:
    """The plainest baseline: the behaviour asked for by a text before each prompt; options as in
    `dose_response`.

    The loss is that of the continuation after prefix and prompt.
    """
    return dose_response(model, [prefix + p for p in prompts], [], [1.0], effect, **options)[0]


def best_dose(doses: Sequence[Dose], *, max_extra_loss: float) -> Dose:
    """The dose of greatest effect whose loss is at most `max_extra_loss` nats above strength 0.

    Choose it on one set of prompts and judge it on another. Raises InputError when strength 0
    was not measured.
    """
    plain = [d for d in doses if d.strength == 0]
    if not plain:
        raise InputError("strength 0 was not measured", expected="0 among the strengths")
    fluent = [d for d in doses if d.loss <= plain[0].loss + max_extra_loss]
    return max(fluent, key=lambda d: (d.effect, -abs(d.strength)))


@torch.no_grad()
def difference_in_means(
    model: Model,
    site: str,
    positive: Sequence[str],
    negative: Sequence[str],
    *,
    pool: Literal["all", "last"] = "all",
) -> Float[Tensor, " d_model"]:
    """Mean activation on the positive texts less that on the negative ones.

    pool: over all tokens that count, or each text's last token only.
    """

    def mean(texts: Sequence[str]) -> Tensor:
        if not texts:
            raise InputError("no texts were given", expected="at least one text on each side")
        total, count = torch.zeros(model.width(site), dtype=torch.float64), 0
        for text in texts:
            prompt = model.prompt(text)
            x = model.run(prompt, read=[site])[site][0].float().cpu().double()
            x = x[-1:] if pool == "last" else x[prompt.counted.cpu()]
            total, count = total + x.sum(0), count + len(x)
        return (total / max(count, 1)).float().to(model.device)

    return mean(positive) - mean(negative)


def random_direction(
    like: Float[Tensor, " d_model"], *, seed: int = 0
) -> Float[Tensor, " d_model"]:
    """A random direction with the norm of `like`: the control for any direction."""
    generator = torch.Generator().manual_seed(seed)
    draw: Tensor = torch.randn(like.shape, generator=generator).to(like)
    return draw.mul(like.norm() / draw.norm())
