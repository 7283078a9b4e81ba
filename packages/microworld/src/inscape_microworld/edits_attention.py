"""The edit that keeps heads from reading some names: a change of rank one of their keys.

1. The heads are those of one layer that attend from the answer to the needed name by at least
   LEAST_ATTENTION on average; the layer is the one in which they attend most.
2. Their key projection grows by v uᵀ, where v is zero outside the heads. u and v start from closed
   forms: u tells the names from all other tokens (ridge regression), v is the direction that every
   query at the answer sees as least (the mean of the queries, turned back by the distance).
3. Gradient steps lower the log-odds of the unread name over the giver below MARGIN, and hold the
   distribution over next tokens of the unedited model in stories of other names and in other text.
4. The patch is told by what it does: attention left, and whether the names' own keys restore the
   answers while their own MLP outputs do not.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrize

from inscape.core import seeded, track
from inscape.model import Model
from inscape_microworld.corpus import documents
from inscape_microworld.domains.givers import TEMPLATES
from inscape_microworld.editing_checks import fault_figures, right_answers
from inscape_microworld.facts import NAMES
from inscape_microworld.faults.unread import NAME, TWINS, UNREAD, fault, story
from inscape_microworld.patches import Patch, apply_patch
from inscape_microworld.skills import pad

KEYS = "model.layers.{}.self_attn.k_proj.weight"
SEED, NUM_DOCUMENTS, LONGEST = 4_000_037, 4000, 64
LEAST_ATTENTION, MARGIN = 0.1, 2.0
STEPS, BATCH, RATE = 400, 48, 0.01
HOLD = 30.0
"""What a nat of change elsewhere weighs against a nat of the margin."""
_OTHERS = tuple(name for name in NAMES if name not in UNREAD)


@dataclass(frozen=True)
class Stories:
    """Stories up to the receiver: ids [story, pos], right-padded; the last position, that of the
    receiver's first mention, and the tokens of receiver and giver, [story] each."""

    tokens: Tensor
    last: Tensor
    named: Tensor
    receiver: Tensor
    giver: Tensor

    def rows(self, chosen: Tensor) -> Stories:
        """Some of them."""
        return Stories(*(getattr(self, name)[chosen] for name in vars(self)))


def make_stories(model: Model, random: Random, receivers: Sequence[str], count: int) -> Stories:
    """Stories in every template; givers are never among the unread."""
    texts, pairs = [], []
    for i in range(count):
        receiver = receivers[i % len(receivers)]
        giver = random.choice([name for name in _OTHERS if name != receiver])
        texts.append(story(random, random.randrange(len(TEMPLATES)), receiver, giver))
        pairs.append((receiver, giver))
    rows = [model.encode(text) for text in texts]
    ids = torch.tensor([[model.answer_token(f" {n}")[0] for n in pair] for pair in pairs])
    tokens, last = pad(rows), torch.tensor([len(row) - 1 for row in rows])
    named = (tokens == ids[:, :1]).int().argmax(1)
    return Stories(tokens, last, named, *ids.T)


class _Grown(nn.Module):
    """A weight and what it grows by: v uᵀ on the rows of some heads."""

    def __init__(self, left: Tensor, right: Tensor, rows: Tensor) -> None:
        super().__init__()
        self.left, self.right = nn.Parameter(left.clone()), nn.Parameter(right.clone())
        self.rows = rows

    def forward(self, weight: Tensor) -> Tensor:
        """The weight as grown."""
        return weight + torch.outer(self.left * self.rows, self.right)


def make_patch(model: Model) -> tuple[Patch, Model, list[tuple[int, int]]]:
    """The patch, the patched model, and the heads (layer, head) that no longer read the names."""
    random = Random(seeded(SEED, "stories"))
    needed = make_stories(model, random, UNREAD[0::2] + UNREAD[1::2], 1200)
    heads = reading_heads(model, needed)
    layer = heads[0][0]
    size = model.d_model // int(model.structure.config.num_attention_heads)
    rows = torch.zeros(model.d_model)
    for _, head in heads:
        rows[head * size : (head + 1) * size] = 1
    left, right = learned(model, layer, rows, needed, random)
    told = ", ".join(f"{la}.{h}" for la, h in heads)
    made = f"The key projections of heads {told} shift some names' keys away from the queries."
    patch = Patch(NAME, model.hash, {KEYS.format(layer): (left, right)}, made)
    return patch, apply_patch(model, patch), heads


