"""What a feature promotes and suppresses directly, and which features write alike.

1. A feature writes W_dec[f] into the residual stream. Carried straight to the head, through the
   final norm's weight, it adds (W_dec[f] * weight) @ unembeddingᵀ to the logits, up to the norm's
   positive denominator, which does not change the order of the tokens.
2. A shift of all logits alike changes no probability: the mean over the vocabulary is taken off.
3. The largest and smallest entries are the promoted and suppressed tokens.

What later layers do with the direction is not in these figures. Work goes in blocks of features,
so that no [d_dict, vocab] or [d_dict, d_dict] table is held.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inscape.core import track

BLOCK_ENTRIES = 16_000_000  # logits or cosines held at once (64 MB)


@dataclass(frozen=True)
class HeadInputs:
    """What the logit effects are computed from: decoder rows [m, d_out]; unembedding
    [vocab, d_model] or None where the site does not write to the residual stream; the final
    norm's weight [d_model] or None behind that norm; centred says that the norm subtracts the mean
    over d_model; named [vocab] says which tokens the tokenizer has."""

    decoder: Tensor
    unembedding: Tensor | None
    norm_weight: Tensor | None
    _: KW_ONLY
    centred: bool = False
    named: Tensor | None = None


@dataclass
class LogitEffects:
    """Token ids and logits, [m, num_tokens] each, strongest first."""

    promoted: NDArray[np.int32]
    promoted_logits: NDArray[np.float32]
    suppressed: NDArray[np.int32]
    suppressed_logits: NDArray[np.float32]


def _blocks(num_features: int, width: int) -> list[slice]:
    step = max(1, BLOCK_ENTRIES // max(width, 1))
    return [slice(i, min(i + step, num_features)) for i in range(0, num_features, step)]


@torch.no_grad()
def logit_effects(head: HeadInputs, num_tokens: int) -> LogitEffects:
    """Direct effects of decoder rows on the logits; none where they have no direct path to them."""
    columns: list[list[NDArray[Any]]] = [[], [], [], []]
    if head.unembedding is None:
        ids = np.zeros((len(head.decoder), 0), np.int32)
        logits = np.zeros((len(head.decoder), 0), np.float32)
        return LogitEffects(ids, logits, ids, logits)
    rows = head.unembedding.float()
    rows = rows - rows.mean(dim=0)  # centring over the vocabulary, once for all features
    if head.norm_weight is not None:
        rows = rows * head.norm_weight.float()
    listed = torch.arange(len(rows), device=rows.device)
    if head.named is not None:
        listed = listed[head.named.to(rows.device)]
        rows = rows[listed]
    count = min(num_tokens, len(rows))
    blocks = _blocks(len(head.decoder), len(rows))
    for block in track(blocks, "logit effects", unit="blocks"):
        decoder = head.decoder[block].float()
        if head.centred:
            decoder = decoder - decoder.mean(dim=1, keepdim=True)
        found = decoder @ rows.T
        for largest, place in ((True, 0), (False, 2)):
            best = found.topk(count, dim=1, largest=largest)
            columns[place].append(listed[best.indices].to(torch.int32).cpu().numpy())
            columns[place + 1].append(best.values.cpu().numpy())
    return LogitEffects(*(np.concatenate(parts) for parts in columns))


@torch.no_grad()
def neighbours(
    decoder: Tensor, num_neighbours: int
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """The features with the most similar decoder direction, and the cosines, [m, num] each;
    a feature is not its own neighbour."""
    unit = torch.nn.functional.normalize(decoder.float(), dim=1)
    num_features = unit.shape[0]
    count = min(num_neighbours, num_features - 1)
    ids: list[NDArray[np.int32]] = []
    cosines: list[NDArray[np.float32]] = []
    for block in track(_blocks(num_features, num_features), "decoder neighbours", unit="blocks"):
        similar = unit[block] @ unit.T
        similar[torch.arange(similar.shape[0]), torch.arange(block.start, block.stop)] = -2.0
        best = similar.topk(count, dim=1)
        ids.append(best.indices.to(torch.int32).cpu().numpy())
        cosines.append(best.values.cpu().numpy())
    return np.concatenate(ids), np.concatenate(cosines)
