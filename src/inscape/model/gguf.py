"""GGUF files: dequantised once into the user's cache, as an ordinary Hugging Face folder.

1. Read the header: whether the file is whole, and of a model whose architecture can be read.
2. Its folder in the cache is named by the file's sha256 and the version of the loader; if it is
   there, that is all.
3. Otherwise transformers' own loader dequantises it. Weights (float32), config, tokenizer, chat
   template and every end-of-text token are saved there, whole or not at all.
"""

from __future__ import annotations

import io
import os
import sys
import tempfile
from collections.abc import Callable
from contextlib import redirect_stderr
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from torch import Tensor
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from inscape.core import ModelError, StorageError
from inscape.storage import cache_folder, file_hash, remembered

_END_KEYS = tuple(f"tokenizer.ggml.{name}_token_id" for name in ("eos", "eot", "eom"))
_LLAMA3 = {
    **{"rope_type": "llama3", "low_freq_factor": 1.0, "high_freq_factor": 4.0},
    "original_max_position_embeddings": 8192,
}
_LLAMA3_FACTORS = (8.0, 32.0)  # of 3.1 and 3.3; of 3.2
# Vocabularies whose digits stand alone; transformers' loader splits them by GPT-2's rule.
_SINGLE_DIGITS = ("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b")


def gguf_folder(path: Path, load: Callable[[Path, dict[str, Any]], tuple[Any, Any]]) -> Path:
    """The Hugging Face folder of a GGUF file, made in the user's cache if it is not there.

    `load(folder, settings)` gives module and tokenizer, as `open_folder` loads them.

    Raises:
        ModelError: it is no GGUF file, is cut short, or holds no model that can be read.
        StorageError: the cache is full or may not be written to.
    """
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise ModelError(f"{path} is no GGUF file", expected="one that begins with GGUF")
    digest = remembered("sha256", [path], lambda: file_hash(path))
    name = f"{path.stem}-{digest[:16]}-transformers-{transformers.__version__}"
    folder = cache_folder() / "gguf" / name
    if not folder.is_dir():
        _make(path, folder, load)
    return folder


def _make(path: Path, folder: Path, load: Callable[..., tuple[Any, Any]]) -> None:
    header, factors = _header(path)
    _check(path, header)
    print(f"inscape: dequantising {path.name} once, into {folder}", file=sys.stderr)
    settings: dict[str, Any] = {"gguf_file": path.name}
    if hasattr(transformers, "GgufConfig"):  # older ones dequantise unasked
        settings["quantization_config"] = transformers.GgufConfig(dequantize=True)
    with redirect_stderr(io.StringIO()):  # the loader's own bars
        module, tokenizer = load(path.parent, settings)
        _restore_rope(path, module.config, header, factors)
        ends = {int(header[key]) for key in _END_KEYS if key in header}
        module.generation_config.eos_token_id = sorted(ends) or None
        _split_digits(tokenizer, header)
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".writing-", dir=folder.parent) as temporary:
                made = Path(temporary) / "model"
                module.save_pretrained(made)
                tokenizer.save_pretrained(made)
                if not folder.is_dir():  # else another process was first
                    os.rename(made, folder)
        except (OSError, SafetensorError) as error:
            raise StorageError(
                f"cannot write {folder}: {getattr(error, 'strerror', None) or error}",
                next_step="free some space there, or set INSCAPE_CACHE to another folder",
            ) from error


def _header(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The metadata of a whole GGUF file, without its long arrays; its factors of rotary
    frequencies, by name."""
    import gguf

    try:
        reader = gguf.GGUFReader(path)
        short = {k: field.contents() for k, field in reader.fields.items() if len(field.data) < 2}
        factors = [one for one in reader.tensors if one.name.startswith("rope_f")]
        return short, {one.name: torch.tensor(one.data, dtype=torch.float32) for one in factors}
    except Exception as error:  # the reader checks nothing: what is cut short ends it anywhere
        raise ModelError(
            f"{path} is cut short or damaged ({type(error).__name__}: {error})",
            next_step="copy or download it again",
        ) from error


def _check(path: Path, header: dict[str, Any]) -> None:
    kind, architecture = header.get("general.type", "model"), header.get("general.architecture")
    known = _architectures()
    if kind != "model" or architecture in (None, "controlvector", "clip"):
        what = architecture if kind == "model" else kind
        raise ModelError(f"{path} holds no language model but: {what}", expected="a GGUF of one")
    if known and _bare(architecture) not in map(_bare, known):
        raise ModelError(
            f"{path} is of the architecture {architecture!r}, which transformers "
            f"{transformers.__version__} does not read from GGUF",
            expected=f"one of {', '.join(known)}",
            next_step="open the original model's folder or hub id instead",
        )


def _restore_rope(
    path: Path, config: Any, header: dict[str, Any], factors: dict[str, Tensor]
) -> None:
    """The scaling of rotary frequencies, which transformers' loader leaves out of a config: put
    back where it is Llama 3's, else refused."""
    rope = getattr(config, "rope_parameters", None) or {}
    kind = header.get(f"{header['general.architecture']}.rope.scaling.type", "none")
    if rope.get("rope_type", "default") != "default" or (kind == "none" and not factors):
        return
    for factor in _LLAMA3_FACTORS if list(factors) == ["rope_freqs.weight"] else ():
        config.rope_parameters = {**rope, **_LLAMA3, "factor": factor}
        plain, _ = ROPE_INIT_FUNCTIONS["llama3"](config)
        wavelengths = rope["rope_theta"] ** (torch.arange(0, 2 * len(plain), 2) / (2 * len(plain)))
        if torch.allclose(1 / (wavelengths * plain), factors["rope_freqs.weight"], rtol=1e-3):
            return
    raise ModelError(
        f"{path} scales its rotary frequencies ({', '.join(factors) or kind}) in a way that "
        "transformers' loader leaves out: the model would not be what the file holds",
        expected="none, or Llama 3's",
        next_step="open the original model's folder or hub id instead",
    )


def _bare(architecture: str) -> str:
    return architecture.replace("-", "").replace("_", "")


def _architectures() -> list[str]:
    """What transformers' loader reads; nothing where it no longer says so in one place."""
    try:
        older: Any = import_module("transformers.modeling_gguf_pytorch_utils")
        newer: Any = import_module("transformers.integrations.gguf")
        known = {*older.GGUF_SUPPORTED_ARCHITECTURES, *newer.GGUF_CONFIG_ARCHS}
    except (ImportError, AttributeError):
        return []
    return sorted(known - {"general", "tokenizer", "t5", "umt5"})


def _split_digits(tokenizer: Any, header: dict[str, Any]) -> None:
    if header.get("tokenizer.ggml.pre") in _SINGLE_DIGITS:
        from tokenizers import pre_tokenizers as split

        parts = [split.Digits(individual_digits=True), split.ByteLevel(add_prefix_space=False)]
        tokenizer.backend_tokenizer.pre_tokenizer = split.Sequence(parts)
