"""A trained dictionary: weights, encode and decode, and its folder on disk."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from pydantic import ValidationError
from torch import Tensor

from inscape.core import InputError, StorageError
from inscape.dictionary import kernels
from inscape.dictionary.code import Code
from inscape.dictionary.config import DictionaryConfig
from inscape.dictionary.topk import TopKEncoder
from inscape.storage import (
    atomic_folder,
    read_manifest,
    read_tensors,
    write_manifest,
    write_tensors,
)

KIND = "dictionary"
VERSION = 1
FILE = "dictionary.json"
WEIGHTS = "weights.safetensors"
_NAMES = ("W_enc", "b_enc", "W_dec", "b_dec")


class Dictionary:
    """Sparse features over one site, or from one site to another.

    pre = (x - b_dec, where the configuration says so) @ W_enc^T + b_enc; the code is the k largest
    positive entries of it; the reconstruction is the code times W_dec, plus b_dec. Weights act on
    activations as the model has them: a scale used in training is folded in already.

    Attributes:
        W_enc [d_dict, d_in], b_enc [d_dict], W_dec [d_dict, d_out], b_dec [d_out]: fp32.
        name: as in `name/feature`.
        input_scale, output_scale: what training multiplied activations by (a record; the weights
            here have it folded in).
    """

    def __init__(
        self,
        config: DictionaryConfig,
        weights: Mapping[str, Tensor],
        *,
        name: str = "dictionary",
        input_scale: float = 1.0,
        output_scale: float = 1.0,
        made_from: Mapping[str, Any] | None = None,
    ) -> None:
        self.config = config
        self.name = name
        self.input_scale = input_scale
        self.output_scale = output_scale
        self.made_from = dict(made_from or {})
        shapes = _shapes(config)
        for key, shape in shapes.items():
            found = tuple(weights[key].shape)
            if found != shape:
                raise InputError(f"{key} of {name} has shape {found}", expected=str(shape))
        self.W_enc, self.b_enc, self.W_dec, self.b_dec = (
            weights[key].detach().to(torch.float32).contiguous() for key in _NAMES
        )

    @property
    def d_dict(self) -> int:
        """Number of features."""
        return self.config.d_dict

    @property
    def k(self) -> int:
        """Most features that are active in a row."""
        return self.config.k

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.W_enc.device

    @property
    def weights(self) -> dict[str, Tensor]:
        """The four weight tensors by name."""
        return {key: getattr(self, key) for key in _NAMES}

    def to(self, device: torch.device | str) -> Dictionary:
        """The same dictionary on another device."""
        moved = {key: value.to(device) for key, value in self.weights.items()}
        return self._with(moved)

    def _with(self, weights: Mapping[str, Tensor]) -> Dictionary:
        return Dictionary(
            self.config,
            weights,
            name=self.name,
            input_scale=self.input_scale,
            output_scale=self.output_scale,
            made_from=self.made_from,
        )

    def encoder_input(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_in"]:
        """What the encoder's matrix multiplies: x in fp32, less b_dec where it is subtracted."""
        if x.shape[-1] != self.config.d_in:
            raise InputError(
                f"activations of width {x.shape[-1]} given to {self.name}",
                expected=f"width {self.config.d_in} ({self.config.site_in})",
            )
        x = x.to(device=self.device, dtype=torch.float32)
        return x - self.b_dec if self.config.subtract_b_dec else x

    @torch.no_grad()
    def encode(self, x: Float[Tensor, "*batch d_in"]) -> Code:
        """The code of each row, leading axes flattened. No gradient flows through it.

        Raises:
            InputError: the width is not d_in.
        """
        rows = self.encoder_input(x).reshape(-1, self.config.d_in)
        return TopKEncoder(self.k).encode(rows, self.W_enc, self.b_enc)

    @torch.no_grad()
    def decode(self, code: Code) -> Float[Tensor, "batch d_out"]:
        """The reconstruction of each row of a code."""
        return kernels.decode(code.indices, code.values, self.W_dec, self.b_dec)

    @torch.no_grad()
    def __call__(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_out"]:
        """Encode and decode; leading axes and dtype are those of `x`."""
        out = self.decode(self.encode(x))
        return out.reshape(*x.shape[:-1], self.config.d_out).to(x.dtype)

    def pre(
        self, x: Float[Tensor, "*batch d_in"], features: Int[Tensor, " chosen"] | list[int]
    ) -> Float[Tensor, "*batch chosen"]:
        """Pre-activations of chosen features: before the choice of the k largest and the ReLU."""
        chosen = torch.as_tensor(features, dtype=torch.int64, device=self.device)
        return self.encoder_input(x) @ self.W_enc[chosen].T + self.b_enc[chosen]

    def save(self, folder: Path, *, extra_files: Mapping[str, Path] | None = None) -> None:
        """Write the folder, whole or not at all; one that is there is replaced.

        Args:
            folder: where to; its parents are made.
            extra_files: files to put beside the weights (a training log), by name.

        Raises:
            StorageError: the disk is full or may not be written to.
        """
        with atomic_folder(Path(folder)) as new:
            arrays = {key: value.cpu().numpy() for key, value in self.weights.items()}
            write_tensors(new / WEIGHTS, arrays)
            for name, source in (extra_files or {}).items():
                (new / name).write_bytes(source.read_bytes())
            extra = {
                "name": self.name,
                "config": self.config.model_dump(),
                "input_scale": self.input_scale,
                "output_scale": self.output_scale,
            }
            write_manifest(new, KIND, VERSION, made_from=self.made_from, extra=extra, name=FILE)

    @classmethod
    def open(cls, folder: str | Path, *, device: torch.device | str = "cpu") -> Dictionary:
        """Read a folder that `save` wrote.

        Raises:
            StorageError: not a dictionary, a newer version, or a file missing or corrupt.
        """
        folder = Path(folder)
        manifest = read_manifest(folder, KIND, VERSION, name=FILE)
        try:
            config = DictionaryConfig(**manifest["config"])
            scales = float(manifest["input_scale"]), float(manifest["output_scale"])
            name = str(manifest["name"])
        except (KeyError, TypeError, ValueError, ValidationError) as error:
            raise StorageError(
                f"{folder / FILE} does not describe a dictionary ({type(error).__name__})",
                next_step="train the dictionary again",
            ) from error
        arrays = read_tensors(folder / WEIGHTS, _NAMES)
        weights = {key: torch.from_numpy(np.ascontiguousarray(arrays[key])) for key in _NAMES}
        return cls(
            config,
            {key: value.to(device) for key, value in weights.items()},
            name=name,
            input_scale=scales[0],
            output_scale=scales[1],
            made_from=manifest.get("made_from", {}),
        )

    def __repr__(self) -> str:
        config = self.config
        sites = config.site_in
        if config.transcoder:
            sites += f" -> {config.site_out}"
        return f"Dictionary({self.name}: {sites}, {config.d_dict} features, k {config.k})"


def _shapes(config: DictionaryConfig) -> dict[str, tuple[int, ...]]:
    return {
        "W_enc": (config.d_dict, config.d_in),
        "b_enc": (config.d_dict,),
        "W_dec": (config.d_dict, config.d_out),
        "b_dec": (config.d_out,),
    }
