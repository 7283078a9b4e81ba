"""A trained dictionary: weights, encode and decode, and its folder on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int
from pydantic import ValidationError
from torch import Tensor

from inscape.core import InputError, StorageError
from inscape.dictionary.code import Code
from inscape.dictionary.config import DictionaryConfig
from inscape.dictionary.encoder import encode_above, encode_top, in_order
from inscape.dictionary.published import local
from inscape.dictionary.wiring import CrossLayer
from inscape.storage import (
    artefact,
    atomic_folder,
    read_manifest,
    read_tensors,
    write_manifest,
    write_tensors,
)

KIND = "dictionary"
VERSION = 4
"""The newest that is read; see `DictionaryConfig.version`."""
LAYER_NORM_EPSILON = 1e-5
FILE = "dictionary.json"
WEIGHTS = "weights.safetensors"
ROWS = 1024  # encoded together: a code has the slots of its fullest row, of a sink thousands

Scale = float | tuple[float, ...]


class Dictionary:
    """Sparse features over one site, from one site to another, or over several at once.

    pre = (x - b_dec, where the configuration says so) @ W_enc^T + b_enc; the code is the k largest
    positive entries of it, or those above their feature's threshold; the reconstruction is the code
    times W_dec, plus b_dec, plus x @ W_skip^T where there is a skip. Weights act on activations as
    the model has them: a scale used in training is folded in already. The activations of several
    sites lie side by side: `concat_sites` and `split_sites`.

    Attributes:
        W_enc [d_dict, d_in], b_enc [d_dict], W_dec [d_dict, d_out], b_dec [d_out]: fp32; of
            a cross-layer transcoder see `DictionaryConfig.shapes`.
        threshold [d_dict], W_skip [d_out, d_in], choice [d_dict], W_glu [d_dict, d_in],
            b_glu [d_dict]: fp32, None where the configuration has none (see there).
        name: as in `name/feature`.
        input_scale, output_scale: what training multiplied activations by, of several sites one
            for each (a record; the weights here have it folded in).
    """

    foreign: ClassVar[Callable[..., Dictionary] | None] = None
    foreign_set: ClassVar[Callable[..., dict[int, Dictionary]] | None] = None
    """What opens all but a folder of inscape's own format, and sets: set by `inscape.exchange`."""

    def __init__(
        self,
        config: DictionaryConfig,
        weights: Mapping[str, Tensor],
        *,
        name: str = "dictionary",
        input_scale: Scale = 1.0,
        output_scale: Scale = 1.0,
        made_from: Mapping[str, Any] | None = None,
    ) -> None:
        self.config = config
        self.name = name
        self.input_scale = input_scale
        self.output_scale = output_scale
        self.made_from = dict(made_from or {})
        kept = {}
        for key, shape in config.shapes().items():
            if key not in weights:
                raise InputError(
                    f"{name} has no {key}", expected=f"{key} of shape {shape} ({config.kind})"
                )
            found = tuple(weights[key].shape)
            if found != shape:
                raise InputError(f"{key} of {name} has shape {found}", expected=str(shape))
            kept[key] = weights[key].detach().to(torch.float32).contiguous()
        self.W_enc, self.b_enc, self.W_dec, self.b_dec = (
            kept[key] for key in ("W_enc", "b_enc", "W_dec", "b_dec")
        )
        self.threshold, self.W_skip = kept.get("threshold"), kept.get("W_skip")
        self.choice, self.W_glu, self.b_glu = (
            kept.get(key) for key in ("choice", "W_glu", "b_glu")
        )

    @property
    def d_dict(self) -> int:
        """Number of features."""
        return self.config.d_dict

    @property
    def k(self) -> int | None:
        """Active features of a row: the most (TopK), or the mean that training aimed at."""
        return self.config.k

    @property
    def reads(self) -> tuple[str, ...]:
        """The sites that are read."""
        return self.config.sites_in

    @property
    def writes(self) -> tuple[str, ...]:
        """The sites that are written."""
        return self.config.sites_out

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.W_enc.device

    @property
    def weights(self) -> dict[str, Tensor]:
        """The weight tensors by name."""
        return {key: getattr(self, key) for key in self.config.shapes()}

    @property
    def hash(self) -> str:
        """sha256 over the weights."""
        digest = hashlib.sha256()
        for _, tensor in sorted(self.weights.items()):
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def to(self, device: torch.device | str) -> Dictionary:
        """The same dictionary on another device."""
        moved = {key: value.to(device) for key, value in self.weights.items()}
        return self._with(moved)

    def renamed(self, name: str) -> Dictionary:
        """The same dictionary under another name."""
        made = self._with(self.weights)
        made.name = name
        return made

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
        """What the encoder's matrix multiplies: x in fp32, normalised where the configuration says
        so, less b_dec where it is subtracted."""
        if x.shape[-1] != self.config.d_in:
            raise InputError(
                f"activations of width {x.shape[-1]} given to {self.name}",
                expected=f"width {self.config.d_in} ({self.config.site_in})",
            )
        x = x.to(device=self.device, dtype=torch.float32)
        if self.config.normalize == "layer_norm":
            x = (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + LAYER_NORM_EPSILON)
        elif self.config.normalize == "constant_norm":
            x = x * self.config.d_in**0.5 / torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        return x - self.b_dec if self.config.subtract_b_dec else x

    def _unit(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch one"] | None:
        """By what an autoencoder's normalised reconstruction is multiplied, None where it is not
        normalised."""
        if self.config.normalize == "none" or self.config.transcoder:
            return None
        if self.config.normalize == "layer_norm":
            unit: Tensor = x.std(-1, keepdim=True)
        else:
            unit = torch.linalg.vector_norm(x, dim=-1, keepdim=True) / self.config.d_in**0.5
        return unit

    @torch.no_grad()
    def encode(self, x: Float[Tensor, "*batch d_in"]) -> Code:
        """The code of each row, leading axes flattened. No gradient flows through it.

        Raises:
            InputError: the width is not d_in, or a value is not finite.
        """
        config = self.config
        rows = self.encoder_input(x).reshape(-1, config.d_in)
        if not bool(torch.isfinite(rows).all()):
            raise InputError(
                f"activations that are not finite given to {self.name}", expected="finite numbers"
            )

        def adjust(part: slice, pre: Tensor) -> None:
            if self.W_glu is not None and self.b_glu is not None:
                pre.mul_(torch.sigmoid(rows[part] @ self.W_glu.T + self.b_glu))
            if self.choice is not None:
                pre.mul_(self.choice)

        change = None if self.W_glu is None and self.choice is None else adjust
        if self.threshold is not None:
            bound = self.threshold if config.signed else self.threshold.clamp_min(0)
            code = encode_above(rows, self.W_enc, self.b_enc, bound, adjust=change)
        else:
            assert config.k is not None  # a TopK configuration without k is refused
            pooled = config.scope.endswith("batch")
            code = encode_top(
                rows,
                self.W_enc,
                self.b_enc,
                config.k,
                groups=config.groups,
                pooled=pooled,
                signed=config.signed,
                adjust=change,
            )
        if self.choice is not None:
            code = in_order(Code(code.indices, code.values / self.choice[code.indices]))
        unit = self._unit(x.to(rows))
        return code if unit is None else Code(code.indices, code.values * unit.reshape(-1, 1))

    @torch.no_grad()
    def base(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_out"]:
        """The reconstruction without any feature: b_dec, what a skip makes of x, and what a
        normalisation took away."""
        x = x.to(self.W_enc)
        unit = self._unit(x)
        out = self.b_dec.expand(*x.shape[:-1], -1) if unit is None else self.b_dec * unit
        if unit is not None and self.config.normalize == "layer_norm":
            out = out + x.mean(-1, keepdim=True)
        if self.W_skip is None:
            return out
        if not self.config.several:
            return out + x @ self.W_skip.T
        parts = x.reshape(*x.shape[:-1], len(self.reads), -1)
        return out + torch.einsum("...si,soi->...so", parts, self.W_skip).flatten(-2)

    @torch.no_grad()
    def decode(self, code: Code, x: Float[Tensor, "batch d_in"]) -> Float[Tensor, "batch d_out"]:
        """The reconstruction of each row from its code, and from what was encoded."""
        return self.config.wiring.decode(code.ragged(), self.W_dec) + self.base(x)

    @torch.no_grad()
    def __call__(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_out"]:
        """Encode and decode, some rows at a time; leading axes and dtype are those of `x`."""
        rows = x.reshape(-1, x.shape[-1])
        parts = (rows[i : i + ROWS] for i in range(0, max(1, len(rows)), ROWS))
        out = torch.cat([self.decode(self.encode(part), part) for part in parts])
        return out.reshape(*x.shape[:-1], self.config.d_out).to(x.dtype)

    def pre(
        self, x: Float[Tensor, "*batch d_in"], features: Int[Tensor, " chosen"] | list[int]
    ) -> Float[Tensor, "*batch chosen"]:
        """Pre-activations of chosen features, in units of their values: before the choice of what
        is active, and the ReLU."""
        chosen = torch.as_tensor(features, dtype=torch.int64, device=self.device)
        rows = self.encoder_input(x)
        found = self.config.wiring.read(rows, self.W_enc[chosen], chosen) + self.b_enc[chosen]
        if self.W_glu is not None and self.b_glu is not None:
            found = found * torch.sigmoid(rows @ self.W_glu[chosen].T + self.b_glu[chosen])
        unit = self._unit(x.to(found))
        return found if unit is None else found * unit

    def encoder_at(
        self,
        site: str,
        features: Int[Tensor, " chosen"],
        x: Float[Tensor, "chosen d_in"] | None = None,
    ) -> Float[Tensor, "chosen width"]:
        """What each feature reads a site with: zeros where it does not read it.

        Args:
            x: the row that each feature is looked at in. A GLU multiplies by its gate there, which
                is held: the pre-activation is linear in x up to that.

        Raises:
            InputError: the site is not read, or a GLU is asked for without `x`.
        """
        slot = self._slot(site, self.reads)
        if isinstance(self.config.wiring, CrossLayer):
            own = self.config.wiring.layer(features) == slot
            return self.W_enc[features] * own[:, None]
        found = self.W_enc[features][:, self.config.columns[slot] if self.config.several else ...]
        if self.W_glu is None or self.b_glu is None:
            return found
        if x is None:
            raise InputError(f"{self.name} has a GLU encoder", expected="the rows that are encoded")
        gate = torch.sigmoid((x.to(found) * self.W_glu[features]).sum(-1) + self.b_glu[features])
        return found * gate[:, None]

    def decoder_at(
        self, site: str, features: Int[Tensor, " chosen"] | None = None
    ) -> Float[Tensor, "chosen width"]:
        """What one unit of each feature writes to a site (of all features if None): zeros where a
        feature of a cross-layer transcoder lies above it.

        Raises:
            InputError: the site is not written.
        """
        slot = self._slot(site, self.writes)
        if isinstance(self.config.wiring, CrossLayer):
            every = torch.arange(self.d_dict, device=self.device) if features is None else features
            return self.config.wiring.written(self.W_dec, slot, every)
        rows = self.W_dec if features is None else self.W_dec[features]
        return rows[:, self.config.columns[slot]]

    def skip_at(self, site: str) -> Float[Tensor, "width d_read"] | None:
        """The linear part that writes a site, [width, width of what it reads]; None without."""
        slot = self._slot(site, self.writes)
        return self.W_skip[slot] if self.W_skip is not None and self.config.several else self.W_skip

    def _slot(self, site: str, sites: tuple[str, ...]) -> int:
        if site not in sites:
            raise InputError(f"site {site} of {self.name}", expected=" or ".join(sites))
        return sites.index(site)

    def concat_sites(self, parts: Mapping[str, Float[Tensor, "*batch width"]]) -> Tensor:
        """What is read [*batch, d_in]: the activations of its sites side by side.

        Raises:
            InputError: a site is missing.
        """
        sites = self.config.sites_in
        if missing := [site for site in sites if site not in parts]:
            raise InputError(
                f"{self.name} reads {missing[0]} too", expected=f"all of {', '.join(sites)}"
            )
        return torch.cat([parts[site] for site in sites], -1)

    def split_sites(
        self, y: Float[Tensor, "*batch d_out"]
    ) -> dict[str, Float[Tensor, "*batch width"]]:
        """What is written, by site."""
        sites = zip(self.config.sites_out, self.config.columns, strict=True)
        return {site: y[..., columns] for site, columns in sites}

    @torch.no_grad()
    def unexplained(
        self, x: Float[Tensor, "batch d_in"], y: Float[Tensor, "batch d_out"]
    ) -> dict[str, float]:
        """The fraction of variance unexplained of each site that is written, |y - y^|^2 /
        |y - mean y|^2 over the batch; `x` is what is read."""
        y = y.to(self.W_enc)
        wanted, error = self.split_sites(y - y.mean(0)), self.split_sites(y - self(x.to(y)))
        return {
            site: float(error[site].square().sum() / spread.square().sum())
            for site, spread in wanted.items()
        }

    def site_norms(self) -> Float[Tensor, "d_dict sites"]:
        """The norm of what one unit of each feature writes at each site, in the units of training,
        where sites compare: how much of a crosscoder's feature lies where."""
        scales = torch.as_tensor(self.output_scale, device=self.device).expand(
            len(self.config.sites_out)
        )
        one = torch.arange(self.d_dict, device=self.device)[:, None]
        unit = Code(one, torch.ones_like(one, dtype=torch.float32)).ragged()
        parts = self.split_sites(self.config.wiring.decode(unit, self.W_dec))
        return torch.stack([part.norm(dim=1) for part in parts.values()], 1) * scales

    def save(self, folder: Path, *, extra_files: Mapping[str, Path] | None = None) -> None:
        """Write the folder, whole or not at all; a dictionary that is there is replaced.

        Args:
            folder: where to; its parents are made.
            extra_files: files to put beside the weights (a training log), by name.

        Raises:
            InputError: there is something else.
            StorageError: the disk is full or may not be written to.
        """
        with atomic_folder(Path(folder), artefact(KIND, name=FILE)) as new:
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
            write_manifest(
                new, KIND, self.config.version, made_from=self.made_from, extra=extra, name=FILE
            )

    @classmethod
    def open(
        cls,
        source: str | Path,
        *,
        device: torch.device | str = "cpu",
        revision: str | None = None,
        **asked: Any,
    ) -> Dictionary:
        """Read a folder that `save` wrote, or a dictionary of another library.

        Args:
            source: a folder or a file; or `owner/name`, or `owner/name/folder/within`, of
                a repository on the Hugging Face hub, unless there is such a path.
            revision: of the repository.
            asked: what the files of another library leave out: `site`, `to` (of a transcoder),
                `k`, `scale`, `model`, `name`, `ignore`; see `inscape.exchange.Asked`.

        Raises:
            StorageError: not a dictionary, a newer version, a file missing, changed or corrupt,
                weights that are not finite, or a repository that is neither in the local cache nor
                to be had.
            InputError: a foreign file has a setting that is not known, or leaves something out.
        """
        here = Path(source).expanduser()
        if not (here / FILE).is_file() and cls.foreign is not None:
            return cls.foreign(source, revision=revision, **asked).to(device)
        folder = local(source, revision=revision, files=(FILE, WEIGHTS), there=is_dictionary)
        return cls.read(folder, device=device)

    @classmethod
    def open_set(cls, source: str | Path, **options: Any) -> dict[int, Dictionary]:
        """Layer → dictionary of a published set, such as a model's transcoders; see
        `inscape.exchange.open_set`."""
        if cls.foreign_set is None:
            raise InputError(
                f"{source} cannot be opened", next_step="import inscape.exchange first"
            )
        return cls.foreign_set(source, **options)

    @classmethod
    def read(cls, folder: Path, *, device: torch.device | str = "cpu") -> Dictionary:
        """The dictionary in a folder of inscape's own format; errors as those of `open`."""
        if folder.is_dir() and not (folder / FILE).is_file():
            raise StorageError(
                f"{folder} is not a dictionary of inscape: it has no {FILE}",
                next_step="check the path; one of another library: import inscape.exchange first",
            )
        manifest = read_manifest(folder, KIND, VERSION, name=FILE, verify=True)
        try:
            config = DictionaryConfig(**manifest["config"])
            scales = _scale(manifest["input_scale"]), _scale(manifest["output_scale"])
            name = str(manifest["name"])
        except (KeyError, TypeError, ValueError, ValidationError) as error:
            raise StorageError(
                f"{folder / FILE} does not describe a dictionary ({type(error).__name__})",
                next_step="train or import the dictionary again",
            ) from error
        names = tuple(config.shapes())
        arrays = read_tensors(folder / WEIGHTS, names)
        weights = {key: torch.from_numpy(np.ascontiguousarray(arrays[key])) for key in names}
        refuse_not_finite(weights, folder / WEIGHTS)
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
        active = f"k {config.k}" if config.kind == "topk" else "by threshold"
        return f"Dictionary({self.name}: {sites}, {config.d_dict} features, {active})"


def is_dictionary(folder: Path) -> bool:
    """Whether a folder holds a dictionary of inscape's own format."""
    return (folder / FILE).is_file() and (folder / WEIGHTS).is_file()


def refuse_not_finite(weights: Mapping[str, Tensor], source: Path) -> None:
    """StorageError that names the first weight with a value that is not finite (a threshold may be
    infinite: its feature never fires)."""
    for key, value in weights.items():
        wrong = value.isnan() if key == "threshold" else ~value.isfinite()
        if bool(wrong.any()):
            raise StorageError(
                f"{key} in {source} has {int(wrong.sum())} values that are not finite",
                next_step="train, download or import the dictionary again",
            )


def _scale(found: Any) -> Scale:
    return tuple(map(float, found)) if isinstance(found, list) else float(found)
