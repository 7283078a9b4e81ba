"""Gemma Scope: params.npz with W_enc [d, m], W_dec [m, d], b_enc, b_dec, threshold [m].

JumpReLU on activations as they are: nothing is subtracted, nothing normalised. There are no
settings; layer and place come from the path, as in gemma-scope-2b-pt-res/layer_20/width_16k/
average_l0_71: res is the residual stream after the layer, mlp the MLP's output, transcoders read
its input before the gain of its norm, which is folded in from the model; att is what the heads
give, side by side.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch

from inscape.core import InputError
from inscape.dictionary import Dictionary
from inscape.exchange import format as fmt
from inscape.exchange.format import Asked, Format, Sites, Weights
from inscape.exchange.sites import NO_GAIN
from inscape.storage import reading

FILE = "params.npz"
_DAMAGED = (OSError, ValueError, EOFError, BadZipFile)
_NAMES = {key: key for key in ("b_enc", "W_dec", "b_dec", "threshold")} | {"W_enc": "W_enc.T"}


class GemmaScope(Format):
    """Gemma Scope."""

    about = f"Gemma Scope: {FILE}"

    def recognises(self, source: Path) -> bool:
        return source.name == FILE or (source / FILE).is_file()

    def read(self, source: Path, asked: Asked) -> Dictionary:
        source = source.parent if source.name == FILE else source
        found = fmt.take(_read(source / FILE), _NAMES, source / FILE)
        path = source.absolute().as_posix()
        l0 = re.search(r"average_l0_(\d+)", path)
        k = int(l0[1]) if l0 else None
        return self.made(found, source, asked, _sites(path), "by its path", k=k)

    def write(self, dictionary: Dictionary, folder: Path) -> None:
        """Dictionaries of thresholds."""
        if dictionary.config.kind != "threshold" or dictionary.config.skip:
            raise InputError(
                f"{dictionary.name} is a dictionary by {dictionary.config.kind}"
                + (" with a skip" if dictionary.config.skip else ""),
                expected=f"one of thresholds, without a skip: {self.name} holds no other",
            )
        weights = fmt.without_subtraction(dictionary)
        arrays: dict[str, Any] = {key: value.cpu().numpy() for key, value in weights.items()}
        np.savez(folder / FILE, **{**arrays, "W_enc": arrays["W_enc"].T})


def _read(path: Path) -> Weights:
    with reading(path, fmt.AGAIN, *_DAMAGED), open(path, "rb") as file, np.load(file) as arrays:
        return {key: torch.from_numpy(np.asarray(arrays[key], np.float32)) for key in arrays}


def _sites(path: str) -> Sites:
    layer = re.search(r"layer_(\d{1,4})", path)
    if layer is None:
        return None, None
    number = layer[1]
    if "transcoder" in path:
        return f"mlp_in.{number}{NO_GAIN}", f"mlp_out.{number}"
    for part, site in (("-res", "resid_post"), ("-mlp", "mlp_out"), ("-att", "attn_head")):
        if part in path:
            return f"{site}.{number}", f"{site}.{number}"
    return None, None
