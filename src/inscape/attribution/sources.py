"""What a traced prompt is made of: active features, MLP errors, token embeddings.

1. One clean pass reads every MLP's input and output, the embedding and the final norm's output.
2. Each transcoder encodes its MLP's input: the active features and their activations.
   None is looked for at positions that do not count (special and template tokens, attention
   sinks): dictionaries are trained without them.
3. A feature writes activation · W_dec; the error is the MLP's output less the transcoder's
   reconstruction (decoder bias and linear skip included). Where nothing is encoded (a layer without
   a transcoder, a beginning-of-text token) the whole output is error.
4. Per site, the vectors written at each position are laid out as one [pos, slot, d_model] block,
   so that one batched product contracts a gradient with all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from inscape.core import InputError
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
    positions that the transcoders encode; `skips`: linear skips [d_model, d_model] by layer.
    """

    tokens: Int[Tensor, "1 pos"]
    layer: Int[Tensor, " feature"]
    position: Int[Tensor, " feature"]
    feature: Int[Tensor, " feature"]
    activation: Float[Tensor, " feature"]
    preactivation: Float[Tensor, " feature"]
    error_norm: Float[Tensor, "layer pos"]
    embedding_norm: Float[Tensor, " pos"]
    blocks: dict[int, Block]
    final: Float[Tensor, " d_model"]
    logits: Float[Tensor, " vocab"]
    encoded: Bool[Tensor, " pos"]
    skips: dict[int, Float[Tensor, "d_model d_model"]]

    @property
    def num_features(self) -> int:
        return int(self.layer.shape[0])

    @property
    def num_positions(self) -> int:
        return int(self.tokens.shape[1])

    @property
    def num_layers(self) -> int:
        return int(self.error_norm.shape[0])

    @property
    def num_nodes(self) -> int:
        return self.num_features + (self.num_layers + 1) * self.num_positions


def check_transcoders(model: Model, transcoders: Mapping[int, Dictionary]) -> None:
    """InputError without transcoders, and where one is not that of its layer's MLP."""
    if not transcoders:
        raise InputError(
            "there are no transcoders: every MLP would count as error",
            expected="transcoders mlp_in.L to mlp_out.L of some layers",
            next_step="train or import them",
        )
    devices = sorted({str(parameter.device) for parameter in model.module.parameters()})
    if len(devices) > 1:
        raise InputError(
            f"{model.name} lies on several devices ({', '.join(devices)}), where traces are not "
            "supported",
            expected="a model on one device",
            next_step="open it without device_map, or on the CPU",
        )
    for layer, dictionary in transcoders.items():
        found = (str(dictionary.config.site_in), str(dictionary.config.site_out))
        wanted = (f"mlp_in.{layer}", f"mlp_out.{layer}")
        if found != wanted or not 0 <= layer < model.num_layers:
            raise InputError(
                f"dictionary {dictionary.name!r} reads {found[0]} and writes {found[1]}",
                expected=f"a transcoder from {wanted[0]} to {wanted[1]} of a model with "
                f"{model.num_layers} layers",
                next_step="pass the transcoders under the layer that each was trained on",
            )
        if dictionary.config.normalize != "none":
            raise InputError(
                f"dictionary {dictionary.name!r} normalises each token it reads "
                f"({dictionary.config.normalize})",
                expected="a transcoder that reads the MLP's input as it is",
            )


