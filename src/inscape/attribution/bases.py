"""What the nodes of a graph are: transcoder features, neurons, features of the stream, heads.

Every MLP is read in one basis: the features of its transcoder where one is given, else its own
neurons, which need no training. What cannot be read (a mixture of experts without a transcoder)
counts as error. A dictionary of the residual stream is a checkpoint besides: at its layer the
stream is read as features, and what it does not catch passes by. Attention heads are such
checkpoints too where that is asked for: what a head gives at a position is one feature, read and
written along the direction that it has there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from inscape.core import InputError, all_of, short
from inscape.dictionary import Dictionary, neurons
from inscape.model import Model
from inscape.model.sites import Site

Kind = Literal["transcoder", "neurons", "stream", "heads"]
HEADS = "attn_head"
_NO_NEURONS = "there the MLP counts as error"


@dataclass(frozen=True, eq=False)
class Basis:
    """The features that are read at one place.

    layer: of what is read; read: the site. name: of the dictionary, as in `name/feature`.
    """

    kind: Kind
    layer: int
    read: str
    name: str
    model: Model
    dictionary: Dictionary | None = None

    @property
    def writes(self) -> tuple[str, ...]:
        """The sites at which a feature's activation is replaced by a node."""
        if self.kind == "transcoder":
            assert self.dictionary is not None
            layers = layers_of(self.dictionary)
            return tuple(f"mlp_out.{layer}" for layer in layers if layer >= self.layer)
        return (f"mlp_out.{self.layer}",) if self.kind == "neurons" else (self.read,)

    @property
    def checkpoint(self) -> bool:
        """Whether its features are read and written at one place, and what they miss passes by."""
        return self.kind in ("stream", "heads")

    @property
    def weights(self) -> Dictionary:
        """The dictionary; that of neurons is made anew from the model's weights each time."""
        return self.dictionary or neurons(self.model, self.layer)

    def encoders(
        self, features: Int[Tensor, " n"], x: Float[Tensor, "n width"]
    ) -> Float[Tensor, "n width"]:
        """What is read for each feature: its activation is this row times what is read, plus a
        constant. x: what is read where each feature is active (a gate is held there)."""
        if self.kind == "heads":
            return self._given(features, x)
        if self.dictionary is None:
            width = x.shape[1]
            rows = torch.zeros_like(x)
            sign = torch.where(features < width, 1.0, -1.0)
            rows[torch.arange(len(features), device=x.device), features % width] = sign.to(x)
            return rows
        rows = self.dictionary.encoder_at(self.read, features, x)
        if self.dictionary.config.normalize == "layer_norm":
            rows = rows - rows.mean(-1, keepdim=True)
        return rows

    def decoders(
        self, features: Int[Tensor, " n"], site: str, x: Float[Tensor, "n width"] | None = None
    ) -> Float[Tensor, "n d_model"]:
        """What each feature writes at a site, for an activation of 1. x: what is read where each
        is active, which heads need."""
        if self.kind == "heads":
            assert x is not None
            return self._given(features, x)
        return self.weights.decoder_at(site, features).float()

    def _given(self, heads: Tensor, x: Tensor) -> Tensor:
        """The direction of what each head gives, zero elsewhere."""
        own = head_values(x, self.model.num_heads(self.layer))
        alone = torch.zeros_like(own)
        every = torch.arange(len(heads), device=x.device)
        alone[every, heads] = torch.nn.functional.normalize(own[every, heads], dim=-1, eps=1e-30)
        return alone.flatten(1)


def head_values(x: Float[Tensor, "n width"], num_heads: int) -> Float[Tensor, "n head part"]:
    """What each head gives, of all of them side by side."""
    return x.reshape(len(x), num_heads, -1)


def find_bases(
    model: Model, dictionaries: Iterable[Dictionary] | Mapping[int, Dictionary], heads: bool = False
) -> tuple[list[Basis], list[str]]:
    """The bases of a model, in the order of the computation, and remarks about them.

    dictionaries: transcoders, and dictionaries of the residual stream, one for each place. heads:
        whether attention heads are features too.

    Raises:
        InputError: one that is neither, does not fit the model, or has another in its place.
    """
    if isinstance(dictionaries, Mapping):
        dictionaries = dictionaries.values()
    if isinstance(dictionaries, Dictionary) or not isinstance(dictionaries, Iterable):
        raise InputError(f"dictionaries: {short(dictionaries)}", expected="a list of dictionaries")
    given = {id(d): d for d in all_of(Dictionary, list(dictionaries), "a dictionary")}
    bases: dict[tuple[int, Kind], Basis] = {}
    for dictionary in (d.to(model.device) for d in given.values()):
        for one in _of(model, dictionary):
            place = one.layer, one.kind
            if place in bases:
                raise InputError(
                    f"{one.name} and {bases[place].name} both stand at {one.read}",
                    expected="one dictionary for each place",
                )
            bases[place] = one
    remarks = _foreign(model, given.values())
    read = [layer for layer, kind in bases if kind == "transcoder"]
    without: list[int] = []
    unread: list[int] = []
    for layer in range(model.num_layers):
        if layer not in read:
            found = _neurons(model, layer)
            (unread if found is None else without).append(layer)
            if found is not None:
                bases[layer, "neurons"] = found
    if read and without:
        remarks.append(f"no transcoder at {_layers(without)}: there the MLP is read as its neurons")
    if unread:
        remarks.append(f"no transcoder and no neurons at {_layers(unread)}: {_NO_NEURONS}")
    for layer in range(model.num_layers) if heads else ():
        if model.num_heads(layer):
            site = f"{HEADS}.{layer}"
            bases[layer, "heads"] = Basis("heads", layer, site, site, model)
    order = {"heads": 0, "transcoder": 0, "neurons": 0, "stream": 1}
    return sorted(bases.values(), key=lambda b: (_height(b), order[b.kind])), remarks


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


