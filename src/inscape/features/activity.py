"""What features do in a prompt: where each is active, and what it does for the next token.

1. The prompt is read once. At each site that a dictionary writes a change of nought is added; the
   gradient with respect to it of the log-probability of the model's own next token says what each
   direction does for that answer.
2. The effect of a feature at a position is its activation · (W_dec[f] · gradient): what the answer
   would lose in nats, to first order, without it (attribution patching, Nanda 2023).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inscape.core import InputError
from inscape.dictionary import Dictionary
from inscape.model import Model, Prompt, Source


@dataclass(frozen=True)
class Activity:
    """The active features of a dictionary, [entries] each: the position in the prompt, the feature,
    its activation, and its effect on the answer there."""

    positions: NDArray[np.int64]
    features: NDArray[np.int64]
    values: NDArray[np.float32]
    effects: NDArray[np.float32]


@dataclass(frozen=True)
class PromptActivity:
    """A prompt under dictionaries (by name), and the model's log-probabilities [vocab] of the next
    token, of which `answer` is the likeliest."""

    prompt: Prompt
    log_probabilities: Tensor
    of: Mapping[str, Activity]

    @property
    def answer(self) -> int:
        """The token that effects are on."""
        return int(self.log_probabilities.argmax())


def prompt_activity(
    model: Model, dictionaries: Mapping[str, Dictionary], source: Source
) -> PromptActivity:
    """The active features at the positions that count.

    Raises:
        InputError: the prompt is empty, or nothing but special tokens.
    """
    prompt = model.prompt(source)
    if not any(prompt.words):
        raise InputError(
            "the prompt has no text that features could be active on",
            expected="at least one token that is not special",
        )
    counted, leaves = prompt.counted, dict[str, Tensor]()

    def leaf(site: str, x: Tensor) -> Tensor:
        leaves[site] = torch.zeros_like(x, requires_grad=True)
        return x + leaves[site]

    reads = dict.fromkeys(str(site) for d in dictionaries.values() for site in d.reads)
    writes = dict.fromkeys(str(site) for d in dictionaries.values() for site in d.writes)
    run = model.run(
        prompt,
        read=[*reads, "final"],
        edits={site: partial(leaf, site) for site in writes},
        grad=True,
    )
    logs = model.unembed(run["final"][0, -1]).log_softmax(-1)
    torch.autograd.backward(logs.max())
    places = counted.nonzero().flatten().cpu()
    found = {}
    for name, dictionary in dictionaries.items():
        parts = {site: run[site].detach()[0][counted].float() for site in dictionary.reads}
        code = dictionary.encode(dictionary.concat_sites(parts)).ragged()
        grads = [_gradient(leaves[site])[counted] for site in dictionary.writes]
        grad = torch.cat(grads, -1).to(dictionary.W_dec)
        wiring, decoder = dictionary.config.wiring, dictionary.W_dec
        effects = wiring.value_gradients(code, decoder, grad) * code.values
        active = (code.values != 0).cpu()
        found[name] = Activity(
            places[code.rows.cpu()[active]].numpy(),
            code.indices.cpu()[active].numpy(),
            code.values.float().cpu()[active].numpy(),
            effects.float().cpu()[active].numpy(),
        )
    return PromptActivity(prompt, logs.detach(), found)


def _gradient(leaf: Tensor) -> Tensor:
    return (torch.zeros_like(leaf) if leaf.grad is None else leaf.grad)[0]
