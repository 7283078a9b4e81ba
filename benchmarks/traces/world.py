"""Rows on the small world of known truth: places of sums, and prompts for the other rows."""

from __future__ import annotations

import random
from functools import cache

import torch
from torch import Tensor

from benchmarks.measurement import Measurement, Run
from inscape.attribution.bases import find_bases
from inscape.attribution.effects import Removal, Removals, predicted
from inscape.attribution.ranking import Linear
from inscape.attribution.sources import Reading, read
from inscape.circuits import Example, draw
from inscape.core import Share, seeded
from inscape.model import Model
from inscape_microworld import open_model
from inscape_microworld.benchmark import Check, Row
from inscape_microworld.domains import givers
from inscape_microworld.facts import NAMES

NUM_SUMS, NUM_NODES, CONTROLS = 200, 20, 5
PLACES = ("tens", "ones")


@cache
def microworld() -> Model:
    """The model of the package."""
    return open_model()


def indirect_objects(num: int, seed: int) -> list[Example]:
    """Who receives, in the wordings of the world: the one that gives is named twice."""
    templates = [
        template.split("{o}")[0]
        .replace("{a}", "[A]")
        .replace("{b}", "[B]")
        .replace("{s}", "[B]")
        .replace("{place}", "[PLACE]")
        .replace("{gift}", "[GIFT]")
        for template in givers.TEMPLATES
    ]
    content = {
        "words": {"names": list(NAMES), "places": list(givers.PLACES), "gifts": list(givers.GIFTS)},
        "slots": {"A": "names", "B": "names", "PLACE": "places", "GIFT": "gifts"},
        "templates": templates,
        "answer": " [A]",
        "wrong": " [B]",
        "other": {"B 2": "A"},
        "roles": {"A": "receiver", "B": "giver", "B 2": "giver again"},
    }
    return draw(content, num, seed)


def sums(run: Run) -> Row:
    """The neurons that do most to one digit of a sum, and little to the other, are removed: does
    that digit change and the other stay? The other is asked with the sum's own first digit."""
    model, generator = microworld(), random.Random(seeded(run.seed, "sums"))
    alone: dict[str, int] = dict.fromkeys(PLACES, 0)
    by_random: dict[str, int] = dict.fromkeys(PLACES, 0)
    asked = right = 0
    while right < NUM_SUMS:
        a, b = generator.randint(11, 88), generator.randint(11, 88)
        if not 20 <= a + b <= 99:
            continue
        asked += 1
        found = _read(model, a, b)
        if found is None:
            continue
        right += 1
        reading, goals, digits = found
        effects = [torch.stack([e.flatten() for e in predicted(reading, [g])]) for g in goals]
        for n, place in enumerate(PLACES):
            worth = (effects[n] - 2 * effects[1 - n].abs()).flatten()
            best = worth.topk(NUM_NODES).indices
            alone[place] += _changes_alone(reading, goals, digits, best, n)
            for _ in range(CONTROLS):
                by_random[place] += _changes_alone(
                    reading, goals, digits, _alike(reading, best, generator), n
                )
    shares = {place: Share(alone[place], right) for place in PLACES}
    random_ones = {place: Share(by_random[place], right * CONTROLS) for place in PLACES}
    return Row(
        "trace-sums",
        f"microworld: the {NUM_NODES} neurons of one digit place removed, that place changes alone",
        tuple(
            Check(place, share.value, "≥ 0.8", share.interval) for place, share in shares.items()
        ),
        f"{right} sums answered rightly of {asked}, {CONTROLS} random sets each",
        seed=run.seed,
        detail={
            f"random neurons of the same layers and positions, {place}": share.value
            for place, share in random_ones.items()
        },
    )


def _read(model: Model, a: int, b: int) -> tuple[Reading, list[Linear], list[int]] | None:
    """A sum with its first digit, the two digits as targets; None where it is not answered."""
    given = model.prompt(f"{a} + {b} =")
    ids = list(model.answer(given, f" {a + b}").ids)
    if len(ids) != len(PLACES):
        return None
    reading = read(model, find_bases(model, [])[0], model.extended(given, ids[:1]))
    head, goals = model.unembedding().float(), []
    for n, token in enumerate(ids):
        logits = model.unembed(reading.final[len(given) - 1 + n])
        if int(logits.argmax()) != token:
            return None
        logits[token] = -torch.inf
        rival = int(logits.argmax())
        goals.append(Linear(len(given) - 1 + n, head[token] - head[rival], 1.0))
    return reading, goals, ids


def _changes_alone(
    reading: Reading, goals: list[Linear], digits: list[int], chosen: Tensor, place: int
) -> bool:
    """Whether the digit of a place changes without these neurons, and the other does not."""
    num_pos, width = reading.inputs["mlp_act.0"].shape
    gone = [
        Removal(n // (num_pos * width), n % width, n % (num_pos * width) // width, 0.0)
        for n in chosen.tolist()
    ]
    final = Removals(reading, goals).finals([gone])[0]
    said = [int(reading.model.unembed(final[one.position]).argmax()) for one in goals]
    return said[place] != digits[place] and said[1 - place] == digits[1 - place]


def _alike(reading: Reading, chosen: Tensor, generator: random.Random) -> Tensor:
    """Random neurons of the same layers and positions."""
    width = reading.inputs["mlp_act.0"].shape[1]
    return torch.tensor([n - n % width + generator.randrange(width) for n in chosen.tolist()])


FIGURES = {"trace-sums": Measurement(sums)}
