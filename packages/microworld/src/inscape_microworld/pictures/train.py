"""Trains eyes for a microworld model: `python -m inscape_microworld.pictures.train --out FOLDER`.

1. Put a small vision tower and a projector before the language model, which stays as it is.
2. First the tower learns, by a linear head, to say of each patch that shows a thing which it is.
3. Then tower and projector learn from the language model's answers to questions about pictures.
4. Save a checkpoint at intervals, from which the same command goes on; at the end measure every
   skill on fresh pictures, of taught and of held-out pairs, and write a folder in the layout of
   LLaVA with its card.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from inscape.core import InputError, Share, keep_freed_memory, progress, seeded
from inscape.model.images import ImageCodec
from inscape.storage import atomic_folder, file_hash, refuse_filled, write_json
from inscape_microworld.bundle import CARD, FOLDER, WEIGHTS, is_checkpoint, is_model
from inscape_microworld.module import run_module
from inscape_microworld.muon import Muon
from inscape_microworld.pictures.assemble import PREPROCESSING, with_eyes, write_model
from inscape_microworld.pictures.documents import PictureDocument, picture_document
from inscape_microworld.pictures.drawing import COMPANION_SHARE, KINDS, draw
from inscape_microworld.publishing import write_image_page
from inscape_microworld.skills import answer_tokens, pad

THINGS = tuple((kind, key) for kind, drawings in KINDS.items() for key in drawings)
_NONE = -1


@dataclass(frozen=True)
class Recipe:
    """The settings of a training."""

    seed: int = 0
    first_pictures: int = 120_000  # of telling things apart
    pictures: int = 240_000  # of questions to the language model
    batch: int = 64
    num_layers: int = 4
    d_vision: int = 128
    matrix_rate: float = 3e-3  # of Muon
    peak_rate: float = 1.5e-3  # of AdamW
    warmup_steps: int = 100
    weight_decay: float = 0.05


@dataclass
class Batch:
    """Rows with a picture each; `row`, `column` place the tokens of answers among them."""

    tokens: Tensor
    pixels: Tensor
    row: Tensor
    column: Tensor


class Eyes:
    """The model in training: everything that both phases, the card and the checkpoint need."""

    def __init__(self, base: Path, recipe: Recipe) -> None:
        self.recipe = recipe
        self.module, self.tokenizer = with_eyes(
            base, num_layers=recipe.num_layers, d_vision=recipe.d_vision, seed=recipe.seed
        )
        self.codec = ImageCodec(self.module.config, PREPROCESSING)
        self.head = nn.Linear(recipe.d_vision, len(THINGS))
        self.learnt = nn.ModuleList(
            [self.module.model.vision_tower, self.module.model.multi_modal_projector, self.head]
        )
        self.optimisers = _optimisers(self.learnt, recipe)
        self.state: dict[str, float] = {"seen": 0, "seconds": 0.0}

    def first_loss(self, start: int) -> Tensor:
        """Cross-entropy of which thing is on each patch that shows one, pictures `start` and on."""
        random = Random(seeded(self.recipe.seed, "things", start))
        pictures = []
        for _ in range(self.recipe.batch):
            companion = random.choice(THINGS) if random.random() < COMPANION_SHARE else None
            pictures.append(draw(*random.choice(THINGS), random, companion=companion))
        wanted = torch.full((len(pictures), self.codec.tokens_per_image), _NONE)
        for row, picture in zip(wanted, pictures, strict=True):
            for thing in picture.things:
                row[torch.from_numpy(thing.patches)] = THINGS.index((thing.kind, thing.key))
        pixels = self.codec.pixels(np.stack([picture.pixels for picture in pictures]))
        patches = self.module.model.vision_tower(pixels).last_hidden_state[:, 1:]
        return functional.cross_entropy(
            self.head(patches).flatten(0, 1), wanted.flatten(), ignore_index=_NONE
        )

    def loss(self, start: int) -> Tensor:
        """Cross-entropy of the answers in documents `start` and on."""
        random = Random(seeded(self.recipe.seed, "questions", start))
        made = [picture_document(random, False) for _ in range(self.recipe.batch)]
        batch = self.batch(made)
        return functional.cross_entropy(
            self.answer_logits(batch), batch.tokens[batch.row, batch.column]
        )

    def batch(self, made: Sequence[PictureDocument]) -> Batch:
        """Documents as the model takes them."""
        encoded = self.tokenizer([d.document.text for d in made], return_offsets_mapping=True)
        added, rows, places = self.codec.tokens_per_image, [], []
        for i, (d, ids) in enumerate(zip(made, encoded["input_ids"], strict=True)):
            rows.append(self.codec.place(ids, 1))
            answer = d.document.answers[0]
            at = answer_tokens(encoded["offset_mapping"][i], answer.start, answer.end)
            places += [(i, token + added) for token in at]
        row, column = torch.tensor(places).T
        pixels = self.codec.pixels(np.stack([d.picture.pixels for d in made]))
        return Batch(pad(rows), pixels, row, column)

    def answer_logits(self, batch: Batch) -> Tensor:
        """Logits [answer token, vocab] of what comes at each token of an answer."""
        hidden = self.module.model(
            input_ids=batch.tokens, pixel_values=batch.pixels, use_cache=False
        ).last_hidden_state
        logits: Tensor = self.module.lm_head(hidden[batch.row, batch.column - 1])
        return logits

    def step(self, loss: Tensor) -> float:
        """One step of the optimiser; counts the pictures seen."""
        recipe, seen = self.recipe, int(self.state["seen"])
        begin, end = (0, recipe.first_pictures)
        if seen >= end:
            begin, end = end, end + recipe.pictures
        warm = min(1.0, ((seen - begin) // recipe.batch + 1) / recipe.warmup_steps)
        share = warm * max(0.02, (end - seen) / (end - begin))
        for optimiser, peak in zip(
            self.optimisers, (recipe.matrix_rate, recipe.peak_rate), strict=True
        ):
            for group in optimiser.param_groups:
                group["lr"] = peak * share
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self.learnt.parameters(), 1.0)
        for optimiser in self.optimisers:
            optimiser.step()
            optimiser.zero_grad()
        self.state["seen"] += recipe.batch
        return float(loss.detach())


def _optimisers(learnt: nn.Module, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """Muon for the blocks' and the projector's matrices, AdamW for the rest."""
    matrices: list[Tensor] = []
    rest: list[Tensor] = []
    for name, parameter in learnt.named_parameters():
        inner = parameter.ndim == 2 and "embed" not in name and not name.startswith("2.")
        (matrices if inner else rest).append(parameter)
    decay = recipe.weight_decay
    return [
        Muon(matrices, recipe.matrix_rate, weight_decay=decay),
        torch.optim.AdamW(rest, recipe.peak_rate, betas=(0.9, 0.98), weight_decay=0.0),
    ]


def train(base: Path, out: Path, recipe: Recipe, *, checkpoint_minutes: float = 3.0) -> None:
    """Train, or go on from the checkpoint beside `out`, and write the folder with its card."""
    checkpoint = out.with_name(out.name + ".checkpoint")
    refuse_filled(out, is_model)
    refuse_filled(checkpoint, is_checkpoint)
    eyes = Eyes(base, recipe)
    key = {"recipe": asdict(recipe), "base": file_hash(base / WEIGHTS)}
    _resume(eyes, checkpoint, key)
    total = recipe.first_pictures + recipe.pictures
    since = began = time.monotonic()
    before = eyes.state["seconds"]
    with progress("training", total, "pictures") as bar:
        bar.advance(eyes.state["seen"])
        while eyes.state["seen"] < total:
            seen = int(eyes.state["seen"])
            make = eyes.first_loss if seen < recipe.first_pictures else eyes.loss
            bar.advance(recipe.batch, loss=eyes.step(make(seen)))
            eyes.state["seconds"] = before + time.monotonic() - began
            if time.monotonic() - since > 60 * checkpoint_minutes:
                since = time.monotonic()
                _save_checkpoint(eyes, checkpoint, key)
    _save_checkpoint(eyes, checkpoint, key)
    save(eyes, out, key)


def _resume(eyes: Eyes, checkpoint: Path, key: dict[str, Any]) -> None:
    if not (checkpoint / "state.pt").exists():
        return
    saved = torch.load(checkpoint / "state.pt", weights_only=True)
    if saved["key"] != key:
        raise InputError(
            f"{checkpoint} is of another recipe",
            expected="the same settings as before",
            next_step="choose another --out, or remove it",
        )
    eyes.learnt.load_state_dict(saved["learnt"])
    for optimiser, content in zip(eyes.optimisers, saved["optimisers"], strict=True):
        optimiser.load_state_dict(content)
    eyes.state = saved["state"]


def _save_checkpoint(eyes: Eyes, checkpoint: Path, key: dict[str, Any]) -> None:
    with atomic_folder(checkpoint, is_checkpoint) as folder:
        content = {
            "key": key,
            "learnt": eyes.learnt.state_dict(),
            "optimisers": [o.state_dict() for o in eyes.optimisers],
            "state": eyes.state,
        }
        torch.save(content, folder / "state.pt")


@torch.inference_mode()
def measure(eyes: Eyes, *, count: int = 3000, seed: int = 0) -> dict[str, Share]:
    """Every skill on fresh pictures: `count` of taught pairs and as many of held-out pairs.

    An answer counts when each of its tokens is the model's first choice after those before it.
    """
    tally: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for held, ending in ((False, ""), (True, "_held_out")):
        random = Random(seeded(seed, "fresh pictures", held))
        for _ in range(0, count, 64):
            made = [picture_document(random, held) for _ in range(64)]
            batch = eyes.batch(made)
            choice = eyes.answer_logits(batch).argmax(-1)
            right = torch.ones(len(made), dtype=torch.bool)
            right[batch.row[choice != batch.tokens[batch.row, batch.column]]] = False
            for document, correct in zip(made, right.tolist(), strict=True):
                skill = document.document.answers[0].skill
                ending_here = "" if skill.endswith("_unseen") else ending
                for name in (skill + ending_here, skill.partition("_")[0] + ending):
                    tally[name][0] += correct
                    tally[name][1] += 1
    return {name: Share(right, total) for name, (right, total) in sorted(tally.items())}


def save(eyes: Eyes, out: Path, key: dict[str, Any]) -> dict[str, Share]:
    """Write the folder with bf16 weights, and the card with what they can do as rounded."""
    with torch.no_grad():  # the card speaks of the weights as saved; buffers stay as they are
        for parameter in eyes.module.parameters():
            parameter.copy_(parameter.bfloat16())
    skills = measure(eyes)
    with atomic_folder(out, is_model) as folder:
        write_model(folder, eyes.module.to(torch.bfloat16), eyes.tokenizer)
        card = {
            "command": "python -m inscape_microworld.pictures.train --out microworld-images",
            "recipe": key["recipe"],
            "base_sha256": key["base"],
            "pictures_seen": int(eyes.state["seen"]),
            "training_minutes": round(eyes.state["seconds"] / 60, 1),
            "threads": torch.get_num_threads(),
            "hardware": f"{platform.machine()}, {os.cpu_count()} cores",
            "torch": torch.__version__,
            "tower_parameters": sum(p.numel() for p in eyes.learnt[:2].parameters()),
            "skills": {name: share.to_json() for name, share in skills.items()},
            "sha256": file_hash(folder / WEIGHTS),
        }
        write_json(folder / CARD, card)
        write_image_page(folder, card)
    for name, share in skills.items():
        print(f"{name}: {share}", flush=True)
    return skills


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--base", type=Path, default=FOLDER, help="folder of the language model")
    parser.add_argument("--seed", type=int, default=Recipe.seed)
    parser.add_argument("--first-pictures", type=int, default=Recipe.first_pictures)
    parser.add_argument("--pictures", type=int, default=Recipe.pictures)
    arguments = parser.parse_args()
    keep_freed_memory()
    recipe = Recipe(arguments.seed, arguments.first_pictures, arguments.pictures)
    train(arguments.base, arguments.out, recipe)


if __name__ == "__main__":
    run_module(main)
