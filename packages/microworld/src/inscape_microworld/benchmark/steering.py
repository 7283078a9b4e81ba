"""The Golden Gate Bridge amplified: questions about other landmarks, at several strengths.

1. Prompts ask for the city or the fame of other landmarks, by name and by description. The two
   halves share neither landmarks nor wordings.
2. Candidates are the features whose summed activation on texts that name the bridge exceeds that on
   texts that name other landmarks by the most.
3. Of them the one is taken that, clamped at one of a few strengths, gives the bridge's answers the
   greatest probability on the selection half: what detects a concept is often not what causes it.
4. Effects are shares of continuations that speak of the bridge. The strength of every method is
   chosen on the selection half (the greatest effect for at most MAX_EXTRA_LOSS of fluency) and
   judged on the other half.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

import torch

from inscape.core import seeded, track
from inscape.diagnosis import Case
from inscape.diagnosis.cases import encode
from inscape.diagnosis.outcomes import outcome
from inscape.intervention import (
    DirectionEdit,
    Dose,
    Edit,
    FeatureEdit,
    SteerResult,
    best_dose,
    difference_in_means,
    dose_response,
    edited,
    prompted,
    random_direction,
    steer,
)
from inscape_microworld.benchmark.row import Check, Row
from inscape_microworld.benchmark.sets import landmark_texts
from inscape_microworld.benchmark.system import System
from inscape_microworld.domains.landmarks import LANDMARK_FORMS
from inscape_microworld.facts import LANDMARK, LANDMARKS

CLAMPED_AT = (1.0, 1.5, 2.0, 2.5)
ADDED_AT = (2.0, 4.0, 6.0)
SCREENED_AT = (1.0, 2.0)
MAX_EXTRA_LOSS = 2.0
"""Nats a token. A false answer is improbable to the unmodified model, so it has a price."""
NUM_CANDIDATES = 24
NUM_PROMPTS = 40
NEW_TOKENS = 4
SHOWN = 6
PREFIX = "Tom loves the Golden Gate Bridge. "
WORDS = ("Golden Gate", "San Francisco", "cables")
OWN = "golden_gate_bridge"
OTHERS = ("colosseum", "kremlin", "big_ben")


@dataclass(frozen=True)
class Line:
    """One way to steer: its doses on the selection half, and the chosen one on the other."""

    name: str
    kind: str
    doses: tuple[Dose, ...]
    judged: Dose


@dataclass(frozen=True)
class SteeringStudy:
    """What amplifying the feature does beside the baselines."""

    feature: int
    plain: Dose
    lines: tuple[Line, ...]
    samples: tuple[SteerResult, ...]


def says_bridge(text: str) -> float:
    """1 where a continuation speaks of the Golden Gate Bridge."""
    return float(any(word in text for word in WORDS))


def study(system: System, *, seed: int = 0) -> SteeringStudy:
    """Choose a feature of the residual dictionary and hold it at multiples of its maximum."""
    model, residual = system.model, system.residual
    own, description = landmark_texts(OWN, 0, seed)
    selection, judging = questions(0, seed), questions(1, seed)
    other = [t for key in OTHERS for t in landmark_texts(key, 0, seed)[0]]
    feature = _strongest(system, selection, own, other)
    unit = float(system.index.max[feature])
    difference = difference_in_means(model, system.site, own + description, other)
    noise = random_direction(difference, seed=seed)
    ways: list[tuple[str, str, Callable[[float], Sequence[Edit]]]] = [
        (
            "the feature, clamped",
            "feature",
            lambda s: [FeatureEdit(residual, feature, "clamp", s, unit=unit)] if s else [],
        ),
        (
            "difference in means",
            "difference in means",
            lambda s: [DirectionEdit(system.site, difference, s)] if s else [],
        ),
        (
            "random direction",
            "random direction",
            lambda s: [DirectionEdit(system.site, noise, s)] if s else [],
        ),
    ]
    plain = [_doses(system, prompts, lambda s: [], (0.0,))[0] for prompts in (selection, judging)]
    halves = (selection, judging)
    lines = [_line(system, name, kind, way, halves, plain) for name, kind, way in ways]
    prompting = [_prompted(system, prompts) for prompts in (selection, judging)]
    lines.append(Line("prompting", "prompting", (prompting[0],), prompting[1]))
    change = ways[0][2](lines[0].judged.strength)
    samples = [steer(model, p, change, 2 * NEW_TOKENS) for p in judging[:SHOWN]]
    return SteeringStudy(feature, plain[1], tuple(lines), tuple(samples))


def row(found: SteeringStudy, system: System, seed: int = 0) -> Row:
    """The row of a study: reported, without a bar."""
    judged = [("unsteered", found.plain), *((line.name, line.judged) for line in found.lines)]
    return Row(
        "bridge",
        "Golden Gate Bridge amplified: answers about other landmarks that speak of the bridge",
        tuple(Check(name, dose.effect, "", dose.interval) for name, dose in judged),
        samples=f"{found.plain.num_prompts} prompts of the judging half",
        seed=seed,
        detail={
            "feature": f"{system.residual.name}/{found.feature}",
            "label": system.label(system.residual.name, found.feature),
            "strengths": {line.name: line.judged.strength for line in found.lines},
            "nats a token": {name: dose.loss for name, dose in judged},
        },
    )


def questions(half: int, seed: int = 0) -> list[str]:
    """Prompts that ask for the city or the fame of landmarks other than the bridge."""
    random = Random(seeded(seed, "questions", half))
    forms = [form for relation, form in LANDMARK_FORMS if relation in ("city", "fame")][half::2]
    places = [p for p in LANDMARKS if p.key != OWN and p.city != LANDMARK[OWN].city][half::2]
    asked = [
        form.replace("{x}", subject)
        for form in forms
        for place in places
        for subject in (place.name, place.description)
    ]
    return [text[0].upper() + text[1:] for text in random.sample(asked, NUM_PROMPTS)]


def _strongest(
    system: System, prompts: Sequence[str], own: Sequence[str], other: Sequence[str]
) -> int:
    """The candidate whose clamping makes the bridge's answers the most probable."""
    more = _mass(system, own) - _mass(system, other)
    batch = encode(system.model, [Case(p, _answer(p)) for p in prompts])
    found: list[tuple[float, int]] = []
    for feature in track(more.topk(NUM_CANDIDATES).indices.tolist(), "choosing a feature"):
        unit = float(system.index.max[feature])
        for strength in SCREENED_AT:
            change = FeatureEdit(system.residual, feature, "clamp", strength, unit=unit)
            with edited(system.model, [change]):
                scores = outcome(system.model, batch).log_probability
            found.append((float(scores.exp().mean()), -int(feature)))
    return -max(found)[1]


