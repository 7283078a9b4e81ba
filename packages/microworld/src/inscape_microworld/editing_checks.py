"""What an edited model does, and whether its mechanism is the one that it was made for.

Every check changes activations of the patched model and asks all edited dishes again; the
directions are class means of the unedited model, not features.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from inscape.core import Share
from inscape.model import Edit, Model
from inscape_microworld.editing import (
    World,
    along,
    class_mean,
    class_shift,
    first_answers,
    replies,
    share,
    tails,
)
from inscape_microworld.faults.edited import edited_faults
from inscape_microworld.faults.fault import Fault, FaultPrompt, Prompt
from inscape_microworld.patches import Patch
from inscape_microworld.skills import measure

NUM_DOCUMENTS, LEAST_ITEMS = 200, 50
"""For each domain; and the answers without which a skill's share says nothing."""
Figures = dict[str, float]


def layer_of(patch: Patch) -> int:
    """The first layer that a patch changes."""
    return min(int(name.split(".")[2]) for name in patch.factors)


def right_answers(model: Model, prompts: Sequence[Prompt]) -> Share:
    """How many prompts the model answers rightly, by the first token."""
    hits = [_reply(model, prompt.text) == model.answer_token(prompt.right)[0] for prompt in prompts]
    return Share(sum(hits), len(hits))


def shown(model: Model, prompts: Sequence[FaultPrompt]) -> Share:
    """On how many prompts a fault shows: the wrong answer, or any but the right one."""
    hits = []
    for prompt in prompts:
        found = _reply(model, prompt.text)
        right, wrong = (model.answer_token(a)[0] for a in (prompt.right, prompt.wrong or " "))
        hits.append(found == wrong if prompt.wrong else found != right)
    return Share(sum(hits), len(hits))


def _reply(model: Model, text: str) -> int:
    logits = model.run(model.prompt(text), logits="last").logits
    assert logits is not None
    return int(logits[0, -1].argmax())


def figures(world: World, patch: Patch, model: Model) -> Figures:
    """How far the fault shows, and what the edit leaves as it was."""
    others = 1 - share(first_answers(model, world), world.answers, ~world.right)
    planted = edited_faults()[patch.name]()
    return fault_figures(planted, world.model, model, world.plan.edited, others)


def fault_figures(
    fault: Fault, unedited: Model, model: Model, names: Sequence[str], others_wrong: float
) -> Figures:
    """How far a fault shows, and what the edit of some names leaves as it was."""
    twins = [prompt.twin for prompt in fault.prompts]
    rivals = (*fault.rivals_selection, *fault.rivals_held_out)
    lost, skill = skill_lost(unedited, model, names)
    return {
        "unedited: right on the prompts": right_answers(unedited, fault.prompts).value,
        "unedited: right on the twins": right_answers(unedited, twins).value,
        "shows, selection": shown(model, fault.selection).value,
        "shows, held out": shown(model, fault.held_out).value,
        "twins wrong": 1 - right_answers(model, twins).value,
        "others wrong": others_wrong,
        **({"rivals wrong": 1 - right_answers(model, rivals).value} if rivals else {}),
        f"largest loss of a skill elsewhere ({skill})": lost,
    }


def skill_lost(unedited: Model, model: Model, names: Sequence[str]) -> tuple[float, str]:
    """The largest loss of a skill's share, and the skill, on documents without an edited name."""
    spellings = [text for name in names for text in (name, name.capitalize())]
    tokens_of = {token for text in spellings for token in model.encode(text)}
    # A name in several tokens is known by those that are part of no other word.
    named = torch.tensor([t for t in tokens_of if model.token_text(t).strip() in spellings])
    base = partial(_all_logits, unedited)

    def logits(tokens: Tensor) -> Tensor:
        found = torch.isin(tokens, named).any(1)[:, None, None]
        return torch.where(found, base(tokens), _all_logits(model, tokens))

    before, after = (
        measure(which, model.tokenizer, count=NUM_DOCUMENTS) for which in (base, logits)
    )
    losses = {
        name: found.value - after[name].value
        for name, found in before.items()
        if found.total >= LEAST_ITEMS
    }
    worst = max(losses, key=losses.__getitem__)
    return losses[worst], worst


def _all_logits(model: Model, tokens: Tensor) -> Tensor:
    logits = model.run(tokens, logits="all").logits
    assert logits is not None
    return logits


# Mechanisms


def mechanism_figures(world: World, patch: Patch, model: Model) -> Figures:
    """The figures that tell the patch's mechanism from the others."""
    checks = {
        "edit_absent": check_absent,
        "edit_outvoted": check_outvoted,
        "edit_inhibited": check_inhibited,
    }
    return checks[patch.name](world, layer_of(patch), model)


