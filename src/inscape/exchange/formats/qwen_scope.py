"""Qwen-Scope: layerN.sae.pt with W_enc [m, d], W_dec [d, m], b_enc, b_dec.

Of the output of block N: pre = x @ W_enc^T + b_enc, nothing subtracted or normalised; the k largest
of it are active, whatever their sign. k stands in the repository's name alone (..-W32K-L0_50).
"""

from __future__ import annotations

import re
from pathlib import Path

from inscape.dictionary import Dictionary
from inscape.exchange import format as fmt
from inscape.exchange.format import Asked, Format

_FILE = re.compile(r"layer(\d{1,4})\.sae\.pt")
_NAMES = {"W_enc": "W_enc", "b_enc": "b_enc", "W_dec": "W_dec.T", "b_dec": "b_dec"}


class QwenScope(Format):
    """Qwen-Scope."""

    about = "Qwen-Scope: a file layerN.sae.pt"
    by_layer = "layer*.sae.pt"

    def recognises(self, source: Path) -> bool:
        return source.is_file() and _FILE.fullmatch(source.name) is not None

    def read(self, source: Path, asked: Asked) -> Dictionary:
        found = fmt.take(fmt.read_state(source), _NAMES, source)
        named = re.findall(r"L0_(\d+)", source.absolute().as_posix())
        k = fmt.needed_k(asked, *named[-1:], source=source, said="no L0_k in its path")
        number = _FILE.fullmatch(source.name)
        site = f"resid_post.{number[1]}" if number else None
        said = f"file {source.name}"
        return self.made(found, source, asked, (site, site), said, k=k, signed=True)
