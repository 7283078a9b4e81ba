"""Sets of features for a mistake that many take part in: a mask over all features, learned.

1. Every feature of every dictionary has a fraction a in [0, 1] that is taken away wherever it is
   active, 0 at first (see outcomes.py).
2. Adam lowers the cross-entropy of the correct answers, on failures and on controls, plus a price
   times Σ a; after each step the fractions are put back into [0, 1].
3. The price rises from PRICES[0] to PRICES[1] by a constant factor, so that the set shrinks.
   Noise on the fractions in use keeps solutions that hold by a balance of halves away.
4. Every PROPOSE_EVERY steps the features with a fraction above one half are proposed as a set, to
   be judged by real ablation on prompts that the mask was not learned on.

A mask over thousands of features can talk a model into nearly anything, so a proposal proves
nothing by itself: see search.py for what it has to pass. (Learned masks: De Cao et al. 2020, "How
do decisions emerge across layers"; Cao et al. 2021, "Low-complexity probing via finding
subnetworks".)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from inscape.core import seeded, track
from inscape.diagnosis.cases import Batch
from inscape.diagnosis.outcomes import Member, Removal
from inscape.diagnosis.study import Study
from inscape.dictionary import Dictionary
from inscape.intervention import hooks
from inscape.model import Inputs, Model

PRICES = (0.003, 0.1)
STEPS = 90
PROPOSE_EVERY = 10
CASES_A_STEP, FEWEST_CASES = 32, 8
TOKENS_A_STEP = 1024
"""Of long prompts fewer are taken a step, so that it costs what it does for short ones."""
RATE = 0.05
NOISE = 0.25


def learned_sets(
    study: Study, controls: Batch | None, *, max_features: int
) -> Iterator[list[Member]]:
    """Sets that restore the failures' correct answers and keep the controls', shrinking.

    Sets of more than `max_features` are passed over.
    """
    generator = torch.Generator().manual_seed(seeded(study.seed, "mask") % 2**63)
    model, dictionaries = study.model, study.dictionaries
    taken = [torch.zeros(d.d_dict, device=model.device, requires_grad=True) for d in dictionaries]
    optimiser = torch.optim.Adam(taken, lr=RATE, betas=(0.8, 0.95))
    growth = (PRICES[1] / PRICES[0]) ** (1 / STEPS)
    for step in track(range(STEPS), "learning a mask"):
        optimiser.zero_grad()
        for batch in (study.failures, controls):
            if batch is not None and len(batch):
                part = _draw(batch, generator)
                logits = masked_logits(
                    model, dictionaries, [_noisy(a, generator) for a in taken], part
                )
                loss = functional.cross_entropy(logits, part.correct.to(logits.device))
                torch.autograd.backward(loss)
        price = PRICES[0] * growth**step
        torch.autograd.backward(price * torch.stack([a.sum() for a in taken]).sum())
        optimiser.step()
        with torch.no_grad():
            for a in taken:
                a.clamp_(0, 1)
        if step % PROPOSE_EVERY == PROPOSE_EVERY - 1:
            members = _members(dictionaries, taken)
            if len(members) <= max_features:
                yield members


def masked_logits(
    model: Model, dictionaries: Sequence[Dictionary], taken: Sequence[Tensor], batch: Batch
) -> Float[Tensor, "case vocab"]:
    """Logits where the answers part, with fractions [d_dict] of each dictionary taken away."""
    tokens, lengths = batch.stems
    counted, which = batch.counted[batch.first, : tokens.shape[1]], torch.zeros(len(batch)).long()
    steps = [Removal(d, a[None], which) for d, a in zip(dictionaries, taken, strict=True)]
    given = Inputs(tokens.to(model.device), counted=counted)
    final = model.run(given, read=["final"], edits=hooks(model, steps), grad=True)["final"]
    rows = torch.arange(len(batch), device=final.device)
    return batch.visible(model.unembed(final[rows, (lengths - 1).to(final.device)]).float())


def _draw(batch: Batch, generator: torch.Generator) -> Batch:
    fitting = max(FEWEST_CASES, TOKENS_A_STEP // int(batch.stems[1].max()))
    cases = torch.randperm(len(batch), generator=generator)[: min(fitting, CASES_A_STEP)]
    return batch.cases(cases)


def _noisy(fraction: Tensor, generator: torch.Generator) -> Tensor:
    """The fraction with noise; its derivative is that of the fraction itself."""
    noise = (2 * torch.rand(fraction.shape, generator=generator) - 1).to(fraction.device) * NOISE
    used = (fraction.detach() + noise * (fraction.detach() > 0.01)).clamp(0, 1)
    return fraction + (used - fraction.detach())


def _members(dictionaries: Sequence[Dictionary], fractions: Sequence[Tensor]) -> list[Member]:
    """The features with a fraction above one half, the greatest first."""
    found = [
        (float(a[f]), dictionary, int(f))
        for dictionary, a in zip(dictionaries, (a.detach() for a in fractions), strict=True)
        for f in (a > 0.5).nonzero().flatten()
    ]
    return [(dictionary, f) for _, dictionary, f in sorted(found, key=lambda e: -e[0])]
