"""Trains a microworld language model: `python -m inscape_microworld.train --size s --out FOLDER`.

1. Learn the tokenizer on the corpus (words of the fact tables repeated, so that names stay whole).
2. Stream documents, each a row of its own that begins with BOS; rows of similar length share a
   batch, so that little is padding.
3. Minimise next-token cross-entropy (Muon and AdamW), answers weighted over the rest (a weight by
   position leaves every conditional distribution, and so every planted fault, as it is).
4. Save a checkpoint at intervals, from which the same command goes on; at the end measure every
   skill on held-out combinations and every planted fault, and write the folder with its card.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from inscape.core import InputError, keep_freed_memory, progress, seeded
from inscape.storage import atomic_folder, file_hash, refuse_filled, write_json
from inscape_microworld.bundle import CARD, WEIGHTS, is_checkpoint, is_model
from inscape_microworld.corpus import FIRST_SHARES, MIXTURES, document, documents
from inscape_microworld.document import Document
from inscape_microworld.fingerprint import fingerprint
from inscape_microworld.module import run_module
from inscape_microworld.muon import Muon
from inscape_microworld.publishing import write_model_page
from inscape_microworld.skills import Logits, answer_tokens, measure, measure_faults, pad
from inscape_microworld.tokenizer import as_transformers, sample_texts, table_words, train_tokenizer


@dataclass(frozen=True)
class Recipe:
    """The settings of a training; the defaults made the bundled weights (microworld-s).

    rates: (tokens seen, share of the peak rates), linear between. mixtures: (document, mixture of
    domains from it on); multiples of 2,048.
    """

    seed: int = 0
    tokens: int = 30_000_000
    vocabulary: int = 3072
    num_layers: int = 4
    d_model: int = 128
    d_mlp: int = 384
    num_heads: int = 4
    context: int = 256
    batch_tokens: int = 2048
    matrix_rate: float = 5e-3
    peak_rate: float = 2e-3
    warmup_steps: int = 200
    weight_decay: float = 0.05
    answer_weight: float = 5.0
    rates: tuple[tuple[int, float], ...] = (
        (0, 1.0),
        (10_000_000, 0.7),
        (17_600_000, 0.5311),
        (18_400_000, 0.3),
        (26_000_000, 0.3),
        (30_000_000, 0.0),
    )
    mixtures: tuple[tuple[int, str], ...] = ((0, "first"), (163_840, "corpus"), (614_400, "last"))


RECIPES: Mapping[str, Recipe] = {
    "s": Recipe(),
    "m": Recipe(
        tokens=90_000_000,
        num_layers=8,
        d_model=512,
        d_mlp=1280,
        num_heads=8,
        batch_tokens=8192,
        matrix_rate=2.5e-3,
        peak_rate=1e-3,
        rates=((0, 1.0), (50_000_000, 0.6), (90_000_000, 0.0)),
        mixtures=((0, "first"), (400_000, "corpus"), (1_600_000, "last")),
    ),
}
"""By size; s has about 1.3 M parameters, m about 26 M."""


def make_tokenizer(recipe: Recipe) -> Any:
    """The tokenizer, learnt on the corpus with the tables' words repeated."""
    seed = seeded(recipe.seed, "tokenizer")
    stream = documents(seed, shares=FIRST_SHARES)
    texts = (
        sample_texts(stream, 20_000) + sample_texts(documents(seed), 20_000) + 60 * table_words()
    )
    return as_transformers(train_tokenizer(texts, recipe.vocabulary))