@torch.no_grad()
def gather(model: Model, transcoders: Mapping[int, Dictionary], prompt: Prompt) -> Sources:
    """Runs the prompt once and lays out its sources (steps 1 to 4)."""
    tokens = prompt.tokens
    layers = range(model.num_layers)
    read = ["embed", "final", *(f"mlp_in.{i}" for i in layers), *(f"mlp_out.{i}" for i in layers)]
    run = model.run(prompt, read=read, logits="last")
    assert run.logits is not None
    encoded = prompt.counted
    active = {
        i: _active(transcoders[i], run[f"mlp_in.{i}"][0].float(), encoded)
        for i in layers
        if i in transcoders
    }
    columns = [_concat([active[i][part] for i in active], tokens.device) for part in range(4)]
    counts = [len(active[i][0]) for i in active]
    layer = torch.repeat_interleave(
        torch.tensor(list(active), device=tokens.device, dtype=torch.long),
        torch.tensor(counts, device=tokens.device, dtype=torch.long),
    )
    num_features, num_pos = int(layer.shape[0]), int(tokens.shape[1])
    blocks: dict[int, Block] = {}
    error_norm = torch.zeros(model.num_layers, num_pos, device=tokens.device)
    first = 0
    for i in layers:
        written = run[f"mlp_out.{i}"][0].float()
        nodes = num_features + i * num_pos + torch.arange(num_pos, device=tokens.device)
        if i in active:
            constant = transcoders[i].base(run[f"mlp_in.{i}"][0].float())
            rest = written - encoded[:, None] * constant
            blocks[i] = _block(transcoders[i].W_dec, active[i], rest, first, nodes)
            first += len(active[i][0])
        else:
            blocks[i] = Block(written[:, None], nodes[:, None])
        error_norm[i] = blocks[i].vectors[:, -1].norm(dim=-1)
    embedding = run["embed"][0].float()
    start = num_features + model.num_layers * num_pos
    nodes = start + torch.arange(num_pos, device=tokens.device)
    blocks[EMBEDDING] = Block(embedding[:, None], nodes[:, None])
    position, feature, activation, preactivation = columns
    return Sources(
        tokens=tokens,
        layer=layer,
        position=position.long(),
        feature=feature.long(),
        activation=activation.float(),
        preactivation=preactivation.float(),
        error_norm=error_norm,
        embedding_norm=embedding.norm(dim=-1),
        blocks=blocks,
        final=run["final"][0, -1].float(),
        logits=run.logits[0, -1].float(),
        encoded=encoded,
        skips={i: d.W_skip for i, d in transcoders.items() if d.W_skip is not None},
    )


Active = tuple[Tensor, Tensor, Tensor, Tensor]


def _active(
    dictionary: Dictionary, x: Float[Tensor, "pos d_model"], encoded: Bool[Tensor, " pos"]
) -> Active:
    """Positions, features, activations and pre-activations of what is active, by position."""
    code = dictionary.encode(x)
    position, slot = torch.nonzero(code.active & encoded[:, None], as_tuple=True)
    feature, value = code.indices[position, slot].long(), code.values[position, slot].float()
    rows = x[position] - dictionary.b_dec if dictionary.config.subtract_b_dec else x[position]
    weight, bias = dictionary.W_enc[feature].float(), dictionary.b_enc[feature].float()
    return position, feature, value, (weight * rows).sum(-1) + bias


def _block(
    decoder: Tensor, active: Active, written: Tensor, first: int, error_nodes: Tensor
) -> Block:
    """Features' and errors' vectors; `written` is the MLP's output less decoder bias and skip."""
    position, feature, value, _ = active
    num_pos, d_model = written.shape
    count = torch.bincount(position, minlength=num_pos)
    slots = int(count.max()) if len(position) else 0
    slot = torch.arange(len(position), device=written.device)
    slot = slot - (torch.cumsum(count, 0) - count)[position]
    vectors = written.new_zeros(num_pos, slots + 1, d_model)
    nodes = torch.full((num_pos, slots + 1), -1, device=written.device, dtype=torch.long)
    vectors[position, slot] = value[:, None] * decoder[feature].float()
    nodes[position, slot] = first + torch.arange(len(position), device=written.device)
    vectors[:, -1] = written - vectors.sum(1)
    nodes[:, -1] = error_nodes
    return Block(vectors, nodes)


def _concat(parts: list[Tensor], device: torch.device) -> Tensor:
    return torch.cat(parts) if parts else torch.zeros(0, device=device)
