"""The Golden Gate Bridge amplified: over a prompt set, at several strengths, beside baselines.

The strength of every method is chosen on one half of the prompts (the greatest effect for at most
one nat of fluency) and judged on the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from inscape.benchmark.sets import landmark_texts
from inscape.benchmark.system import System
from inscape.intervention import (
    DirectionEdit,
    Dose,
    Edit,
    FeatureEdit,
    SteerResult,
    best_dose,
    difference_in_means,
    dose_response,
    prompted,
    random_direction,
    steer,
)

PROMPTS = (
    "Last summer Tom visited", "Anna took a picture of", "Peter walked to", "Julia dreams of",
    "Mark wrote a poem about", "The train to the coast left", "Laura told Paul a story about",
    "Visitors to", "Clara and Hugo met at", "To see", "The guide said that", "Nina painted",
    "You can find", "The road to", "Simon went to the city to", "A painter at",
)  # fmt: skip
STRENGTHS = (0.0, 0.5, 1.0, 2.0, 4.0)
MAX_EXTRA_LOSS = 1.0
NEW_TOKENS = 14
PREFIX = "Tom loves the Golden Gate Bridge. "
WORDS = ("Golden Gate", "San Francisco", "foggy bay", "long red bridge")


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


def study(system: System, feature: int, *, seed: int = 0) -> SteeringStudy:
    """Amplify `feature` of the residual dictionary (its unit: its largest activation)."""
    model, residual = system.model, system.residual
    unit = float(system.index.max[feature])
    own, description = landmark_texts("golden_gate_bridge", 0, seed)
    other = [
        t for key in ("colosseum", "kremlin", "big_ben") for t in landmark_texts(key, 0, seed)[0]
    ]
    difference = difference_in_means(model, system.site, own + description, other)
    noise = random_direction(difference, seed=seed)
    ways: list[tuple[str, str, Callable[[float], Sequence[Edit]]]] = [
        ("the feature, clamped", "feature",
         lambda s: [FeatureEdit(residual, feature, "clamp", s, unit=unit)] if s else []),
        ("difference in means", "difference in means",
         lambda s: [DirectionEdit(system.site, difference, s)]),
        ("random direction", "random direction",
         lambda s: [DirectionEdit(system.site, noise, s)]),
    ]  # fmt: skip
    lines = [_line(system, name, kind, way, seed) for name, kind, way in ways]
    asked = _prompted(system, PROMPTS[1::2], seed)
    lines.append(Line("prompting", "prompting", (_prompted(system, PROMPTS[::2], seed),), asked))
    plain = dose_response(
        model,
        PROMPTS[1::2],
        lambda s: [],
        (0.0,),
        says_bridge,
        max_new_tokens=NEW_TOKENS,
        seed=seed,
    )[0]
    best = lines[0].judged.strength
    samples = [steer(model, p, ways[0][2](best), NEW_TOKENS) for p in PROMPTS[1:8:2]]
    return SteeringStudy(feature, plain, tuple(lines), tuple(samples))


def _line(
    system: System, name: str, kind: str, way: Callable[[float], Sequence[Edit]], seed: int
) -> Line:
    def measure(prompts: Sequence[str], strengths: Sequence[float]) -> list[Dose]:
        return dose_response(
            system.model, prompts, way, strengths, says_bridge,
            max_new_tokens=NEW_TOKENS, seed=seed,
        )  # fmt: skip

    doses = measure(PROMPTS[::2], STRENGTHS)
    chosen = best_dose(doses, max_extra_loss=MAX_EXTRA_LOSS)
    return Line(name, kind, tuple(doses), measure(PROMPTS[1::2], (chosen.strength,))[0])


def _prompted(system: System, prompts: Sequence[str], seed: int) -> Dose:
    return prompted(
        system.model, prompts, PREFIX, says_bridge, max_new_tokens=NEW_TOKENS, seed=seed
    )