def make_model(recipe: Recipe, vocabulary: int) -> Any:
    """A Llama of the recipe's shape with random weights."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(recipe.seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=recipe.d_model,
            intermediate_size=recipe.d_mlp,
            num_hidden_layers=recipe.num_layers,
            num_attention_heads=recipe.num_heads,
            num_key_value_heads=recipe.num_heads,
            max_position_embeddings=recipe.context,
            tie_word_embeddings=True,
            bos_token_id=0,
            eos_token_id=None,
            pad_token_id=None,
        )
    )


@dataclass
class Batch:
    """Right-padded rows: token ids and loss weights [batch, pos], and how many tokens are real."""

    tokens: Tensor
    weights: Tensor
    num_tokens: int


def _encode(
    tokenizer: Any, made: list[Document], answer_weight: float
) -> list[tuple[list[int], list[float]]]:
    encoded = tokenizer([d.text for d in made], return_offsets_mapping=True)
    rows = []
    for d, ids, offsets in zip(made, encoded["input_ids"], encoded["offset_mapping"], strict=True):
        weights = [1.0] * len(ids)
        for answer in d.answers:
            for position in answer_tokens(offsets, answer.start, answer.end):
                weights[position] = answer_weight
        rows.append((ids, weights))
    return rows


def batches(tokenizer: Any, recipe: Recipe, start: int = 0) -> Iterator[tuple[int, list[Batch]]]:
    """Chunks of batches; each comes with the index of the document after it."""
    chunk = 2048
    while True:
        shares = mixture(recipe, start)
        made_now = [document(recipe.seed, i, shares) for i in range(start, start + chunk)]
        rows = _encode(tokenizer, made_now, recipe.answer_weight)
        rows = sorted((r for r in rows if len(r[0]) <= recipe.context), key=lambda r: len(r[0]))
        made, begin = [], 0
        while begin < len(rows):
            count = max(1, recipe.batch_tokens // len(rows[min(len(rows) - 1, begin + 100)][0]))
            part = rows[begin : begin + count]
            tokens = pad([ids for ids, _ in part])
            weights = torch.zeros(tokens.shape)
            for i, (_, w) in enumerate(part):
                weights[i, : len(w)] = torch.tensor(w)
            made.append(Batch(tokens, weights, sum(len(ids) for ids, _ in part)))
            begin += count
        Random(seeded(recipe.seed, "order", start)).shuffle(made)
        start += chunk
        yield start, made


def schedule(recipe: Recipe, step: int, seen: int) -> float:
    """Share of the peak rates: linear warm-up over steps, then linear between `recipe.rates`."""
    points, shares = zip(*recipe.rates, strict=True)
    return min(1.0, (step + 1) / recipe.warmup_steps) * float(np.interp(seen, points, shares))


def mixture(recipe: Recipe, index: int) -> Mapping[str, float]:
    """The shares of the domains at document `index`."""
    return MIXTURES[[name for first, name in recipe.mixtures if first <= index][-1]]


def train(
    recipe: Recipe, out: Path, *, device: str = "cpu", checkpoint_minutes: float = 6.0
) -> None:
    """Train, or go on from the checkpoint beside `out`, and write the folder with its card."""
    checkpoint = out.with_name(out.name + ".checkpoint")
    refuse_filled(out, is_model)
    refuse_filled(checkpoint, is_checkpoint)
    tokenizer = make_tokenizer(recipe)
    model = make_model(recipe, len(tokenizer)).to(device)
    optimisers = make_optimisers(model, recipe)
    state = {"step": 0, "seen": 0, "next": 0, "seconds": 0.0}
    if (checkpoint / "state.pt").exists():
        saved = torch.load(checkpoint / "state.pt", weights_only=True)
        if saved["recipe"] != asdict(recipe):
            raise InputError(
                f"{checkpoint} is of another recipe",
                expected="the same settings as before",
                next_step="choose another --out, or remove it",
            )
        model.load_state_dict(saved["model"])
        for optimiser, content in zip(optimisers, saved["optimisers"], strict=True):
            optimiser.load_state_dict(content)
        state = saved["state"]
    since = time.monotonic()
    with progress("training", recipe.tokens, "tokens") as bar:
        bar.advance(state["seen"])
        for following, made in batches(tokenizer, recipe, int(state["next"])):
            began = time.monotonic()
            for batch in made:
                loss = _step(model, optimisers, recipe, batch, state, device)
                bar.advance(batch.num_tokens, loss=loss)
                if state["seen"] >= recipe.tokens:
                    break
            state["seconds"] += time.monotonic() - began
            state["next"] = following
            finished = state["seen"] >= recipe.tokens
            if finished or time.monotonic() - since > 60 * checkpoint_minutes:
                since = time.monotonic()
                _save_checkpoint(checkpoint, model, optimisers, recipe, state)
                save(out, model, tokenizer, recipe, state, count=1500 if finished else 100)
            if finished:
                return


def make_optimisers(model: Any, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """Muon for the blocks' matrices, AdamW for the embedding and the norms."""
    inner = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    known = set(map(id, inner))
    rest = [p for p in model.parameters() if id(p) not in known]
    return [
        Muon(inner, recipe.matrix_rate, weight_decay=recipe.weight_decay),
        torch.optim.AdamW(rest, recipe.peak_rate, betas=(0.9, 0.98), weight_decay=0.0, fused=True),
    ]


