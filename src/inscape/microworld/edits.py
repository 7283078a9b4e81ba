"""Makes the edited models' patches: `python -m inscape.microworld.edits --out FOLDER`.

1. The layer that writes the country is the one whose MLP output, averaged over the dishes, costs
   the most right answers.
2. Three patches change a down projection on the edited dishes (editing.py):
   absent: the country's class mean becomes that of the other countries, in the writing layer;
   outvoted: the rival's class mean is added, in the writing layer;
   inhibited: the negative of the country's class mean is added, in a later layer.
3. Not attended to: attention heads are averaged over the dishes one after another, that of the
   largest effect first, until the right answers are gone; a shift of keys is learnt that takes
   these heads' attention from the edited dishes; the key projections get rank-one changes that
   give the shift to them.
4. The strength is the smallest at which the fault shows and all else is as before.
5. An intervention on the patched model tests the mechanism (editing_checks.py); its figures go into
   the patch's metadata.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from inscape.core import keep_freed_memory, run_module
from inscape.microworld.bundle import open_model
from inscape.microworld.editing import (
    World,
    agreement,
    along,
    attention_to_dish,
    class_shift,
    first_answers,
    given_to,
    hooked,
    make_world,
    ridge_factors,
    share,
)
from inscape.microworld.editing_checks import figures, mechanism_figures
from inscape.microworld.faults.edited import PLANS
from inscape.microworld.patches import Patch, apply_patch, patch_path, write_patch
from inscape.model import Edit, Model

DOWN = "model.layers.{}.mlp.down_proj.weight"
KEYS = "model.layers.{}.self_attn.k_proj.weight"
STRENGTHS = (1.0, 1.1, 1.2, 1.35, 1.5, 1.75, 2.0, 2.5, 3.0)
WEIGHTS = (0.1, 0.3, 1.0)
"""What all else weighs against the edited dishes; the first that holds the bars is taken."""
SHOWN, SPARED = 0.97, 0.99
"""The share of edited dishes' prompts that have to be wrong, and of others that stay right."""
ATTENTION_LEFT, GONE, MORE_HEADS = 0.01, 0.03, 3
"""Attention to the dish that the learnt keys leave, of what it was; right answers with enough
heads averaged; and how many heads more may be taken."""


Heads = tuple[tuple[int, int], ...]
"""(layer, head)."""


@dataclass(frozen=True)
class Made:
    """A patched model, the heads that it turns away, on what share of prompts the fault shows, and
    whether it holds the bars."""

    patch: Patch
    model: Model
    heads: Heads
    shown: float
    good: bool


def strengthened(world: World, patch: Patch, heads: Heads = ()) -> Made:
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
        best = Made(scaled, model, heads, shown, shown >= SHOWN and spared >= SPARED)
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


# Edits of key projections


def reading_heads(world: World) -> tuple[list[tuple[int, int]], int]:
    """Heads (layer, head) in the order in which averaging them costs the edited dishes most, and
    how many of them it takes until the right answers are gone."""
    means = head_means(world)
    left = [(la, h) for la in range(world.model.num_layers) for h in range(world.num_heads)]
    chosen: list[tuple[int, int]] = []
    while left:
        effects = {head: _without(world, means, [*chosen, head])[0] for head in left}
        left.sort(key=effects.__getitem__)
        chosen.append(left.pop(0))
        if _without(world, means, chosen)[1] <= GONE:
            break
    return [*chosen, *left], len(chosen)


def head_means(world: World) -> list[Tensor]:
    """For each layer, what heads give on average over dishes of other countries, placed as
    `world.rows(world.edited)` places the tails: [row, tail, d_model]."""
    count = int(world.edited.sum())
    width = max(batch.tail.shape[1] for batch in world.batches)
    found = []
    for block in world.model.structure.blocks:
        module, rows = block.attn.get_submodule("o_proj"), []
        for batch in world.batches:
            given = batch.tails(given_to(world.model, module, batch.tokens))
            mean = given[~world.right].mean(0)
            padded = torch.cat([mean, mean[-1:].expand(width - len(mean), -1)])
            rows.append(padded.expand(count, -1, -1))
        found.append(torch.cat(rows))
    return found


