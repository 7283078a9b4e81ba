"""sparsify: a folder of a hookpoint's name with cfg.json and sae.safetensors.

code = topk(relu(x W^T + b)); b_dec is subtracted from x unless it transcodes; with skip_connection
the reconstruction has x @ W_skip^T. The folder's name is a Hugging Face module path.
"""

from __future__ import annotations

from pathlib import Path

from inscape.core import InputError
from inscape.dictionary import Dictionary
from inscape.exchange import format as fmt
from inscape.exchange.format import Asked, Format
from inscape.exchange.sites import of_module

CFG, WEIGHTS = "cfg.json", "sae.safetensors"
_TRAINED = ("normalize_decoder", "multi_topk", "signed")
_COMPUTED = ("activation expansion_factor num_latents k skip_connection transcode d_in").split()
_TENSORS = {"W_enc": "encoder.weight", "b_enc": "encoder.bias", "W_dec": "W_dec", "b_dec": "b_dec"}
_SKIP = {"W_skip": "W_skip"}


class Sparsify(Format):
    """sparsify."""

    about = f"sparsify: {CFG} with {WEIGHTS}"
    files = (CFG, WEIGHTS)

    def read(self, source: Path, asked: Asked) -> Dictionary:
        cfg = fmt.read_settings(source / CFG)
        fmt.refuse_unknown(cfg, (*_COMPUTED, *_TRAINED), source / CFG, asked.ignore)
        fmt.only(cfg.get("activation", "topk"), ["topk"], "activation", source / CFG)
        fmt.only(cfg.get("signed", False), [False], "signed", source / CFG)
        names = _TENSORS | _SKIP if cfg.get("skip_connection", False) else _TENSORS
        found = fmt.take(fmt.read_weights(source / WEIGHTS), names, source / WEIGHTS)
        transcode = bool(cfg.get("transcode", False))
        sites = of_module(source.name, transcoder=transcode) or (None, None)
        said, k = f"hookpoint {source.name}", int(cfg["k"])
        return self.made(found, source, asked, sites, said, subtract=not transcode, k=k)

    def write(self, dictionary: Dictionary, folder: Path) -> None:
        """TopK dictionaries; autoencoders that subtract b_dec, transcoders that do not."""
        config = dictionary.config
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
        weights = {(_TENSORS | _SKIP)[key]: v for key, v in dictionary.weights.items()}
        fmt.save(weights, folder / WEIGHTS)
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
        fmt.save_settings(cfg, folder / CFG)
