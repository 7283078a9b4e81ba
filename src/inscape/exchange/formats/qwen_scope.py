"""Qwen-Scope: layerN.sae.pt with W_enc [m, d], W_dec [d, m], b_enc, b_dec.

Of the output of block N: pre = x @ W_enc^T + b_enc, nothing subtracted or normalised; the k largest
of it are active, whatever their sign. k stands in the repository's name alone (..-W32K-L0_50).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from torch import Tensor

from inscape.core import InputError
from inscape.dictionary import Dictionary
from inscape.exchange import format as fmt
from inscape.exchange.format import Asked, Format
from inscape.exchange.sites import told

_FILE = re.compile(r"layer(\d{1,4})\.sae\.pt")
_NAMES = {name: name for name in ("W_enc", "b_enc", "W_dec", "b_dec")}


class QwenScope(Format):
    """Qwen-Scope."""

    about: ClassVar[str] = "Qwen-Scope: a file layerN.sae.pt"
    by_layer: ClassVar[str] = "layer*.sae.pt"

    def recognises(self, source: Path) -> bool:
        """By the file's name."""
        return source.is_file() and _FILE.fullmatch(source.name) is not None

    def read(self, source: Path, asked: Asked) -> Dictionary:
        """See above."""
        state = fmt.read_pickle(source)
        if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
            raise InputError(f"{source} is no state_dict", expected="tensors by name")
        found = fmt.take({key: value.float() for key, value in state.items()}, _NAMES, source)
        found["W_dec"] = found["W_dec"].T.contiguous()
        named = re.findall(r"L0_(\d+)", source.absolute().as_posix())
        k = fmt.needed_k(asked, *named[-1:], source=source, said="no L0_k in its path")
        number = _FILE.fullmatch(source.name)
        site = f"resid_post.{number[1]}" if number else None
        sites = told(asked, (site, site), source, f"file {source.name}")
        return fmt.made(found, sites, asked, source, self.name, subtract=False, k=k, signed=True)
