"""The neurons of an MLP as a dictionary that needs no training.

Each neuron has a sign and so is two features: of n neurons, feature i is the positive part of
neuron i, feature n + i the negative, as a positive number. Its decoder row is the neuron's row of
the down projection, negated for the negative part. Edits change the neurons themselves (the site
`mlp_act.L`), which is exact whatever follows; the decoder says what a neuron writes into the
residual stream, if a norm follows the MLP (gemma 2) up to its denominator at each token.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from inscape.core import InputError, instance_of
from inscape.dictionary.config import DictionaryConfig
from inscape.dictionary.dictionary import Dictionary

if TYPE_CHECKING:  # which need not be loaded for dictionaries alone
    from inscape.model import Model


def neurons(model: Model, layer: int) -> Dictionary:
    """The neurons of one layer as a dictionary from `mlp_act.L` to `mlp_out.L`.

    Raises:
        SiteError: there is no such layer, or its MLP has no neurons of its own (a mixture of
            experts).
        InputError: the weights are quantised.
    """
    from inscape.model import Model

    instance_of(Model, model, "a model:", "what Model.open returns")
    site = model.site(f"mlp_act.{layer}")
    place, block = model.structure.place(site), model.structure.blocks[layer]
    down, width = place.module, place.width
    weight: Tensor = down.weight.detach().float()  # type: ignore[operator]
    rows = weight.T if isinstance(down, nn.Linear) else weight  # GPT-2's lies the other way round
    if tuple(rows.shape) != (width, model.d_model):
        raise InputError(
            f"the down projection of layer {layer} of {model.name} has a weight of shape "
            f"{tuple(weight.shape)}",
            expected=f"{width} neurons of width {model.d_model}, not quantised",
        )
    bias: Tensor | None = getattr(down, "bias", None)
    gain = block.places["mlp_out"].scale * torch.ones(model.d_model, device=rows.device)
    if block.mlp_post_norm is not None and block.mlp_post_norm.weight is not None:
        gain = gain * block.mlp_post_norm.weight.detach()
    rows = rows * gain
    constant = torch.zeros_like(gain) if bias is None else bias.detach().float() * gain
    config = DictionaryConfig(
        kind="neurons",
        site_in=str(site),
        site_out=f"mlp_out.{layer}",
        d_in=width,
        d_out=model.d_model,
        d_dict=2 * width,
        subtract_b_dec=False,
    )
    weights = {"W_dec": torch.cat([rows, -rows]), "b_dec": constant}
    return Dictionary(config, weights, name=str(site), made_from={"model": model.hash})
