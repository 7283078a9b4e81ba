"""A sweep: many dictionaries on one pass over the activations, and their Pareto front.

1. Variants, widths, sparsities and seeds make a grid; all of its dictionaries see the same batches
   in the same order, so that each batch is read once.
2. Each finished dictionary is evaluated on held-out text; its metrics are saved at once, so that a
   sweep that was stopped or extended evaluates no dictionary twice.
3. A setting (variant, width, sparsity) is scored by the mean over its seeds, so that one lucky seed
   does not decide. It is on the Pareto front if no other setting has as few active features,
   recovers as much of the loss, and is better in one of the two.
4. `front.json` appears once all are evaluated.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

import inscape
from inscape.core import Config, DataError, InputError, instance_of, track
from inscape.dictionary import Dictionary
from inscape.storage import (
    check_version,
    is_lock,
    lock,
    plain,
    read_json,
    refuse_filled,
    write_json,
)
from inscape.training.config import TrainConfig
from inscape.training.loop import Job, train_many
from inscape.training.stream import ActivationSource, check_source

FRONT = "front.json"
MEASURED = "measured.json"
VERSION = 1

_SCORES = ("l0", "fvu", "loss_recovered")
Measure = Callable[[Dictionary], Mapping[str, float]]


class SweepConfig(Config):
    """The grid of a sweep, and what its trainings share.

    Attributes:
        variants, d_dict, k, seeds: one dictionary for each combination; k is the target number of
            active features per token. options: variant-specific settings, by variant.
        tokens, batch_size, lr, skip, whiten: of every training (see `TrainConfig`). data_seed: of
            the data order, which all of them share.

    Raises:
        InputError: a list is empty or names a value twice, options are for a variant that is not
            swept, or a training refuses its settings.
    """

    variants: tuple[str, ...] = ("topk",)
    d_dict: tuple[int, ...]
    k: tuple[int, ...]
    seeds: tuple[int, ...] = (0,)
    options: dict[str, dict[str, Any]] = Field(default_factory=dict)
    tokens: int
    batch_size: int = 1024
    lr: float | None = None
    skip: bool = False
    whiten: bool = False
    data_seed: int = 0

    @model_validator(mode="after")
    def _check(self) -> SweepConfig:
        for name in ("variants", "d_dict", "k", "seeds"):
            values = getattr(self, name)
            if len(set(values)) < max(len(values), 1):
                named = " ".join(map(str, values)) or "nothing"
                raise InputError(f"a sweep over {name} {named}", expected="different values")
        for variant in self.options.keys() - set(self.variants):
            raise InputError(
                f"a setting of {variant}, which is not swept",
                expected=f"one of {', '.join(self.variants)}",
            )
        self.trainings()
        return self

    def trainings(self) -> dict[str, TrainConfig]:
        """The training config of each dictionary, by name."""
        return {
            f"{variant}-{d_dict}-k{k}-s{seed}": TrainConfig(
                d_dict=d_dict,
                k=k,
                variant=variant,
                options=self.options.get(variant, {}),
                tokens=self.tokens,
                batch_size=self.batch_size,
                lr=self.lr,
                skip=self.skip,
                whiten=self.whiten,
                seed=seed,
                data_seed=self.data_seed,
            )
            for variant, d_dict, k, seed in product(self.variants, self.d_dict, self.k, self.seeds)
        }


@dataclass(frozen=True)
class Trained:
    """One dictionary of a sweep; figures: held-out metrics by name."""

    name: str
    seed: int
    figures: Mapping[str, float]


@dataclass(frozen=True)
class Setting:
    """One combination of variant, width and sparsity.

    l0, fvu, loss_recovered: means over the seeds. optimal: whether it is on the Pareto front.
    """

    variant: str
    d_dict: int
    k: int
    l0: float
    fvu: float
    loss_recovered: float
    dictionaries: tuple[Trained, ...]
    optimal: bool = False


@dataclass(frozen=True)
class Front:
    """A finished sweep: what it was made from, and its settings in the order of the grid."""

    made_from: Mapping[str, Any]
    settings: tuple[Setting, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values; keys are the fields' names."""
        head = {"kind": "front", "version": VERSION, "inscape": inscape.__version__}
        found: dict[str, Any] = plain({**head, **asdict(self)})
        return found

    @classmethod
    def read(cls, path: Path) -> Front:
        """What `sweep` wrote.

        Raises:
            StorageError: it is not there, no front, or of a newer version.
        """
        found = check_version(read_json(path), "front", VERSION, path)
        settings = []
        for setting in found["settings"]:
            trained = tuple(Trained(**one) for one in setting.pop("dictionaries"))
            settings.append(Setting(**setting, dictionaries=trained))
        return cls(found["made_from"], tuple(settings))


