"""What a traced prompt is made of: active features, what no node stands for, token embeddings.

1. One clean pass reads every MLP's output, what each basis reads, the embedding and the final
   norm's output.
2. Transcoders and dictionaries of the stream encode what they read: the active features and their
   activations. None is looked for at positions that do not count (special and template tokens,
   attention sinks): dictionaries are trained without them. Neurons are looked at everywhere, heads
   but at a beginning-of-text token.
3. Of all of them those that the budget allows are nodes (see ranking.py).
4. What the nodes write is laid out for each site as one [pos, slot, d_model] block, so that one
   batched product contracts a gradient with all of them. A feature writes activation · W_dec, that
   of a cross-layer transcoder to its layer and all that follow, with a row of its own for each.
   All that neurons write at a beginning-of-text token is of that token's own node: nothing else
   reaches it, and it says nothing of the prompt.
5. At each MLP and position one node stands for the features that are no nodes ("rest"), and one for
   what a transcoder misses of the MLP's output, decoder bias and linear skip taken off ("error").
   Where nothing is encoded the whole output is error.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from inscape.attribution.bases import Basis, head_values
from inscape.attribution.memory import Grad, choose
from inscape.core import ModelError
from inscape.model import Model, Prompt

EMBED = "embed"
Left = Literal["error", "rest"]
_ROWS = 8192  # decoder rows at a time


class Active(NamedTuple):
    """Features of one basis, each where it is active. Where it is, its activation is its
    pre-activation."""

    position: Int[Tensor, " feature"]
    feature: Int[Tensor, " feature"]
    value: Float[Tensor, " feature"]

    def take(self, mask: Tensor) -> Active:
        """Those of a mask, or of their numbers."""
        return Active(self.position[mask], self.feature[mask], self.value[mask])

    @property
    def num(self) -> int:
        return int(self.position.shape[0])


@dataclass(frozen=True)
class Reading:
    """A prompt as the bases read it.

    inputs: what is read, by site [pos, width]. outputs: of the MLPs, by layer [pos, d_model].
    active: by basis; None for neurons, of which all are. final [pos, d_model]: the final norm's
    output; logits [vocab]: at the last position. encoded [pos]: where dictionaries encode. grad:
    how graphs of gradients are kept (memory.py).
    """

    model: Model
    prompt: Prompt
    bases: Sequence[Basis]
    inputs: dict[str, Float[Tensor, "pos width"]]
    outputs: list[Float[Tensor, "pos d_model"]]
    active: list[Active | None]
    embedding: Float[Tensor, "pos d_model"]
    final: Float[Tensor, "pos d_model"]
    logits: Float[Tensor, " vocab"]
    encoded: Bool[Tensor, " pos"]
    grad: Grad = True

    @property
    def begins(self) -> bool:
        """Whether it begins with a beginning-of-text token."""
        return not bool(self.encoded[0])

    def of(self, layer: int) -> list[int]:
        """Numbers of the bases whose features write an MLP's output."""
        site = f"mlp_out.{layer}"
        return [n for n, b in enumerate(self.bases) if site in b.writes and not b.checkpoint]

    def encoders(self, number: int, part: Active) -> Float[Tensor, "feature width"]:
        """What is read for each feature of a basis (see `Basis`)."""
        basis = self.bases[number]
        return basis.encoders(part.feature, self.inputs[basis.read][part.position])

    def decoders(self, number: int, part: Active, site: str) -> Float[Tensor, "feature d_model"]:
        """What each feature of a basis writes at a site, for an activation of 1."""
        basis = self.bases[number]
        x = self.inputs[basis.read][part.position] if basis.kind == "heads" else None
        return basis.decoders(part.feature, site, x)

    def skips(self) -> dict[int, Float[Tensor, "d_model d_model"]]:
        """Linear skips of transcoders, by layer."""
        found = {}
        for basis in self.bases:
            if basis.kind == "transcoder" and basis.dictionary is not None:
                skip = basis.dictionary.skip_at(f"mlp_out.{basis.layer}")
                if skip is not None:
                    found[basis.layer] = skip
        return found


@torch.no_grad()
def read(
    model: Model, bases: Sequence[Basis], prompt: Prompt, memory: float | None = None
) -> Reading:
    """Runs the prompt once (steps 1 and 2). memory: most GB above the model; InputError where that
    is too little."""
    grad = choose(model, len(prompt), memory)
    written = [f"mlp_out.{layer}" for layer in range(model.num_layers)]
    sites = [EMBED, "final", *written, *(basis.read for basis in bases)]
    run = model.run(prompt, read=list(dict.fromkeys(sites)), logits="last")
    assert run.logits is not None
    check_finite(model, {site: run[site] for site in (EMBED, *written, "final")})
    inputs = {basis.read: run[basis.read][0].float() for basis in bases}
    encoded = prompt.counted.to(model.device)
    return Reading(
        model=model,
        prompt=prompt,
        bases=bases,
        inputs=inputs,
        outputs=[run[site][0].float() for site in written],
        active=active_features(bases, inputs, encoded),
        embedding=run[EMBED][0].float(),
        final=run["final"][0].float(),
        logits=run.logits[0, -1].float(),
        encoded=encoded,
        grad=grad,
    )


