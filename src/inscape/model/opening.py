"""From a path or hub id to a loaded module and tokenizer, with one-line errors on the way.

1. Find the folder: a local one, the local hub cache, else a download.
2. Read config.json; refuse an unknown family before anything large is read.
3. Check that the weights are all there; load them (safetensors before torch pickles, and
   those weights-only); refuse a checkpoint that leaves a parameter untrained.
4. Load the tokenizer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import huggingface_hub
import torch
import transformers
from huggingface_hub.errors import LocalEntryNotFoundError
from torch import nn
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as CAUSAL
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES as IMAGE_TEXT,
)

from inscape.core import ModelError
from inscape.model.adapters import Adapter, adapter_for
from inscape.model.fingerprint import weight_files
from inscape.model.images import read_preprocessing

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
    "spiece.model",
    "tekken.json",
)
_DOWNLOADED = ["*.json", "*.txt", "*.model", "*.jinja"]


@dataclass(frozen=True)
class Opened:
    """What `open_folder` found."""

    module: nn.Module
    tokenizer: Any
    adapter: Adapter
    preprocessing: dict[str, Any] | None


def find_folder(path_or_id: str | Path, *, trust_remote_code: bool = False) -> Path:
    """The local folder of a model; a hub id that is not in the local cache is downloaded.

    Raises:
        ModelError: there is no such folder, or the id is neither here nor to be had.
    """
    path = Path(path_or_id).expanduser()
    if path.is_dir():
        return path
    text = str(path_or_id)
    if path.exists():
        raise ModelError(f"{text} is a file", expected="a model folder with config.json")
    if not isinstance(path_or_id, str) or not _HUB_ID.fullmatch(text):
        raise ModelError(
            f"there is no folder {text}", expected="a model folder with config.json, or a hub id"
        )
    try:
        folder = Path(huggingface_hub.snapshot_download(text, local_files_only=True))
        if weight_files(folder):
            return folder
    except LocalEntryNotFoundError:
        pass
    return _download(text, trust_remote_code)


def _download(hub_id: str, trust_remote_code: bool) -> Path:
    patterns = [*_DOWNLOADED, *(["*.py"] if trust_remote_code else [])]
    try:
        for weights in ("model*.safetensors", "pytorch_model*.bin"):
            folder = Path(
                huggingface_hub.snapshot_download(
                    hub_id, allow_patterns=[*patterns, weights], ignore_patterns=["*/*"]
                )
            )
            if weight_files(folder):
                return folder
    except Exception as error:
        # Offline mode, no network, an unknown or a gated repository: the hub's client and
        # the network library below it have errors of their own for each.
        raise ModelError(
            f"model {hub_id!r} is neither a folder nor in the local hub cache, "
            f"and it could not be downloaded ({_first_line(error)})",
            expected="a model folder with config.json, or the id of a downloaded model",
            next_step=f"where there is a network, run: hf download {hub_id}",
        ) from error
    return folder


def open_folder(
    folder: Path, *, device: torch.device, dtype: torch.dtype | None, trust_remote_code: bool
) -> Opened:
    """Loads module and tokenizer from a Hugging Face folder.

    Without a `dtype` weights are float32 on the CPU, and as stored on a GPU.

    Raises:
        ModelError: the folder is no model, is of an unknown family, or lacks weights or
            tokenizer.
    """
    config = _read_config(folder)
    adapter = adapter_for(config["model_type"])
    _check_family(config, trust_remote_code)
    _check_weights(folder)
    _check_tokenizer(folder)
    wanted = dtype or (torch.float32 if device.type == "cpu" else "auto")
    with _quiet():
        module, report = _load_weights(folder, adapter, wanted, trust_remote_code)
        tokenizer = _load_tokenizer(folder, trust_remote_code)
    missing = sorted(report.get("missing_keys", ()))
    if missing:
        raise ModelError(
            f"the weights in {folder} lack {len(missing)} parameters, {missing[0]!r} first",
            expected=f"a whole {adapter.model_type} checkpoint for causal language modelling",
        )
    if "quantization_config" not in config:
        module = module.to(device)
    preprocessing = read_preprocessing(folder) if adapter.images else None
    return Opened(module, tokenizer, adapter, preprocessing)


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    if not path.is_file():
        raise ModelError(
            f"{folder} is no model: it has no config.json",
            expected="a Hugging Face model folder",
            next_step="save one with model.save_pretrained and tokenizer.save_pretrained",
        )
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise ModelError(f"{path} cannot be read ({_first_line(error)})") from error
    if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
        raise ModelError(f"{path} names no model_type", expected="a causal language model's")
    return config


def _check_family(config: dict[str, Any], trust: bool) -> None:
    """Refuses what transformers cannot build as a causal language model, before reading it."""
    model_type = config["model_type"]
    if (trust and "auto_map" in config) or model_type in CAUSAL or model_type in IMAGE_TEXT:
        return
    raise ModelError(
        f"transformers {transformers.__version__} knows no causal language model of the type "
        f"{model_type!r}",
        expected="a decoder that AutoModelForCausalLM builds",
        next_step="install a newer transformers; or trust the code in the model's folder, if it "
        "brings its own",
    )


def _check_weights(folder: Path) -> None:
    if not weight_files(folder):
        raise ModelError(
            f"{folder} has a config.json but no weights",
            expected="model.safetensors (or its shards), or pytorch_model.bin",
            next_step="copy them in, or download the model again",
        )
    for name in ("model.safetensors.index.json", "pytorch_model.bin.index.json"):
        index = folder / name
        if not index.is_file():
            continue
        shards = set(json.loads(index.read_text(encoding="utf-8")).get("weight_map", {}).values())
        absent = sorted(shard for shard in shards if not (folder / shard).is_file())
        if absent:
            raise ModelError(
                f"{folder} lacks {len(absent)} of {len(shards)} weight files, {absent[0]} first",
                next_step="download the model again",
            )
        return


def _check_tokenizer(folder: Path) -> None:
    if not any((folder / name).is_file() for name in _TOKENIZER_FILES):
        raise ModelError(
            f"{folder} has no tokenizer",
            expected=f"one of {', '.join(_TOKENIZER_FILES)}",
            next_step="save it there with tokenizer.save_pretrained, "
            "or use Model.wrap for a model that only takes token ids",
        )


def _load_weights(
    folder: Path, adapter: Adapter, dtype: Any, trust: bool
) -> tuple[nn.Module, dict[str, Any]]:
    loader: Any = transformers.AutoModelForCausalLM  # its types leave out the loading report
    if adapter.images:
        loader = transformers.AutoModelForImageTextToText
    try:
        module, report = loader.from_pretrained(
            str(folder),
            dtype=dtype,
            local_files_only=True,
            trust_remote_code=trust,
            output_loading_info=True,
        )
    except Exception as error:
        # safetensors, pickle, torch and transformers each have errors of their own here;
        # whatever it is, the folder's content is what cannot be loaded.
        raise ModelError(
            f"the model in {folder} cannot be loaded ({_first_line(error)})",
            expected="weights that fit its config.json",
            next_step="download or save the model again",
        ) from error
    return module, report


def _load_tokenizer(folder: Path, trust: bool) -> Any:
    try:
        return transformers.AutoTokenizer.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=trust
        )
    except Exception as error:
        raise ModelError(
            f"the tokenizer in {folder} cannot be loaded ({_first_line(error)})",
            next_step="save it there again with tokenizer.save_pretrained",
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """transformers without progress bars and reports: errors are told by ours."""
    log: Any = transformers.utils.logging
    verbosity, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(verbosity)
        if bars:
            log.enable_progress_bar()


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