def sweep(
    store: ActivationSource,
    site_in: str,
    site_out: str,
    out: Path,
    config: SweepConfig,
    measure: Measure,
    *,
    held_out: Mapping[str, Any],
) -> Front:
    """Train and evaluate a grid of dictionaries in `out`; a finished sweep is loaded and returned.

    Each dictionary is a subfolder of `out`. An extended grid trains and evaluates only what is
    new.

    Args:
        store, site_in, site_out: as `train`. config: the grid.
        measure: at least l0, fvu and loss_recovered of a dictionary, on held-out text.
        held_out: what identifies that text.

    Raises:
        InputError: an existing dictionary was trained with other settings.
        SiteError: there are no activations at a site.
        DataError: a metric is not finite.
        Stopped, DataError, StorageError: as `train`; the same call resumes.
    """
    check_source(store)
    instance_of((str, Path), out, "a sweep's folder", "a path")
    instance_of(SweepConfig, config, "the settings of a sweep:", "a SweepConfig")
    out = Path(out)
    asked = {
        "activations": dict(store.identity),
        "sites": [site_in, site_out],
        "settings": config.model_dump(),
        "held_out": dict(held_out),
    }
    asked = json.loads(json.dumps(plain(asked)))  # as it is once it has been written
    trainings = config.trainings()
    for site in (site_in, site_out):
        store.width(site)  # unknown sites are refused before a folder is made
    refuse_filled(out, _is_sweep)
    with lock(out):
        if (former := _finished(out, trainings)) is not None and former.made_from == asked:
            return former
        jobs = [Job(site_in, site_out, out / name, one, name) for name, one in trainings.items()]
        made = train_many(store, jobs)
        figures = _measured(out / MEASURED, made, measure, asked["held_out"])
        front = Front(asked, front_of(_settings(trainings, figures)))
        write_json(out / FRONT, front.to_json())
    return front


def _is_sweep(out: Path) -> bool:
    """Whether a folder is that of a sweep, finished or not."""
    return (out / MEASURED).is_file() or all(
        is_lock(path) or path.suffix == ".partial" or (path / "dictionary.json").is_file()
        for path in out.iterdir()
    )


def _finished(out: Path, names: Mapping[str, Any]) -> Front | None:
    """The saved front, if all of its dictionaries exist."""
    there = all((out / name / "dictionary.json").is_file() for name in names)
    return Front.read(out / FRONT) if there and (out / FRONT).is_file() else None


def _measured(
    path: Path, made: Sequence[Dictionary], measure: Measure, held_out: Any
) -> dict[str, dict[str, float]]:
    """The metrics of each dictionary by name, each saved as soon as it is measured."""
    noted = read_json(path) if path.is_file() else {}
    found = {}
    for dictionary in track(made, "measure", unit="dictionaries"):
        of = {"held_out": held_out, "made_from": plain(dictionary.made_from)}
        entry = noted.get(dictionary.name, {})
        if {key: entry.get(key) for key in of} != json.loads(json.dumps(of)):
            figures = {key: float(value) for key, value in measure(dictionary).items()}
            for key, value in figures.items():
                if not math.isfinite(value):
                    raise DataError(
                        f"{key} of {dictionary.name} is {value} on the held-out text",
                        expected="a finite number",
                        next_step="take a longer text, on which the site matters for the loss",
                    )
            noted[dictionary.name] = entry = {**of, "figures": figures}
            write_json(path, noted)
        found[dictionary.name] = entry["figures"]
    return found


def _settings(
    trainings: Mapping[str, TrainConfig], figures: Mapping[str, Mapping[str, float]]
) -> list[Setting]:
    """The dictionaries grouped by setting."""
    groups: dict[tuple[str, int, int], list[Trained]] = defaultdict(list)
    for name, one in trainings.items():
        trained = Trained(name, one.seed, figures[name])
        groups[one.variant, one.d_dict, one.k].append(trained)
    found = []
    for setting, group in groups.items():
        means = (sum(one.figures[key] for one in group) / len(group) for key in _SCORES)
        l0, fvu, loss_recovered = means
        found.append(Setting(*setting, l0, fvu, loss_recovered, tuple(group)))
    return found


def front_of(settings: Sequence[Setting]) -> tuple[Setting, ...]:
    """The same settings, with those on the Pareto front marked."""
    return tuple(replace(s, optimal=not any(_beats(o, s) for o in settings)) for s in settings)


def _beats(one: Setting, other: Setting) -> bool:
    no_worse = one.l0 <= other.l0 and one.loss_recovered >= other.loss_recovered
    return no_worse and (one.l0, one.loss_recovered) != (other.l0, other.loss_recovered)
