"""What features without a label do, in words: the tokens that their writing promotes.

A neuron has no name where nobody has indexed it. From the middle of the layers on a node gets a
hint: of the hundred likeliest next tokens at its position those that what it writes there raises
most, seen through the last norm's weights and the head (the logit lens of one feature).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from inscape.attribution.data import Node, is_head
from inscape.attribution.sources import Reading, Sources
from inscape.core import LabelOf, quoted

NUM_TOKENS, NUM_LIKELY = 3, 100


@torch.no_grad()
def add_hints(sources: Sources, nodes: Sequence[Node], names: LabelOf) -> None:
    """Sets the hint of every feature that is a node and has no label. nodes: of the whole graph,
    features first."""
    reading = sources.reading
    middle = reading.model.num_layers // 2
    by_place: dict[tuple[int, int], list[int]] = defaultdict(list)  # position, basis
    for number, (basis, part) in enumerate(zip(reading.bases, sources.features, strict=True)):
        for n, position in enumerate(part.position.tolist()):
            node = nodes[sources.starts[number] + n]
            unnamed = names(node.dictionary or "", node.feature) is None and not is_head(node)
            if unnamed and basis.layer >= middle:
                by_place[position, number].append(n)
    tokens: dict[int, Tensor] = {}
    for (position, number), some in sorted(by_place.items()):
        if position not in tokens:
            tokens = {position: likely(reading, position)}
        part = sources.features[number].take(torch.tensor(some, device=reading.final.device))
        written = part.value[:, None] * reading.decoders(
            number, part, reading.bases[number].writes[-1]
        )
        for n, found in zip(some, promoted(reading, written, tokens[position]), strict=True):
            said = ", ".join(quoted(reading.model.token_text(token)) for token in found)
            nodes[sources.starts[number] + n].hint = f"promotes {said}" if said else ""


def likely(reading: Reading, position: int) -> Int[Tensor, " token"]:
    """The likeliest next tokens at a position."""
    logits = reading.model.unembed(reading.final[position])
    known = reading.model.vocabulary_mask.to(logits.device)
    return logits.masked_fill(~known, -torch.inf).topk(min(NUM_LIKELY, int(known.sum()))).indices


def promoted(
    reading: Reading, written: Float[Tensor, "n d_model"], tokens: Int[Tensor, " token"]
) -> list[list[int]]:
    """Of some tokens those that what is written raises most, above the mean of them."""
    model = reading.model
    raised = written * model.final_norm_weight().float() @ model.unembedding()[tokens].float().T
    raised = raised - raised.mean(1, keepdim=True)
    best = raised.topk(min(NUM_TOKENS, len(tokens)))
    return [
        [int(tokens[i]) for i, value in zip(row, values, strict=True) if value > 0]
        for row, values in zip(best.indices.tolist(), best.values.tolist(), strict=True)
    ]
