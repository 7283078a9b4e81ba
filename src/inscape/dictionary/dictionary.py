"""A trained dictionary: weights, encode and decode, and its folder on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from pydantic import ValidationError
from torch import Tensor

from inscape.core import InputError, StorageError, instance_of
from inscape.dictionary.arithmetic import Arithmetic, Scale
from inscape.dictionary.config import DictionaryConfig
from inscape.dictionary.published import local
from inscape.dictionary.rounding import Stored, check_stored, stored_names, to_arrays, to_tensors
from inscape.dictionary.view import TokenFeatures
from inscape.storage import (
    artefact,
    atomic_folder,
    read_manifest,
    read_tensors,
    write_manifest,
    write_tensors,
)

KIND = "dictionary"
VERSION = 6
"""The newest that is read; 6: weights in fewer bits; older ones: `DictionaryConfig.version`."""
FILE = "dictionary.json"
WEIGHTS = "weights.safetensors"


class Dictionary(Arithmetic):
    """Sparse features over one site, from one site to another, or over several at once.

    pre = (x - b_dec, if the configuration says so) @ W_enc^T + b_enc; the code is its k largest
    positive entries, or those above their feature's threshold; the reconstruction is the code times
    W_dec, plus b_dec, plus x @ W_skip^T if there is a skip. Weights act on the model's raw
    activations: the scale of training is folded in. For several sites see `concat_sites` and
    `split_sites`.

    Attributes:
        W_enc [d_dict, d_in], b_enc [d_dict], W_dec [d_dict, d_out], b_dec [d_out]: fp32; for
            a cross-layer transcoder see `DictionaryConfig.shapes`.
        threshold [d_dict], W_skip [d_out, d_in], choice [d_dict], W_glu [d_dict, d_in],
            b_glu [d_dict]: fp32, None if the configuration has none.
        name: as in `name/feature`. input_scale, output_scale: the factors of the activations in
            training, one per site if there are several (a record).
    """

    foreign: ClassVar[Callable[..., Dictionary] | None] = None
    foreign_set: ClassVar[Callable[..., dict[int, Dictionary]] | None] = None
    """Open other formats, and sets; assigned by `inscape.exchange`."""

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
        super().__init__(config, weights, name, output_scale)
        self.input_scale = input_scale
        self.made_from = dict(made_from or {})

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

    def save(
        self,
        folder: Path,
        *,
        dtype: Stored = "float32",
        extra_files: Mapping[str, Path] | None = None,
    ) -> None:
        """Write the folder atomically; an existing dictionary is replaced.

        Args:
            folder: created with its parents. extra_files: further files (a training log), by name.
            dtype: how matrices are stored: float32, bfloat16 or int8 (8 bits and a scale for each
                row). They are read back as float32; biases and thresholds keep it.

        Raises:
            InputError: the folder holds something else, or there is no such dtype.
            StorageError: the disk is full or not writable.
        """
        instance_of((str, Path), folder, "a dictionary's folder", "a path")
        check_stored(dtype)
        with atomic_folder(Path(folder), artefact(KIND, name=FILE)) as new:
            write_tensors(new / WEIGHTS, to_arrays(self.weights, dtype))
            for name, source in (extra_files or {}).items():
                (new / name).write_bytes(source.read_bytes())
            extra = {
                "name": self.name,
                "config": self.config.model_dump(),
                "input_scale": self.input_scale,
                "output_scale": self.output_scale,
            }
            version = self.config.version
            if dtype != "float32":
                version, extra["dtype"] = VERSION, dtype
            write_manifest(new, KIND, version, made_from=self.made_from, extra=extra, name=FILE)

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
            source: a folder or a file; or `owner/name` or `owner/name/folder/within` of
                a repository on the Hugging Face hub, if there is no such path. revision: of it.
            asked: what the files of another library leave out: `site`, `to` (of a transcoder),
                `k`, `scale`, `model`, `name`, `ignore`; see `inscape.exchange.Asked`.

        Raises:
            StorageError: not a dictionary, a newer version, a file that is missing or corrupt,
                weights that are not finite, or a repository that cannot be found.
            InputError: a foreign file has an unknown setting, or leaves something out.
        """
        instance_of((str, Path), source, "a dictionary at", "a path, or owner/name of a repository")
        here = Path(source).expanduser()
        if not (here / FILE).is_file() and cls.foreign is not None:
            return cls.foreign(source, revision=revision, **asked).to(device)
        folder = local(source, revision=revision, files=(FILE, WEIGHTS), there=is_dictionary)
        return cls.read(folder, device=device)

    @classmethod
    def open_set(cls, source: str | Path, **options: Any) -> dict[int, Dictionary]:
        """Layer → dictionary of a published set, such as a model's transcoders; see
        `inscape.exchange.open_set`."""
        instance_of((str, Path), source, "dictionaries at", "a path, or owner/name of a repository")
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
        stored = stored_names(config.shapes(), manifest.get("dtype", "float32"))
        weights = to_tensors(read_tensors(folder / WEIGHTS, stored))
        refuse_not_finite(weights, folder / WEIGHTS)
        return cls(
            config,
            {key: value.to(device) for key, value in weights.items()},
            name=name,
            input_scale=scales[0],
            output_scale=scales[1],
            made_from=manifest.get("made_from", {}),
        )

    def view(
        self, tokens: Sequence[str], counted: Sequence[bool], parts: Mapping[str, Tensor]
    ) -> TokenFeatures:
        """The features at each token of a text, given what the sites hold there [pos, width]."""
        code = self.encode(self.concat_sites(parts).float()).to("cpu")
        return TokenFeatures(self.name, tokens, counted, code)

    def __repr__(self) -> str:
        config = self.config
        sites = config.site_in
        if config.transcoder:
            sites += f" -> {config.site_out}"
        active = {"topk": f"k {config.k}", "threshold": "by threshold"}.get(config.kind, "signed")
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
