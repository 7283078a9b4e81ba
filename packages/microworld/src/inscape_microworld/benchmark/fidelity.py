"""Does the model stay itself with the dictionary in its stream?

Measured on documents of a fresh seed; the skills on combinations that training never showed.
"""

from __future__ import annotations

from functools import partial

from torch import Tensor

from inscape.core import Share
from inscape.intervention import fidelity, splice
from inscape_microworld.benchmark.row import Check, Row
from inscape_microworld.benchmark.system import System
from inscape_microworld.corpus import documents
from inscape_microworld.skills import measure, pad

DOMAINS = ("indirect_object", "word_problem", "landmark", "dish", "capital", "two_hop", "insect")
SPECIAL = ("lie", "truth")
SKILLS = (
    "indirect_object",
    "sum",
    "difference",
    "two_step",
    "landmark_city",
    "landmark_country",
    "landmark_city_described",
    "dish",
    "capital",
    "language",
    "two_hop",
    "insect",
    "lie",
    "truth",
)
FRESH_SEED = 7_000_001
MOST_DEAD = 0.20


def dictionary(system: System, *, seed: int = 0, num_documents: int = 600, count: int = 150) -> Row:
    """The row of the residual dictionary, spliced into the model at its site."""
    model, chosen = system.model, system.residual
    texts = [d.text for d in documents(FRESH_SEED + seed, num_documents)]
    rows = sorted((model.encode(text) for text in texts), key=len)
    batches = []
    for begin in range(0, len(rows), 64):
        part = rows[begin : begin + 64]
        tokens = pad(part)
        real = pad([[1] * len(row) for row in part]).bool()
        batches.append((tokens, real))
    figures = fidelity(model, chosen, batches, seed=seed)
    clean, spliced = _skills(system, count=count, seed=seed)
    kept = {name: spliced[name].value / max(clean[name].value, 1e-9) for name in clean}
    pooled = sum(s.count for s in spliced.values()) / sum(s.count for s in clean.values())
    alive = int((system.index.num_active > 0).sum())
    interval = figures.interval
    return Row(
        "dictionary",
        f"{chosen.name} at {system.site}: {chosen.d_dict} features, L0 ≤ d_model / 8",
        (
            Check("L0", figures.l0, f"≤ {model.d_model / 8:g}"),
            Check(
                "CE loss recovered (zero floor)",
                figures.loss_recovered_zero,
                "≥ 0.97",
                interval.get("loss_recovered_zero"),
            ),
            Check(
                "CE loss recovered (mean floor)",
                figures.loss_recovered_mean,
                "≥ 0.97",
                interval.get("loss_recovered_mean"),
            ),
            Check("extra CE (nats per token)", figures.extra_ce, "≤ 0.1", interval.get("extra_ce")),
            Check("FVU (centred)", figures.fvu, "≤ 0.10", interval.get("fvu")),
            Check("skills kept", pooled, "≥ 0.95"),
            Check("dead share", 1 - alive / chosen.d_dict, f"≤ {MOST_DEAD}"),
        ),
        samples=f"{figures.num_tokens} tokens; {count} held-out items a domain; "
        f"dead share over {system.index.num_considered} tokens",
        seed=seed,
        detail={
            "skills clean": {name: share.value for name, share in clean.items()},
            "skills spliced": {name: share.value for name, share in spliced.items()},
            "worst skill kept": min(kept.items(), key=lambda pair: pair[1]),
            "KL": figures.kl,
        },
    )


def _skills(system: System, *, count: int, seed: int) -> tuple[dict[str, Share], dict[str, Share]]:
    def run(tokens: Tensor, spliced: bool) -> Tensor:
        edits = splice(system.model, system.residual) if spliced else None
        logits = system.model.run(tokens, edits=edits, logits="all").logits
        if logits is None:
            raise RuntimeError("a run with logits returned none")
        return logits

    found = []
    for spliced in (False, True):
        skills = measure(
            partial(run, spliced=spliced),
            system.model.tokenizer,
            count=count,
            seed=seed,
            domains=DOMAINS,
            special=SPECIAL,
        )
        found.append({name: skills[name] for name in SKILLS})
    return found[0], found[1]
