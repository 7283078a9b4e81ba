"""Random transcoders for the tiny models, for everybody who tests on graphs."""

from __future__ import annotations

import torch

from inscape.dictionary import Dictionary, DictionaryConfig
from inscape.model import Model

TOKENS = [1, 5, 9, 20, 33, 7, 9]


def random_dictionary(
    site_in: str,
    site_out: str,
    *,
    d: int,
    d_dict: int = 64,
    k: int = 4,
    seed: int = 0,
    kind: str = "topk",
    skip: bool = False,
    subtract: bool | None = None,
) -> Dictionary:
    """Gaussian weights and biases, large enough that each matters."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    config = DictionaryConfig(
        kind=kind,
        skip=skip,
        site_in=site_in,
        site_out=site_out,
        d_in=d,
        d_out=d,
        d_dict=d_dict,
        k=k,
        subtract_b_dec=site_in == site_out if subtract is None else subtract,
    )
    weights = {
        "W_enc": draw(d_dict, d) / d**0.5,
        "b_enc": 0.1 * draw(d_dict),
        "W_dec": 0.5 * draw(d_dict, d) / d**0.5,
        "b_dec": 0.1 * draw(d),
        "threshold": 1.0 + 0.1 * draw(d_dict),
        "W_skip": 0.3 * draw(d, d) / d**0.5,
    }
    return Dictionary(config, weights, name=f"{site_out}-random")


def random_transcoders(
    model: Model, *, d_dict: int = 64, k: int = 4, kind: str = "topk", skip: bool = False
) -> dict[int, Dictionary]:
    """One for each layer."""
    return {
        layer: random_dictionary(
            f"mlp_in.{layer}",
            f"mlp_out.{layer}",
            d=model.d_model,
            d_dict=d_dict,
            k=k,
            seed=layer,
            kind=kind,
            skip=skip,
        )
        for layer in range(model.num_layers)
    }
