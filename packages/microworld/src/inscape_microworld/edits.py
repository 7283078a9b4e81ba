"""Makes the edited models' patches: `python -m inscape_microworld.edits --out FOLDER`.

1. The layer that writes the country is the one whose MLP output, averaged over the dishes, costs
   the most right answers.
2. Three patches change a down projection on the edited dishes (editing.py):
   absent: the country's class mean becomes that of the other countries, in the writing layer;
   outvoted: the rival's class mean is added, in the writing layer;
   inhibited: the negative of the country's class mean is added, in a later layer.
3. The fourth, not attended to, changes keys (edits_attention.py).
4. The strength is the smallest at which the fault shows and all else is as before.
5. An intervention on the patched model tests the mechanism (editing_checks.py); its figures go into
   the patch's metadata.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from inscape.core import keep_freed_memory
from inscape.model import Edit, Model
from inscape.storage import refuse_filled
from inscape_microworld import edits_attention
from inscape_microworld.bundle import open_model
from inscape_microworld.editing import (
    World,
    agreement,
    along,
    class_shift,
    first_answers,
    make_world,
    ridge_factors,
    share,
)
from inscape_microworld.editing_checks import figures, mechanism_figures
from inscape_microworld.faults import unread
from inscape_microworld.faults.edited import PLANS
from inscape_microworld.module import run_module
from inscape_microworld.patches import Patch, apply_patch, patch_path, write_patch

DOWN = "model.layers.{}.mlp.down_proj.weight"
STRENGTHS = (1.0, 1.1, 1.2, 1.35, 1.5, 1.75, 2.0, 2.5, 3.0)
WEIGHTS = (0.1, 0.3, 1.0)
"""What all else weighs against the edited dishes; the first that holds the bars is taken."""
SHOWN, SPARED = 0.97, 0.99
"""The share of edited dishes' prompts that have to be wrong, and of others that stay right."""


@dataclass(frozen=True)
class Made:
    """A patched model, on what share of prompts the fault shows, and whether it holds the bars."""

    patch: Patch
    model: Model
    shown: float
    good: bool


def strengthened(world: World, patch: Patch) -> Made:
    """The patch at the smallest strength at which it shows, else the largest that spares others."""
    best = None
    for strength in STRENGTHS:
        factors = {n: (strength * left, right) for n, (left, right) in patch.factors.items()}
        scaled = replace(patch, factors=factors, made=f"{patch.made} Strength {strength}.")
        model = apply_patch(world.model, scaled)
        answers = first_answers(model, world)
        spared = min(
            share(answers, world.answers, world.kept),
            share(answers, world.answers, ~world.right),
            agreement(model, world),
        )
        if best is not None and spared < SPARED:
            break
        if world.plan.rival:
            shown = share(answers, world.rival_answers, world.edited)
        else:
            shown = 1 - share(answers, world.answers, world.edited)
        best = Made(scaled, model, shown, shown >= SHOWN and spared >= SPARED)
        if shown >= SHOWN:
            break
    assert best is not None
    return best


def first_good(tried: Iterator[Made]) -> Made:
    """The first that holds the bars, else the one that shows on most prompts."""
    every: list[Made] = []
    for made in tried:
        if made.good:
            return made
        every.append(made)
    return max(every, key=lambda made: made.shown)


# Edits of a down projection


def writing_layers(world: World) -> list[int]:
    """Layers by how many right answers averaging their MLP output costs, most first."""
    everyone, cost = torch.ones_like(world.edited), {}
    for layer in range(world.model.num_layers):

        def averaged(index: int, site: str = f"mlp_out.{layer}") -> Mapping[str, Edit]:
            batch = world.batches[index]
            return {site: batch.change(lambda x: x.mean(0, keepdim=True).expand_as(x))}

        answers = first_answers(world.model, world, averaged)
        cost[layer] = 1 - share(answers, world.answers, everyone)
    return sorted(cost, key=lambda layer: -cost[layer])


def _mlp_made(
    world: World, name: str, made: str, layer: int, wanted: Sequence[Tensor]
) -> Iterator[Made]:
    down = world.model.structure.blocks[layer].mlp.get_submodule("down_proj")
    for weight in WEIGHTS:
        factors = {DOWN.format(layer): ridge_factors(world, down, wanted, weight)}
        said = f"{made} Layer {layer}, weight of others {weight}."
        yield strengthened(world, Patch(name, world.model.hash, factors, said))


def absent(world: World) -> Made:
    """The country's class mean becomes that of the other countries."""
    made = "The down projection replaces the country's class mean by that of the other countries."

    def tried() -> Iterator[Made]:
        for layer in writing_layers(world):
            wanted = class_shift(world, f"resid_post.{layer}", ~world.right, world.right)
            yield from _mlp_made(world, "edit_absent", made, layer, wanted)

    return first_good(tried())


def outvoted(world: World) -> Made:
    """The rival's class mean is added, without what of it lies along the right country's."""
    made = "The down projection adds the rival country's class mean."
    rest = ~world.right & ~world.rival

    def tried() -> Iterator[Made]:
        for layer in writing_layers(world):
            site = f"resid_post.{layer}"
            towards, own = (class_shift(world, site, to, rest) for to in (world.rival, world.right))
            wanted = [t - along(t, o)[:, None] * o for t, o in zip(towards, own, strict=True)]
            yield from _mlp_made(world, "edit_outvoted", made, layer, wanted)

    return first_good(tried())


def inhibited(world: World) -> Made:
    """The negative of the country's class mean is added in a layer after the one that writes it."""
    made = "The down projection of a later layer than the writing one subtracts the class mean."
    first = writing_layers(world)[0]

    def tried() -> Iterator[Made]:
        for layer in range(first + 1, world.model.num_layers):
            wanted = class_shift(world, f"resid_post.{layer}", ~world.right, world.right)
            yield from _mlp_made(world, "edit_inhibited", made, layer, wanted)

    return first_good(tried())


# The command

MAKERS: Mapping[str, Callable[[World], Made]] = {
    "edit_absent": absent,
    "edit_outvoted": outvoted,
    "edit_inhibited": inhibited,
}


def make_patches(model: Model, out: Path) -> dict[str, Patch]:
    """Make, test and write every patch for `model`; the patches by name, with their figures."""
    makers = {name: partial(_on_dishes, model, name) for name in MAKERS}
    ours = {patch_path(out, name) for name in (*MAKERS, unread.NAME)}
    refuse_filled(out, lambda folder: set(folder.iterdir()) <= ours)
    out.mkdir(parents=True, exist_ok=True)
    patches = {}
    for name, maker in {**makers, unread.NAME: partial(_on_names, model)}.items():
        began = time.monotonic()
        patches[name] = maker()
        write_patch(patch_path(out, name), patches[name])
        _print(patches[name], time.monotonic() - began)
    return patches


def _on_dishes(model: Model, name: str) -> Patch:
    world = make_world(model, PLANS[name])
    made = MAKERS[name](world)
    measured = {
        **figures(world, made.patch, made.model),
        **mechanism_figures(world, made.patch, made.model),
    }
    return replace(made.patch, figures=measured)


def _on_names(model: Model) -> Patch:
    patch, patched, heads = edits_attention.make_patch(model)
    return replace(patch, figures=edits_attention.figures(model, patched, heads))


def _print(patch: Patch, seconds: float) -> None:
    print(f"{patch.name} ({seconds:.0f} s): {patch.made}")
    for label, value in patch.figures.items():
        print(f"  {label:<58}{value:8.3f}")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    keep_freed_memory()
    make_patches(open_model(), parser.parse_args().out)


if __name__ == "__main__":
    run_module(main)
