"""Dictionaries whose behaviour is known."""

from __future__ import annotations

import torch

from inscape.dictionary import Dictionary, DictionaryConfig


def made(
    site: str, W_enc: torch.Tensor, b_enc: torch.Tensor, W_dec: torch.Tensor, b_dec: torch.Tensor
) -> Dictionary:
    """An autoencoder at a site from its weights; every feature may be active at once."""
    d_dict, d = W_enc.shape
    config = DictionaryConfig(
        site_in=site, site_out=site, d_in=d, d_out=d, d_dict=d_dict, k=d_dict, subtract_b_dec=False
    )
    weights = {"W_enc": W_enc, "b_enc": b_enc, "W_dec": W_dec, "b_dec": b_dec}
    return Dictionary(config, weights, name=f"{site}-made")


def perfect(site: str, d: int) -> Dictionary:
    """x̂ = x: one feature for each axis and sign."""
    both = torch.cat([torch.eye(d), -torch.eye(d)])
    return made(site, both, torch.zeros(2 * d), both, torch.zeros(d))


def constant(site: str, value: torch.Tensor) -> Dictionary:
    """x̂ = value, whatever x; no feature is ever active."""
    d = len(value)
    return made(site, torch.zeros(1, d), -torch.ones(1), torch.zeros(1, d), value)


def always_on(site: str, d: int, offset: float = 50.0) -> Dictionary:
    """Feature i has the value x_i + offset, and writes along axis i."""
    eye = torch.eye(d)
    return made(site, eye, torch.full((d,), offset), eye, torch.full((d,), -offset))
