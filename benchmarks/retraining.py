"""The bundled model trained again from nothing: how long, and are its skills the same?

The folder is kept beside the demos and reused; a stopped training goes on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.measurement import Measurement, Run
from inscape.storage import read_json
from inscape_microworld import card
from inscape_microworld.benchmark import Check, Row
from inscape_microworld.train import RECIPES, train


def retraining(run: Run) -> Row:
    """Train microworld-s as its card says, and hold the skills against the bundled card's."""
    folder = run.folder.parent / "retrained"
    if not (folder / "card.json").is_file() or _tokens(read_json(folder / "card.json")) > 0:
        train(RECIPES["s"], folder)
    return compare(card(), read_json(folder / "card.json"))


def _tokens(made: Mapping[str, Any]) -> int:
    """Tokens that a training still has to see."""
    return int(made["recipe"]["tokens"]) - int(made["tokens_seen"])


def compare(bundled: Mapping[str, Any], again: Mapping[str, Any]) -> Row:
    """The row of two cards."""
    differences = {
        name: abs(share["share"] - again["skills"][name]["share"])
        for name, share in bundled["skills"].items()
    }
    worst = max(differences, key=lambda name: differences[name])
    within = sum(d <= 0.01 for d in differences.values()) / len(differences)
    return Row(
        "retraining",
        "microworld-s trained again from nothing",
        (
            Check("hours", again["training_minutes"] / 60, "≤ 2"),
            Check("largest difference of a skill", differences[worst], "≤ 0.01"),
            Check("share of skills within one point", within, ""),
        ),
        samples=f"{len(differences)} skills; {again['hardware']}",
        detail={"worst skill": worst},
    )


FIGURES: Mapping[str, Measurement] = {"retraining": Measurement(retraining, seeded=False)}