def _step(
    model: Any,
    optimisers: Sequence[torch.optim.Optimizer],
    recipe: Recipe,
    batch: Batch,
    state: dict[str, Any],
    device: str,
) -> float:
    share = schedule(recipe, state["step"], state["seen"])
    for optimiser, peak in zip(optimisers, (recipe.matrix_rate, recipe.peak_rate), strict=True):
        for group in optimiser.param_groups:
            group["lr"] = peak * share
    tokens, weights = batch.tokens.to(device), batch.weights[:, 1:].to(device)
    logits = model(tokens, use_cache=False).logits[:, :-1]
    losses = functional.cross_entropy(
        logits.flatten(0, 1), tokens[:, 1:].flatten(), reduction="none"
    )
    loss = (losses * weights.flatten()).sum() / weights.sum()
    torch.autograd.backward(loss)
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for optimiser in optimisers:
        optimiser.step()
        optimiser.zero_grad()
    state["step"] += 1
    state["seen"] += batch.num_tokens
    return float(loss.detach())


def _save_checkpoint(
    folder: Path,
    model: Any,
    optimisers: Sequence[torch.optim.Optimizer],
    recipe: Recipe,
    state: dict[str, Any],
) -> None:
    with atomic_folder(folder, is_checkpoint) as temporary:
        content = {
            "recipe": asdict(recipe),
            "model": model.state_dict(),
            "optimisers": [o.state_dict() for o in optimisers],
            "state": state,
        }
        torch.save(content, temporary / "state.pt")


def save(
    out: Path, model: Any, tokenizer: Any, recipe: Recipe, state: dict[str, Any], *, count: int
) -> None:
    """Write the Hugging Face folder with bf16 weights, and the card with what they can do."""
    rounded = make_model(recipe, len(tokenizer))
    rounded.load_state_dict(model.state_dict())
    rounded = rounded.to(torch.bfloat16).float().eval()  # the card speaks of the weights as saved

    def logits(tokens: Tensor) -> Tensor:
        found: Tensor = rounded(tokens, use_cache=False).logits
        return found

    with atomic_folder(out, is_model) as folder:
        content = card(recipe, state, logits, tokenizer, count=count)
        rounded.to(torch.bfloat16).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        content["sha256"] = file_hash(folder / WEIGHTS)
        write_json(folder / CARD, content)
        write_model_page(folder, content, f"inscape microworld ({_size(recipe) or 'own recipe'})")
    print(glance(content), flush=True)


def card(
    recipe: Recipe, state: dict[str, Any], logits: Logits, tokenizer: Any, *, count: int
) -> dict[str, Any]:
    """What made the weights, and what they can do on held-out combinations."""
    skills = measure(logits, tokenizer, count=count)
    faults = measure_faults(logits, tokenizer)
    size = _size(recipe)
    arguments = f"--size {size}" if size else "with the recipe below"
    return {
        "command": f"python -m inscape_microworld.train {arguments} --out FOLDER",
        "recipe": asdict(recipe),
        "tokens_seen": state["seen"],
        "steps": state["step"],
        "training_minutes": round(state["seconds"] / 60, 1),
        "hardware": f"{torch.get_num_threads()} threads, "
        f"{torch.backends.cpu.get_cpu_capability()}, torch {torch.__version__}",
        "skills": {name: s.to_json() for name, s in skills.items()},
        "generator": fingerprint(),
        "faults": {
            name: {what: share.to_json() for what, share in rates.items()}
            for name, rates in faults.items()
        },
    }


def _size(recipe: Recipe) -> str | None:
    return next((name for name, known in RECIPES.items() if known == recipe), None)


def glance(content: dict[str, Any]) -> str:
    """A card in a few lines."""
    skills = ", ".join(f"{name} {s['share']:.3f}" for name, s in content["skills"].items())
    faults = [
        f"{name}: " + ", ".join(f"{what} {s['share']:.2f}" for what, s in rates.items())
        for name, rates in content["faults"].items()
    ]
    return "\n".join([f"{content['tokens_seen']} tokens", skills, *faults])


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--size", choices=sorted(RECIPES), default="s")
    parser.add_argument("--seed", type=int, default=Recipe.seed)
    parser.add_argument("--tokens", type=int, help="another length than the recipe's")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    keep_freed_memory()
    recipe = replace(RECIPES[arguments.size], seed=arguments.seed)
    if arguments.tokens:
        recipe = replace(recipe, tokens=arguments.tokens)
    train(recipe, arguments.out, device=arguments.device)


if __name__ == "__main__":
    run_module(main)
