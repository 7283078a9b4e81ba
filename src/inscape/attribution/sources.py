"""What a traced prompt is made of: active features, MLP errors, token embeddings.

1. One clean pass reads every MLP's output, what its transcoder reads (the MLP's input, or the
   stream before its norm), the embedding and the final norm's output.
2. Each transcoder encodes what it reads: the active features and their activations.
   None is looked for at positions that do not count (special and template tokens, attention
   sinks): dictionaries are trained without them.
3. A feature writes activation · W_dec, that of a cross-layer transcoder to its layer and all that
   follow, with a row of its own for each; the error is the MLP's output less the transcoder's
   reconstruction (decoder bias and linear skip included). Where nothing is encoded (a layer without
   a transcoder, a beginning-of-text token) the whole output is error.
4. Per site, the vectors written at each position are laid out as one [pos, slot, d_model] block,
   so that one batched product contracts a gradient with all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from inscape.core import InputError, all_of, short
from inscape.dictionary import Dictionary
from inscape.model import Model, Prompt

EMBEDDING = -1


@dataclass(frozen=True)
class Block:
    """The vectors written at one site. Node numbers are -1 in empty slots."""

    vectors: Float[Tensor, "pos slot d_model"]
    nodes: Int[Tensor, "pos slot"]


@dataclass(frozen=True)
class Sources:
    """All source nodes of a prompt, numbered features, errors, embeddings.

    Features are sorted by layer, then position. `blocks` maps a layer (or EMBEDDING) to the
    vectors written there; `final` [d_model] is the last position's final-norm output. `encoded`:
    positions that the transcoders encode; `skips`: linear skips [d_model, d_model] by layer;
    `reads`: the site that each layer's transcoder reads; `gated`: what those with a GLU read.
    """

    prompt: Prompt
    layer: Int[Tensor, " feature"]
    position: Int[Tensor, " feature"]
    feature: Int[Tensor, " feature"]
    activation: Float[Tensor, " feature"]
    error_norm: Float[Tensor, "layer pos"]
    embedding_norm: Float[Tensor, " pos"]
    blocks: dict[int, Block]
    final: Float[Tensor, " d_model"]
    logits: Float[Tensor, " vocab"]
    encoded: Bool[Tensor, " pos"]
    skips: dict[int, Float[Tensor, "d_model d_model"]]
    reads: dict[int, str]
    gated: dict[int, Float[Tensor, "pos d_model"]]

    @property
    def num_features(self) -> int:
        return int(self.layer.shape[0])

    @property
    def num_positions(self) -> int:
        return len(self.prompt)

    @property
    def num_layers(self) -> int:
        return int(self.error_norm.shape[0])

    @property
    def num_nodes(self) -> int:
        return self.num_features + (self.num_layers + 1) * self.num_positions


def check_transcoders(model: Model, transcoders: Mapping[int, Dictionary]) -> None:
    """InputError without transcoders, and where one is not that of its layer's MLP."""
    if not isinstance(transcoders, Mapping):
        raise InputError(
            f"transcoders: {short(transcoders)}", expected="each under the layer of its MLP"
        )
    all_of(Dictionary, transcoders.values(), "a transcoder")
    if not transcoders:
        raise InputError(
            "there are no transcoders: every MLP would count as error",
            expected="transcoders mlp_in.L to mlp_out.L of some layers",
            next_step="train them with inscape build, or bring others in with inscape import",
        )
    for layer, dictionary in transcoders.items():
        own = layers_of(dictionary)
        fits = layer in own and all(transcoders.get(n) is dictionary for n in own)
        if not fits or not 0 <= layer < model.num_layers:
            raise InputError(
                f"dictionary {dictionary.name!r} reads {dictionary.config.site_in} and writes "
                f"{dictionary.config.site_out}",
                expected=f"a transcoder from mlp_in.{layer} or resid_mid.{layer} to "
                f"mlp_out.{layer} of a model with {model.num_layers} layers",
                next_step="pass transcoders under the layer that each was trained on, cross-layer "
                "ones under all of their layers",
            )
        if dictionary.config.normalize != "none":
            raise InputError(
                f"dictionary {dictionary.name!r} normalises each token it reads "
                f"({dictionary.config.normalize})",
                expected="a transcoder that reads the MLP's input as it is",
            )


def layers_of(dictionary: Dictionary) -> list[int]:
    """The layers whose MLPs a dictionary is the transcoder of: one, or those of a cross-layer
    transcoder; none where it reads or writes anything else."""
    found = []
    for read, written in zip(dictionary.reads, dictionary.writes, strict=False):
        layer = written.removeprefix("mlp_out.")
        if not layer.isdecimal() or read not in (f"mlp_in.{layer}", f"resid_mid.{layer}"):
            return []
        found.append(int(layer))
    return found if len(dictionary.reads) == len(dictionary.writes) else []


