"""Sets of features for a mistake that many take part in: a mask over all features, learned.

1. Every feature of every dictionary has a share a in [0, 1] that is taken away wherever it is
   active, 0 at first: x − Σ a·z·W_dec[f] at the dictionary's site_out. The codes z are those of the
   very pass and held constant under the derivative.
2. Adam lowers the cross-entropy of the right answers, on failures and on controls, plus a price
   times Σ a; after each step the shares are put back into [0, 1].
3. The price rises from PRICES[0] to PRICES[1] by a constant factor, so that the set shrinks.
   Noise on the shares in use keeps solutions that hold by a balance of halves away.
4. Every PROPOSE_EVERY steps the features with a share above one half are proposed as a set, to be
   judged by real ablation on prompts that the mask was not learned on.

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
from inscape.diagnosis.candidates import Member
from inscape.diagnosis.cases import Batch
from inscape.dictionary import Dictionary
from inscape.intervention import Intervention, hooks
from inscape.model import Model, Pass

PRICES = (0.003, 0.1)
STEPS = 90
PROPOSE_EVERY = 10
CASES_A_STEP, FEWEST_CASES = 32, 8
TOKENS_A_STEP = 1024
"""Of long prompts fewer are taken a step, so that it costs what it does for short ones."""
RATE = 0.05
NOISE = 0.25


def learned_sets(
    model: Model,
    dictionaries: Sequence[Dictionary],
    failures: Batch,
    controls: Batch | None,
    *,
    max_features: int,
    seed: int = 0,
) -> Iterator[list[Member]]:
    """Sets that restore the failures' right answers and keep the controls', shrinking.

    Sets of more than `max_features` are passed over.
    """
    generator = torch.Generator().manual_seed(seeded(seed, "mask") % 2**63)
    device = model.device
    shares = [torch.zeros(d.d_dict, device=device, requires_grad=True) for d in dictionaries]
    optimiser = torch.optim.Adam(shares, lr=RATE, betas=(0.8, 0.95))
    growth = (PRICES[1] / PRICES[0]) ** (1 / STEPS)
    for step in track(range(STEPS), "learning a mask"):
        optimiser.zero_grad()
        for batch in (failures, controls):
            if batch is not None and len(batch):
                part = _draw(batch, generator)
                logits = masked_logits(
                    model, dictionaries, [_noisy(a, generator) for a in shares], part
                )
                loss = functional.cross_entropy(logits, part.correct.to(logits.device))
                torch.autograd.backward(loss)
        price = PRICES[0] * growth**step
        torch.autograd.backward(price * torch.stack([a.sum() for a in shares]).sum())
        optimiser.step()
        with torch.no_grad():
            for a in shares:
                a.clamp_(0, 1)
        if step % PROPOSE_EVERY == PROPOSE_EVERY - 1:
            members = _members(dictionaries, shares)
            if len(members) <= max_features:
                yield members


def masked_logits(
    model: Model, dictionaries: Sequence[Dictionary], shares: Sequence[Tensor], batch: Batch
) -> Float[Tensor, "case vocab"]:
    """Logits after each case's last token, with the shares taken away where tokens count."""
    steps = [_Removal(*pair) for pair in zip(dictionaries, shares, strict=True)]
    tokens = batch.tokens.to(model.device)
    edits = hooks(model, steps)
    final = model.run(tokens, read=["final"], edits=edits, grad=True)["final"]
    rows = torch.arange(len(batch), device=final.device)
    return model.unembed(final[rows, (batch.lengths - 1).to(final.device)]).float()


class _Removal(Intervention):
    def __init__(self, dictionary: Dictionary, taken: Tensor) -> None:
        super().__init__(dictionary)
        self.taken = taken

    def change(self, site: str, x: Tensor, now: Pass) -> Tensor:
        code = self.code(now)
        k = code.indices.shape[-1]
        indices = code.indices.to(x.device, torch.long)
        values = code.values.reshape(*x.shape[:2], k).to(x.device)
        values = values * now.here.to(x.device)[..., None]
        taken = functional.embedding_bag(
            indices,
            self.dictionary.decoder_at(site).to(x.device),
            mode="sum",
            per_sample_weights=values.reshape(-1, k) * self.taken[indices],
        )
        return x - taken.reshape(x.shape).to(x.dtype)


def _draw(batch: Batch, generator: torch.Generator) -> Batch:
    fitting = max(FEWEST_CASES, TOKENS_A_STEP // int(batch.lengths.max()))
    rows = torch.randperm(len(batch), generator=generator)[: min(fitting, CASES_A_STEP)]
    longest = int(batch.lengths[rows].max())
    return Batch(batch.tokens[rows, :longest], batch.lengths[rows], batch.correct[rows])


def _noisy(share: Tensor, generator: torch.Generator) -> Tensor:
    """The share with noise; its derivative is that of the share itself."""
    noise = (2 * torch.rand(share.shape, generator=generator) - 1).to(share.device) * NOISE
    used = (share.detach() + noise * (share.detach() > 0.01)).clamp(0, 1)
    return share + (used - share.detach())


def _members(dictionaries: Sequence[Dictionary], shares: Sequence[Tensor]) -> list[Member]:
    """The features with a share above one half, the greatest first."""
    found = [
        (float(a[f]), dictionary, int(f))
        for dictionary, a in zip(dictionaries, (a.detach() for a in shares), strict=True)
        for f in (a > 0.5).nonzero().flatten()
    ]
    return [(dictionary, f) for _, dictionary, f in sorted(found, key=lambda e: -e[0])]