def check_logits(model: Model, logits: Tensor) -> None:
    """ModelError where logits are not finite."""
    if not bool(logits.isfinite().all()):
        raise ModelError(
            f"the logits of {model.name} are not finite",
            next_step="check the model's weights, or open it in float32",
        )


def check_finite(model: Model, values: Mapping[str, Tensor]) -> None:
    """Refuses values that are not finite, or so large that their squares, of which norms are made,
    are not.

    Raises:
        ModelError: names the first site that has some.
    """
    for site, value in values.items():
        if not bool(value.float().square().sum(-1).isfinite().all()):
            finite = bool(value.isfinite().all())
            raise ModelError(
                f"{site} of {model.name} is {'too large' if finite else 'not finite'} on this "
                "prompt",
                next_step="check the model's weights, or open it in float32",
            )


def active_features(
    bases: Sequence[Basis], inputs: Mapping[str, Tensor], encoded: Bool[Tensor, " pos"]
) -> list[Active | None]:
    """What dictionaries encode of what they read, and what heads give, by basis; None for
    neurons."""
    found: dict[int, Active] = {}
    for dictionary in {id(b.dictionary): b.dictionary for b in bases if b.dictionary}.values():
        own = [n for n, basis in enumerate(bases) if basis.dictionary is dictionary]
        code = dictionary.encode(torch.cat([inputs[bases[n].read] for n in own], -1))
        position, slot = torch.nonzero(code.active & encoded[:, None], as_tuple=True)
        feature, value = code.indices[position, slot].long(), code.values[position, slot].float()
        every, owner = Active(position, feature, value), feature // (dictionary.d_dict // len(own))
        found |= {n: every.take(owner == number) for number, n in enumerate(own)}
    for n, basis in enumerate(bases):
        if basis.kind == "heads":
            given = head_values(inputs[basis.read], basis.model.num_heads(basis.layer)).norm(dim=-1)
            given[0] *= encoded[0]  # at a beginning-of-text token nothing is said of the prompt
            position, head = torch.nonzero(given, as_tuple=True)
            found[n] = Active(position, head, given[position, head])
    return [found.get(n) for n in range(len(bases))]


def neuron_values(x: Float[Tensor, "pos width"], at: Int[Tensor, " n"]) -> Active:
    """Neurons as features: `at` numbers the entries of x; the positive part of neuron i is feature
    i, the negative width + i."""
    position, neuron = at // x.shape[1], at % x.shape[1]
    value = x[position, neuron]
    return Active(position, neuron + x.shape[1] * (value < 0), value.abs())


@dataclass(frozen=True)
class Block:
    """The vectors written at one site. Node numbers are -1 in empty slots."""

    vectors: Float[Tensor, "pos slot d_model"]
    nodes: Int[Tensor, "pos slot"]


@dataclass(frozen=True)
class Other:
    """What no feature stands for, at one MLP: a node at each position. norm [pos]: its size."""

    kind: Left
    layer: int
    norm: Float[Tensor, " pos"]


@dataclass(frozen=True)
class Sources:
    """All source nodes of a prompt: features by basis and position, then `others`, then
    embeddings.

    features: by basis. blocks: by the site where they are written.
    """

    reading: Reading
    features: list[Active]
    others: list[Other]
    blocks: dict[str, Block]
    starts: list[int]

    @property
    def num_positions(self) -> int:
        return len(self.reading.prompt)

    @property
    def num_features(self) -> int:
        return self.starts[-1]

    @property
    def num_nodes(self) -> int:
        return self.num_features + (len(self.others) + 1) * self.num_positions


@torch.no_grad()
def lay_out(reading: Reading, features: list[Active]) -> Sources:
    """The nodes and what they write (steps 4 and 5)."""
    num_pos = len(reading.prompt)
    starts = [0, *np.cumsum([part.num for part in features]).tolist()]
    others: list[Other] = []
    left: dict[str, list[tuple[Tensor, Tensor]]] = {}
    every = torch.arange(num_pos, device=reading.embedding.device)
    for layer, output in enumerate(reading.outputs):
        for kind, vectors in _left(reading, features, layer, output).items():
            nodes = starts[-1] + len(others) * num_pos + every
            left.setdefault(f"mlp_out.{layer}", []).append((nodes, vectors))
            others.append(Other(kind, layer, vectors.norm(dim=-1)))
    tokens = starts[-1] + len(others) * num_pos + every
    if reading.begins:
        for layer in (basis.layer for basis in reading.bases if basis.kind == "neurons"):
            left[f"mlp_out.{layer}"][0][0][0] = tokens[0]
    blocks: dict[str, Block] = {}
    for layer in range(len(reading.outputs)):
        site = f"mlp_out.{layer}"
        blocks[site] = _block(reading, features, starts, reading.of(layer), site, left[site])
    for number, basis in enumerate(reading.bases):
        if basis.checkpoint and features[number].num:
            blocks[basis.read] = _block(reading, features, starts, [number], basis.read, [])
    blocks[EMBED] = Block(reading.embedding[:, None], tokens[:, None])
    return Sources(reading, features, others, blocks, starts)