def reads_stream(dictionary: Dictionary) -> bool:
    """Whether it is an autoencoder of the residual stream between two blocks."""
    config = dictionary.config
    site = Site.parse(dictionary.reads[0])
    plain = not config.several and not config.transcoder and config.kind != "neurons"
    return plain and site.kind in ("resid_pre", "resid_post")


def _of(model: Model, dictionary: Dictionary) -> list[Basis]:
    layers = layers_of(dictionary)
    if layers:
        if max(layers) >= model.num_layers:
            raise InputError(
                f"{dictionary.name} is of layer {max(layers)}",
                expected=f"transcoders of a model with {model.num_layers} layers",
            )
        if dictionary.config.normalize != "none":
            raise InputError(
                f"dictionary {dictionary.name!r} normalises each token it reads "
                f"({dictionary.config.normalize})",
                expected="a transcoder that reads the MLP's input as it is",
            )
        reads = {f"mlp_out.{layer}": layer for layer in layers}
        pairs = zip(dictionary.reads, dictionary.writes, strict=True)
        found = [
            Basis("transcoder", reads[written], read, dictionary.name, model, dictionary)
            for read, written in pairs
        ]
    elif reads_stream(dictionary):
        site = model.site(dictionary.reads[0])
        found = [Basis("stream", site.layer or 0, str(site), dictionary.name, model, dictionary)]
    else:
        raise InputError(
            f"dictionary {dictionary.name!r} reads {dictionary.config.site_in} and writes "
            f"{dictionary.config.site_out}",
            expected="a transcoder from mlp_in.L or resid_mid.L to mlp_out.L, or a dictionary of "
            "the residual stream (resid_post.L)",
        )
    config = dictionary.config
    widths = config.widths or (config.d_in,)
    for one, width in zip(found, widths, strict=True):
        if width != model.width(one.read):
            raise InputError(
                f"{one.name} reads {one.read} of width {width}",
                expected=f"width {model.width(one.read)}: a dictionary of {model.name}",
            )
    return found


def _neurons(model: Model, layer: int) -> Basis | None:
    """None where an MLP has no neurons of its own, or a norm behind it that mixes channels."""
    block = model.structure.blocks[layer]
    if "mlp_act" not in block.places or "mlp_out" not in block.places:
        return None
    if block.mlp_post_norm is not None and block.mlp_post_norm.centred:
        return None
    weight = getattr(block.places["mlp_act"].module, "weight", None)
    if not isinstance(weight, Tensor) or not weight.is_floating_point():
        return None
    return Basis("neurons", layer, f"mlp_act.{layer}", f"mlp_act.{layer}", model)


def _foreign(model: Model, dictionaries: Iterable[Dictionary]) -> list[str]:
    """Which dictionaries say that another model was read when they were trained."""
    trained = {d.name: d.made_from.get("activations", {}).get("model_hash") for d in dictionaries}
    other = [name for name, found in trained.items() if found not in (None, model.hash)]
    if not other:
        return []
    return [
        f"{', '.join(other)}: trained on another model than {model.name} (the hash of its weights "
        "differs), so that features may mean something else here"
    ]


def _layers(numbers: list[int]) -> str:
    if len(numbers) == 1:
        return f"layer {numbers[0]}"
    if numbers == list(range(numbers[0], numbers[-1] + 1)):
        return f"layers {numbers[0]} to {numbers[-1]}"
    return f"layers {', '.join(map(str, numbers))}"


def _height(basis: Basis) -> float:
    """Where it is read, in the order of the computation."""
    if basis.kind == "stream":
        return basis.layer + (0.9 if basis.read.startswith("resid_post") else -0.1)
    return basis.layer + (0.2 if basis.kind == "heads" else 0.5)