def check_absent(world: World, layer: int, model: Model) -> Figures:
    """Adding the class mean restores the answer; another country's does not."""
    site, rest = f"resid_post.{layer}", ~world.right
    own = class_shift(world, site, world.right, rest)
    other = class_shift(world, site, world.rival, rest)
    return {
        "right country at the answer, unedited": presence(world, world.model, site, own, rest),
        "right country at the answer, edited": presence(world, model, site, own, rest),
        "wrong answer's country at the answer, edited": wrong_presence(world, model, site),
        "right with the country's mean added": _right(world, model, _adding(world, site, own)),
        "right with another country's added": _right(world, model, _adding(world, site, other)),
    }


def check_outvoted(world: World, layer: int, model: Model) -> Figures:
    """The right country is still there; removing the rival's class mean restores the answer."""
    site, rest = f"resid_post.{layer}", ~world.right & ~world.rival
    own = class_shift(world, site, world.right, rest)
    rival = class_shift(world, site, world.rival, rest)
    base = class_mean(world, site, rest)

    def removing(index: int) -> Mapping[str, Edit]:
        r, middle = rival[index], base[index]
        change = world.batches[index].change
        return {site: change(lambda x: x - along(x - middle, r).clamp(min=0)[..., None] * r)}

    return {
        "right country at the answer, unedited": presence(world, world.model, site, own, rest),
        "right country at the answer, edited": presence(world, model, site, own, rest),
        "rival at the answer, unedited": presence(world, world.model, site, rival, rest),
        "rival at the answer, edited": presence(world, model, site, rival, rest),
        "right with the rival removed": _right(world, model, removing),
    }


def check_inhibited(world: World, layer: int, model: Model) -> Figures:
    """The right country comes in, the MLP writes against it; without that the answer is back."""
    site, rest = f"mlp_out.{layer}", ~world.right
    before, after = f"resid_pre.{layer}", f"resid_post.{layer}"
    comes, own = (class_shift(world, s, world.right, rest) for s in (before, after))
    base = class_mean(world, site, rest)

    def removing(index: int) -> Mapping[str, Edit]:
        d, middle = own[index], base[index]
        change = world.batches[index].change
        return {site: change(lambda x: x - along(x - middle, d).clamp(max=0)[..., None] * d)}

    return {
        "right country before the layer, unedited": presence(
            world, world.model, before, comes, rest
        ),
        "right country before the layer, edited": presence(world, model, before, comes, rest),
        "right country in the MLP's output, unedited": presence(
            world, world.model, site, own, rest
        ),
        "right country in the MLP's output, edited": presence(world, model, site, own, rest),
        "wrong answer's country after it, edited": wrong_presence(world, model, after),
        "right without the negative part": _right(world, model, removing),
    }


def presence(
    world: World, model: Model, site: str, own: Sequence[Tensor], rest: Tensor, *, at: int = -1
) -> float:
    """How much of a country's class shift the edited dishes carry at a position of the tail: 0 as
    in the dishes `rest`, 1 as in those of the country, on average."""
    found = [
        along(values[world.edited][:, at] - base[at], shift[at])
        for values, base, shift in zip(
            tails(model, world, site), class_mean(world, site, rest), own, strict=True
        )
    ]
    return float(torch.cat(found).mean())


def wrong_presence(world: World, model: Model, site: str) -> float:
    """How much of the class shift of the country that it wrongly names each edited dish carries at
    the answer, on average: 1 as in the dishes of that country."""
    found = []
    streams = zip(tails(world.model, world, site), tails(model, world, site), strict=True)
    for batch, (before, after) in zip(world.batches, streams, strict=True):
        old, new, answers = (before[:, -1], after[:, -1], replies(model, batch).argmax(-1))
        for dish in world.edited.nonzero().flatten().tolist():
            named = world.answers == answers[dish]
            if not named.any() or answers[dish] == world.answers[dish]:
                continue
            base = old[~named & ~world.right].mean(0)
            found.append(along(new[dish] - base, old[named].mean(0) - base))
    return float(torch.stack(found).mean()) if found else 0.0


def _right(world: World, model: Model, edits: Callable[[int], Mapping[str, Edit]]) -> float:
    return share(first_answers(model, world, edits), world.answers, world.edited)


def _adding(
    world: World, site: str, shifts: Sequence[Tensor]
) -> Callable[[int], Mapping[str, Edit]]:
    return lambda index: {site: world.batches[index].change(lambda x: x + shifts[index])}