def _left(
    reading: Reading, features: list[Active], layer: int, output: Tensor
) -> dict[Left, Float[Tensor, "pos d_model"]]:
    """What a transcoder misses of an MLP's output, and what features write that are no nodes."""
    site, numbers = f"mlp_out.{layer}", reading.of(layer)
    if not numbers:
        return {"error": output}
    chosen = torch.stack([_written(reading, n, features[n], site) for n in numbers]).sum(0)
    first = reading.bases[numbers[-1]]
    if first.kind == "neurons":
        constant = _gain(reading, layer)[:, None] * first.weights.b_dec
        return {"rest": output - chosen - constant}
    dictionary = first.dictionary
    assert dictionary is not None
    left = []
    for n in numbers:
        active, kept = reading.active[n], features[n]
        assert active is not None
        if kept.num < active.num:
            left.append((n, _without(active, kept)))
    known = reading.encoded[:, None] * dictionary.base_at(site, reading.inputs[first.read])
    error = output - known - chosen
    if not left:
        return {"error": error}
    rest = torch.stack([_written(reading, n, part, site) for n, part in left]).sum(0)
    return {"error": error - rest, "rest": rest}


def _without(active: Active, kept: Active) -> Active:
    size = int(active.feature.max()) + 1
    there = torch.isin(active.position * size + active.feature, kept.position * size + kept.feature)
    return active.take(~there)


def _gain(reading: Reading, layer: int) -> Float[Tensor, " pos"]:
    """What a norm behind the MLP multiplies with at each position; ones without such a norm."""
    output = reading.outputs[layer]
    if reading.model.structure.blocks[layer].mlp_post_norm is None:
        return output.new_ones(len(output))
    weights = reading.bases[reading.of(layer)[0]].weights
    width = weights.config.d_in
    plain = reading.inputs[f"mlp_act.{layer}"] @ weights.W_dec[:width].float() + weights.b_dec
    return (output * plain).sum(-1) / plain.square().sum(-1).clamp_min(1e-30)


def _vectors(reading: Reading, number: int, part: Active, site: str) -> Tensor:
    """What each feature writes [feature, d_model]."""
    basis = reading.bases[number]
    value = part.value
    if basis.kind == "neurons":
        value = value * _gain(reading, basis.layer)[part.position]
    return value[:, None] * reading.decoders(number, part, site)


def _written(reading: Reading, number: int, part: Active, site: str) -> Tensor:
    """What the features write together [pos, d_model]."""
    total = torch.zeros_like(reading.embedding)
    for first in range(0, part.num, _ROWS):
        some = Active(*(column[first : first + _ROWS] for column in part))
        total.index_add_(0, some.position, _vectors(reading, number, some, site))
    return total


def _block(
    reading: Reading,
    features: list[Active],
    starts: Sequence[int],
    numbers: Iterable[int],
    site: str,
    extra: Sequence[tuple[Tensor, Tensor]],
) -> Block:
    """What the features of some bases write at a site, and `extra`: nodes [pos] and their
    vectors."""
    num_pos, width = reading.inputs.get(site, reading.embedding).shape
    device = reading.embedding.device
    numbers = list(numbers)
    vectors = [_vectors(reading, n, features[n], site) for n in numbers]
    nodes = [starts[n] + torch.arange(features[n].num, device=device) for n in numbers]
    empty = torch.zeros(0, dtype=torch.long, device=device)
    position = torch.cat([features[n].position for n in numbers] or [empty])
    order = position.argsort(stable=True)
    position = position[order]
    count = torch.bincount(position, minlength=num_pos)
    slots = int(count.max()) if len(position) else 0
    slot = torch.arange(len(position), device=device) - (torch.cumsum(count, 0) - count)[position]
    laid = torch.zeros(num_pos, slots + len(extra), width, device=device)
    node = torch.full((num_pos, slots + len(extra)), -1, dtype=torch.long, device=device)
    if len(position):
        laid[position, slot] = torch.cat(vectors)[order]
        node[position, slot] = torch.cat(nodes)[order]
    for place, (numbered, rest) in enumerate(extra, slots):
        laid[:, place] = rest
        node[:, place] = numbered
    return Block(laid, node)