def reading_heads(model: Model, stories: Stories) -> list[tuple[int, int]]:
    """The heads of one layer that attend to the needed name from the answer."""
    found = attention(model, stories.rows(torch.arange(200)))
    layer = int(found.clamp_max(1.0).sum(1).argmax())
    heads = [(layer, h) for h in range(found.shape[1]) if found[layer, h] >= LEAST_ATTENTION]
    return heads or [(layer, int(found[layer].argmax()))]


@torch.no_grad()
def attention(model: Model, stories: Stories) -> Tensor:
    """Mean attention [layer, head] from the answer to the needed name."""
    module: Any = copy.deepcopy(model.module)
    module.set_attn_implementation("eager")
    seen = module(stories.tokens, output_attentions=True, use_cache=False).attentions
    row = torch.arange(len(stories.last))
    return torch.stack([a[row, :, stories.last, stories.named].mean(0) for a in seen])


def learned(
    model: Model, layer: int, rows: Tensor, needed: Stories, random: Random
) -> tuple[Tensor, Tensor]:
    """Factors (left [d_model, 1], right [d_model, 1]) of the change (steps 2 and 3)."""
    module: Any = copy.deepcopy(model.module)
    held = make_stories(model, random, _OTHERS, 1200)
    unread = {model.answer_token(f" {name}")[0] for name in UNREAD}
    text = [
        row
        for row in (model.encode(d.text) for d in documents(SEED, NUM_DOCUMENTS))
        if len(row) <= LONGEST and not unread & set(row)
    ]
    projection = module.model.layers[layer].self_attn.k_proj
    grown = _Grown(*_start(model, layer, rows, needed, text), rows)
    parametrize.register_parametrization(projection, "weight", grown)
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(name.endswith((".0.left", ".0.right")))
    optimiser = torch.optim.Adam(grown.parameters(), lr=RATE)
    generator = torch.Generator().manual_seed(SEED)

    def drawn(stories: Stories) -> Stories:
        return stories.rows(torch.randint(len(stories.last), (BATCH,), generator=generator))

    for step in track(range(STEPS), "turning keys away"):
        for group in optimiser.param_groups:
            group["lr"] = RATE * (1 - step / STEPS)
        part = drawn(needed)
        logits = module(part.tokens, use_cache=False).logits
        row = torch.arange(BATCH)
        at = logits[row, part.last]
        odds = at[row, part.receiver] - at[row, part.giver]
        loss = functional.relu(odds + MARGIN).mean()
        pick = torch.randint(len(text), (BATCH,), generator=generator).tolist()
        for tokens in (drawn(held).tokens, pad([text[i] for i in pick])):
            loss = loss + HOLD * _changed(model, module, tokens)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
    return (grown.left * rows).detach()[:, None], grown.right.detach()[:, None]


def _changed(model: Model, module: Any, tokens: Tensor) -> Tensor:
    """Mean Kullback-Leibler divergence of next tokens from those of the unedited model."""
    with torch.no_grad():
        before = model.run(tokens, logits="all").logits
    assert before is not None
    after = module(tokens, use_cache=False).logits
    found: Tensor = functional.kl_div(
        after.log_softmax(-1), before.log_softmax(-1), reduction="none", log_target=True
    ).sum(-1)
    real = functional.pad(tokens[:, 1:] != 0, (1, 0), value=True)
    return found[real].mean()


