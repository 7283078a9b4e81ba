"""Which concepts the dictionaries of SmolLM2's atlas have a feature for.

The atlas is that of the variable INSCAPE_ATLAS. Concepts are those of `smollm2.toml`, whose texts
lie in ../shared/data, and those of everyday life. Everything is chosen on one half of the texts and
judged on the other; a union of up to three features counts, as does a single one.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import numpy as np

from benchmarks.measurement import Absent, Measurement, Run
from inscape import Atlas
from inscape.validation import EVERYDAY, ConceptCheck, ConceptChecks
from inscape_microworld.benchmark import Check, Row

FILE = Path(__file__).with_name("smollm2.toml")
SHARED = FILE.parents[2].parent / "shared" / "data"
GROUPS = {"kind": 12, "topic": 11, "emotion": 6, "axbench": 10}
# What is asked for first: the name of a concept of either file, and its bar.
FIRST = {
    "seed: presidents": "≥ 0.98",
    "seed: genes and DNA": "≥ 0.95",
    "seed: deceptive against honest instruction": "≥ 0.95",
    "seed: deceptive instruction in another wording": "",
    "instructed to deceive": "",
    "suffering": "≥ 0.85",
    "seed: sycophancy, feedback": "≥ 0.8",
    "seed: sycophancy, opinions": "≥ 0.8",
    "the Golden Gate Bridge among landmarks": "≥ 0.9",
}
BESIDE = ("dimension", "neuron", "token", "probe")


def opened() -> Atlas:
    """The atlas to measure."""
    path = os.environ.get("INSCAPE_ATLAS")
    if not path or not (Path(path) / "atlas.json").is_file():
        raise Absent("it needs the folder of SmolLM2's atlas in the variable INSCAPE_ATLAS")
    return Atlas.open(path)


@cache
def _checked(file: Path, seed: int) -> ConceptChecks:
    if file == FILE and not SHARED.is_dir():
        raise Absent(f"it needs {SHARED}")
    return opened().check(file, seed=seed, save=False)


def concepts(run: Run) -> Row:
    """The 39 concepts of entities, topics, emotions and AxBench."""
    found = _checked(FILE, run.seed)
    chosen = [check for check in found.checks if check.name.partition(":")[0] in GROUPS]
    ahead = [check.is_ahead("dimension", "neuron") for check in chosen]
    groups = {
        group: [check for check in chosen if check.name.startswith(f"{group}:")] for group in GROUPS
    }
    return Row(
        "atlas-concepts",
        "concepts that a feature or a union of three tells from others",
        (
            Check("AUROC ≥ 0.90, share", _share([c.auroc >= 0.9 for c in chosen]), "≥ 0.6"),
            Check("ahead of the best dimension and the best neuron", _share(ahead), "≥ 0.7"),
            Check("one feature alone ≥ 0.90", _share([_single(c) >= 0.9 for c in chosen]), ""),
        ),
        f"{len(chosen)} concepts, {found.num_texts} texts in all, half of each concept's judged",
        seed=run.seed,
        detail={
            "mean AUROC, beside " + ", ".join(BESIDE): {g: _means(c) for g, c in groups.items()},
            "below 0.90": [f"{c.name} {c.auroc:.2f}" for c in chosen if c.auroc < 0.9],
            "dictionaries": found.dictionaries,
        },
    )


def first(run: Run) -> Row:
    """The concepts that are asked for first."""
    found = {c.name: c for file in (FILE, EVERYDAY) for c in _checked(file, run.seed).checks}
    return Row(
        "atlas-first",
        "presidents, genes, deception, suffering, sycophancy, the Golden Gate Bridge",
        tuple(
            Check(name.removeprefix("seed: "), found[name].auroc, bar, _interval(found[name]))
            for name, bar in FIRST.items()
        ),
        "the half of each concept's texts that nothing was chosen on; both halves of the deceptive "
        "instructions share their two wordings, but for those in another wording (one of each side "
        "chooses, one judges) and 'instructed to deceive' (no wording twice); "
        + ", ".join(str(found[name].num_matching) for name in FIRST)
        + " matching texts",
        seed=run.seed,
        detail={name.removeprefix("seed: "): _beside(found[name]) for name in FIRST},
    )


def everyday(run: Run) -> Row:
    """Concepts of everyday life in invented lines."""
    found = _checked(EVERYDAY, run.seed)
    share = _share([check.is_found for check in found.checks])
    return Row(
        "atlas-everyday",
        "concepts of everyday life found, as `inscape check` counts them",
        (Check("share", share, ""),),
        f"{len(found.checks)} concepts, {found.num_texts} invented lines",
        seed=run.seed,
        detail={check.name: _beside(check) for check in found.checks},
    )


def _share(held: list[bool]) -> float:
    return sum(held) / len(held)


def _single(check: ConceptCheck) -> float:
    return 0.5 if check.feature is None else check.feature.auroc


def _interval(check: ConceptCheck) -> tuple[float, float] | None:
    return None if check.union is None else check.union.interval


def _means(checks: list[ConceptCheck]) -> str:
    beside = (np.mean([check.beside[kind].auroc for check in checks]) for kind in BESIDE)
    own = np.mean([check.auroc for check in checks])
    return f"{own:.3f}, " + ", ".join(f"{value:.3f}" for value in beside)


def _beside(check: ConceptCheck) -> str:
    beside = ", ".join(f"{kind} {check.beside[kind].auroc:.2f}" for kind in BESIDE)
    parts = "none" if check.union is None else " or ".join(check.union.parts)
    return f"{check.auroc:.2f} by {parts}; {beside}"


FIGURES = {
    "atlas-concepts": Measurement(concepts),
    "atlas-first": Measurement(first),
    "atlas-everyday": Measurement(everyday),
}