@torch.no_grad()
def gather(model: Model, transcoders: Mapping[int, Dictionary], prompt: Prompt) -> Sources:
    """Runs the prompt once and lays out its sources (steps 1 to 4)."""
    tokens, layers = prompt.tokens, range(model.num_layers)
    reads = {i: d.reads[d.writes.index(f"mlp_out.{i}")] for i, d in transcoders.items()}
    written = [f"mlp_out.{i}" for i in layers]
    run = model.run(prompt, read=["embed", "final", *written, *reads.values()], logits="last")
    assert run.logits is not None
    encoded = prompt.counted
    inputs = {i: run[site][0].float() for i, site in reads.items()}
    active = _active(transcoders, inputs, encoded)
    counts = {i: len(position) for i, (position, _, _) in active.items()}
    starts = dict(zip(counts, np.cumsum([0, *counts.values()]).tolist(), strict=False))
    num_features, num_pos = sum(counts.values()), int(tokens.shape[1])
    blocks: dict[int, Block] = {}
    error_norm = torch.zeros(model.num_layers, num_pos, device=tokens.device)
    for i in layers:
        rest = run[f"mlp_out.{i}"][0].float()
        nodes = num_features + i * num_pos + torch.arange(num_pos, device=tokens.device)
        if i in transcoders:
            rest = rest - encoded[:, None] * transcoders[i].base_at(f"mlp_out.{i}", inputs[i])
            here = [n for n in active if n <= i and transcoders[n] is transcoders[i]]
            blocks[i] = _block(transcoders[i], i, {n: active[n] for n in here}, starts, rest, nodes)
        else:
            blocks[i] = Block(rest[:, None], nodes[:, None])
        error_norm[i] = blocks[i].vectors[:, -1].norm(dim=-1)
    embedding = run["embed"][0].float()
    start = num_features + model.num_layers * num_pos
    nodes = start + torch.arange(num_pos, device=tokens.device)
    blocks[EMBEDDING] = Block(embedding[:, None], nodes[:, None])
    columns = [_concat([part[n] for part in active.values()], tokens.device) for n in range(3)]
    number = torch.tensor(list(counts.values()), device=tokens.device, dtype=torch.long)
    skips = {i: d.skip_at(f"mlp_out.{i}") for i, d in transcoders.items()}
    return Sources(
        prompt=prompt,
        layer=torch.tensor(list(counts), device=tokens.device).long().repeat_interleave(number),
        position=columns[0].long(),
        feature=columns[1].long(),
        activation=columns[2].float(),
        error_norm=error_norm,
        embedding_norm=embedding.norm(dim=-1),
        blocks=blocks,
        final=run["final"][0, -1].float(),
        logits=run.logits[0, -1].float(),
        encoded=encoded,
        skips={i: skip for i, skip in skips.items() if skip is not None},
        reads=reads,
        gated={i: inputs[i] for i, d in transcoders.items() if d.W_glu is not None},
    )


Active = tuple[Tensor, Tensor, Tensor]
"""Positions, features and activations of what is active, by position. Where a feature is active its
activation is its pre-activation."""


def _active(
    transcoders: Mapping[int, Dictionary],
    inputs: Mapping[int, Float[Tensor, "pos d_model"]],
    encoded: Bool[Tensor, " pos"],
) -> dict[int, Active]:
    """By layer."""
    found: dict[int, Active] = {}
    for dictionary in {id(d): d for d in transcoders.values()}.values():
        layers = [i for i, d in transcoders.items() if d is dictionary]
        code = dictionary.encode(torch.cat([inputs[i] for i in layers], -1))
        position, slot = torch.nonzero(code.active & encoded[:, None], as_tuple=True)
        feature, value = code.indices[position, slot].long(), code.values[position, slot].float()
        owner = feature // (dictionary.d_dict // len(layers))
        for number, layer in enumerate(layers):
            own = owner == number
            found[layer] = position[own], feature[own], value[own]
    return dict(sorted(found.items()))


def _block(
    dictionary: Dictionary,
    layer: int,
    active: Mapping[int, Active],
    starts: Mapping[int, int],
    written: Tensor,
    error_nodes: Tensor,
) -> Block:
    """The vectors of the features that write a layer, and of its errors; `written` is the MLP's
    output less decoder bias and skip."""
    parts = [torch.cat(part) for part in zip(*active.values(), strict=True)]
    numbers = [
        starts[n] + torch.arange(len(a[0]), device=written.device) for n, a in active.items()
    ]
    order = parts[0].argsort(stable=True)
    position, feature, value = (part[order] for part in parts)
    num_pos, d_model = written.shape
    count = torch.bincount(position, minlength=num_pos)
    slots = int(count.max()) if len(position) else 0
    slot = torch.arange(len(position), device=written.device)
    slot = slot - (torch.cumsum(count, 0) - count)[position]
    vectors = written.new_zeros(num_pos, slots + 1, d_model)
    nodes = torch.full((num_pos, slots + 1), -1, device=written.device, dtype=torch.long)
    decoder = dictionary.decoder_at(f"mlp_out.{layer}", feature).float()
    vectors[position, slot] = value[:, None] * decoder
    nodes[position, slot] = torch.cat(numbers)[order]
    vectors[:, -1] = written - vectors.sum(1)
    nodes[:, -1] = error_nodes
    return Block(vectors, nodes)


def _concat(parts: list[Tensor], device: torch.device) -> Tensor:
    return torch.cat(parts) if parts else torch.zeros(0, device=device)