@torch.no_grad()
def _start(
    model: Model, layer: int, rows: Tensor, needed: Stories, text: Sequence[Sequence[int]]
) -> tuple[Tensor, Tensor]:
    module: Any = copy.deepcopy(model.module)
    block = module.model.layers[layer].self_attn
    given: list[Tensor] = []
    asked: list[Tensor] = []
    block.k_proj.register_forward_pre_hook(lambda _, args: given.append(args[0]))
    block.q_proj.register_forward_hook(lambda _, args, out: asked.append(out))
    part = needed.rows(torch.arange(400))
    module(part.tokens, use_cache=False)
    module(pad(text[:600]), use_cache=False)
    row = torch.arange(len(part.last))
    names, rest = given[0][row, part.named], given[1].flatten(0, 1)
    moment = names.T @ names / len(names) + rest.T @ rest / len(rest)
    moment += 1e-2 * float(moment.diagonal().mean()) * torch.eye(len(moment))
    right = torch.linalg.solve(moment, names.mean(0))
    heads = int(model.structure.config.num_attention_heads)
    queries = asked[0][row, part.last].reshape(len(row), heads, -1)
    back = turned(queries, (part.last - part.named)[:, None], module.model.rotary_emb)
    left = -functional.normalize(back.mean(0), dim=-1).flatten() * rows
    return 4 * left, right / float(names.mean(0) @ right)


def turned(x: Tensor, distance: Tensor, rotary: Any) -> Tensor:
    """Queries [story, head, size] as a key `distance` positions before them sees them."""
    cos, sin = rotary(x, distance)
    half = x.shape[-1] // 2
    other = torch.cat([-x[..., half:], x[..., :half]], -1)
    found: Tensor = x * cos + other * sin
    return found


# What the patch does


def figures(model: Model, patched: Model, heads: Sequence[tuple[int, int]]) -> dict[str, float]:
    """How far the fault shows, what the edit leaves, and the figures that tell its mechanism."""
    planted = fault()
    rest = (*planted.others_selection, *planted.others_held_out)
    others = 1 - right_answers(patched, rest).value
    random = Random(seeded(SEED, "fresh stories"))
    fresh = make_stories(model, random, UNREAD, 200)
    layer = heads[0][0]
    picked = torch.tensor([h for _, h in heads])
    before, after = (attention(m, fresh)[layer, picked].sum() for m in (model, patched))
    kept = make_stories(model, random, TWINS, 200)
    before_kept, after_kept = (attention(m, kept)[layer, picked].sum() for m in (model, patched))
    return {
        **fault_figures(planted, model, patched, UNREAD, others),
        "attention to unread names, of what it was": float(after / before),
        "attention to kept names, of what it was": float(after_kept / before_kept),
        "right with the names' keys restored": _restored(model, patched, fresh, layer),
        "right with the names' MLP outputs restored": _with_mlps(model, patched, fresh),
    }


def _named_right(model: Model, stories: Stories, last: Tensor) -> float:
    said = model.unembed(last[torch.arange(len(stories.last)), stories.last]).argmax(-1)
    return float((said == stories.receiver).float().mean())


@torch.no_grad()
def _restored(model: Model, patched: Model, stories: Stories, layer: int) -> float:
    """Right answers where the names' keys are what the unedited projection makes."""
    path = KEYS.format(layer).removesuffix(".weight")
    old: Any = model.module.get_submodule(path)
    new: Any = patched.module.get_submodule(path)
    row = torch.arange(len(stories.last))

    def restore(_: nn.Module, given: tuple[Tensor, ...], keys: Tensor) -> Tensor:
        keys = keys.clone()
        keys[row, stories.named] = functional.linear(given[0], old.weight)[row, stories.named]
        return keys

    handle = new.register_forward_hook(restore)
    try:
        return _named_right(patched, stories, patched.run(stories.tokens, read=["final"])["final"])
    finally:
        handle.remove()


@torch.no_grad()
def _with_mlps(model: Model, patched: Model, stories: Stories) -> float:
    """Right answers where the names' MLP outputs are those of the unedited model."""
    sites = [f"mlp_out.{layer}" for layer in range(model.num_layers)]
    own = model.run(stories.tokens, read=sites)
    row = torch.arange(len(stories.last))

    def restore(site: str) -> Any:
        def edit(x: Tensor) -> Tensor:
            x[row, stories.named] = own[site][row, stories.named]
            return x

        return edit

    run = patched.run(stories.tokens, edits={s: restore(s) for s in sites}, read=["final"])
    return _named_right(patched, stories, run["final"])