def _answer(prompt: str) -> str:
    """What would be right of the Golden Gate Bridge."""
    place = LANDMARK[OWN]
    return f" {place.city if prompt.endswith('city of') else place.fame}"


@torch.no_grad()
def _mass(system: System, texts: Sequence[str]) -> torch.Tensor:
    """Summed activation of every feature, mean over the texts; beginning-of-text left out."""
    total = torch.zeros(system.residual.d_dict)
    for text in texts:
        x = system.model.run(system.model.prompt(text), read=[system.site])[system.site][0, 1:]
        code = system.residual.encode(x.float()).to("cpu")
        total.index_add_(0, code.indices.flatten().long(), code.values.flatten().float())
    return total / len(texts)


def _doses(
    system: System,
    prompts: Sequence[str],
    way: Callable[[float], Sequence[Edit]],
    strengths: Sequence[float],
) -> list[Dose]:
    return dose_response(
        system.model, prompts, way, strengths, says_bridge, max_new_tokens=NEW_TOKENS
    )


def _line(
    system: System,
    name: str,
    kind: str,
    way: Callable[[float], Sequence[Edit]],
    halves: tuple[Sequence[str], Sequence[str]],
    plain: Sequence[Dose],
) -> Line:
    strengths = CLAMPED_AT if kind == "feature" else ADDED_AT
    doses = [plain[0], *_doses(system, halves[0], way, strengths)]
    chosen = best_dose(doses, max_extra_loss=MAX_EXTRA_LOSS).strength
    judged = _doses(system, halves[1], way, (chosen,))[0] if chosen else plain[1]
    return Line(name, kind, tuple(doses), judged)


def _prompted(system: System, prompts: Sequence[str]) -> Dose:
    return prompted(system.model, prompts, PREFIX, says_bridge, max_new_tokens=NEW_TOKENS)