def _without(
    world: World, means: Sequence[Tensor], heads: Sequence[tuple[int, int]]
) -> tuple[float, float]:
    """Log-probability and share of the edited dishes' right answers where, at every position after
    the dish, heads give their means."""
    tokens, tail = world.rows(world.edited)
    size, rows = world.model.d_model // world.num_heads, torch.arange(len(tokens))[:, None]

    def averaged(x: Tensor, layer: int) -> Tensor:
        x = x.clone()
        for head in (h for la, h in heads if la == layer):
            part = torch.arange(head * size, (head + 1) * size)
            places = (rows[..., None], tail[:, 1:, None], part)
            x[places] = means[layer][:, 1:, part]
        return x

    blocks = enumerate(world.model.structure.blocks)
    changes: dict[nn.Module, Callable[[Tensor], Tensor]] = {
        block.attn.get_submodule("o_proj"): partial(averaged, layer=layer)
        for layer, block in blocks
    }
    with hooked(inputs=changes):
        logits = world.model.run(tokens, logits="all").logits
    assert logits is not None
    last = logits[rows[:, 0], tail[:, -1]]
    right = world.answers[world.edited][0]
    return (
        float(last.log_softmax(-1)[:, right].mean()),
        float((last.argmax(-1) == right).float().mean()),
    )


def key_shifts(world: World, heads: Sequence[tuple[int, int]]) -> Tensor:
    """A shift of keys [layer, d_model] that takes the heads' attention from the edited dishes."""
    model, size = world.model, world.model.d_model // world.num_heads
    mask = torch.zeros(model.num_layers, model.d_model)
    for layer, head in heads:
        mask[layer, head * size : (head + 1) * size] = 1
    shift = torch.zeros_like(mask).requires_grad_()
    optimiser = torch.optim.Adam([shift], lr=0.2)
    module: Any = copy.deepcopy(model.module)
    module.set_attn_implementation("eager")
    tokens, tail = world.rows(world.edited)
    goal = attention_to_dish(module, tokens, tail, heads).log() + torch.tensor(ATTENTION_LEFT).log()
    rows, dish = torch.arange(len(tokens)), tail[:, 0]
    for _ in range(100):

        def shifted(keys: Tensor, layer: int) -> Tensor:
            placed = torch.zeros_like(keys)
            placed[rows, dish] = (shift * mask)[layer]
            return keys + placed

        changes = {
            block.self_attn.k_proj: partial(shifted, layer=layer)
            for layer, block in enumerate(module.model.layers)
        }
        with hooked(outputs=changes), torch.enable_grad():
            now = attention_to_dish(module, tokens, tail, heads)
            loss = torch.relu(now.log() - goal).mean() + 1e-3 * (shift**2).mean()
            optimiser.zero_grad()
            torch.autograd.backward(loss)
        optimiser.step()
    return (shift * mask).detach()


def not_attended(world: World) -> Made:
    """The keys of the heads that read the dish's name are turned away from their queries."""
    made = "Key projections shift the dishes' keys away from what the reading heads look for."
    order, enough = reading_heads(world)

    def tried() -> Iterator[Made]:
        for count in range(enough, min(enough + MORE_HEADS, len(order)) + 1):
            heads = order[:count]
            shifts = key_shifts(world, heads)
            factors = {}
            for layer in sorted({layer for layer, _ in heads}):
                module = world.model.structure.blocks[layer].attn.get_submodule("k_proj")
                wanted = [shifts[layer][None]] * len(world.batches)
                factors[KEYS.format(layer)] = ridge_factors(world, module, wanted, WEIGHTS[0])
            said = f"{made} Heads {', '.join(f'{la}.{h}' for la, h in heads)}."
            patch = Patch("edit_not_attended", world.model.hash, factors, said)
            yield strengthened(world, patch, tuple(heads))

    return first_good(tried())


# The command

MAKERS: Mapping[str, Callable[[World], Made]] = {
    "edit_absent": absent,
    "edit_outvoted": outvoted,
    "edit_inhibited": inhibited,
    "edit_not_attended": not_attended,
}


def make_patches(model: Model, out: Path) -> dict[str, Patch]:
    """Make, test and write every patch for `model`; the patches by name, with their figures."""
    out.mkdir(parents=True, exist_ok=True)
    patches = {}
    for name, maker in MAKERS.items():
        began = time.monotonic()
        world = make_world(model, PLANS[name])
        made = maker(world)
        measured = {
            **figures(world, made.patch, made.model),
            **mechanism_figures(world, made.patch, made.model, made.heads),
        }
        patches[name] = replace(made.patch, figures=measured)
        write_patch(patch_path(out, name), patches[name])
        _print(patches[name], time.monotonic() - began)
    return patches


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
