"""sparsify: a folder of a hookpoint's name with cfg.json and sae.safetensors.

code = topk(relu(x W^T + b)); b_dec is subtracted from x unless it transcodes; with skip_connection
the reconstruction has x @ W_skip^T. The folder's name is a Hugging Face module path.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import ClassVar

from safetensors.torch import save_file

from inscape.core import InputError
from inscape.dictionary import Dictionary
from inscape.exchange import format as fmt
from inscape.exchange.format import Asked, Format
from inscape.exchange.sites import of_module, told

CFG, WEIGHTS = "cfg.json", "sae.safetensors"
_TRAINED = ("normalize_decoder", "multi_topk", "signed")
_COMPUTED = ("activation expansion_factor num_latents k skip_connection transcode d_in").split()
_TENSORS = {"W_enc": "encoder.weight", "b_enc": "encoder.bias", "W_dec": "W_dec", "b_dec": "b_dec"}


class Sparsify(Format):
    """sparsify."""

    about: ClassVar[str] = f"sparsify: {CFG} with {WEIGHTS}"

    def recognises(self, source: Path) -> bool:
        """By its two files."""
        return (source / CFG).is_file() and (source / WEIGHTS).is_file()

    def read(self, source: Path, asked: Asked) -> Dictionary:
        """See above."""
        cfg = fmt.read_settings(source / CFG)
        fmt.refuse_unknown(cfg, (*_COMPUTED, *_TRAINED), source / CFG, asked.ignore)
        fmt.only(cfg.get("activation", "topk"), ["topk"], "activation", source / CFG)
        fmt.only(cfg.get("signed", False), [False], "signed", source / CFG)
        names = dict(_TENSORS)
        if cfg.get("skip_connection", False):
            names["W_skip"] = "W_skip"
        weights = fmt.take(fmt.read_weights(source / WEIGHTS), names, source / WEIGHTS)
        transcode = bool(cfg.get("transcode", False))
        sites = of_module(source.name, transcoder=transcode) or (None, None)
        places = told(asked, sites, source, f"hookpoint {source.name}")
        return fmt.made(
            weights, places, asked, source, self.name, subtract=not transcode, k=int(cfg["k"])
        )

    def write(self, dictionary: Dictionary, folder: Path) -> None:
        """TopK dictionaries; autoencoders that subtract b_dec, transcoders that do not."""
        config = dictionary.config
        fmt.refuse_normalized(dictionary, self.name)
        if config.kind != "topk" or config.subtract_b_dec == config.transcoder:
            raise InputError(
                f"{dictionary.name} is a dictionary by {config.kind}"
                + (" that subtracts b_dec" if config.subtract_b_dec else ""),
                expected=f"TopK, with b_dec subtracted by autoencoders alone: {self.name} holds no "
                "other",
                next_step="export it to saelens",
            )
        if config.d_in != config.d_out:
            raise InputError(
                f"{dictionary.name} reads {config.d_in} and writes {config.d_out} dimensions",
                expected=f"equal widths: {self.name} holds no other",
            )
        names = {**_TENSORS, **({"W_skip": "W_skip"} if config.skip else {})}
        weights = {names[key]: v.cpu().contiguous() for key, v in dictionary.weights.items()}
        save_file(weights, folder / WEIGHTS)
        cfg = {
            "activation": "topk",
            "expansion_factor": 0,
            "normalize_decoder": not config.transcoder,
            "num_latents": config.d_dict,
            "k": config.k,
            "multi_topk": False,
            "skip_connection": config.skip,
            "transcode": config.transcoder,
            "d_in": config.d_in,
        }
        (folder / CFG).write_text(json.dumps(cfg, indent=1))
