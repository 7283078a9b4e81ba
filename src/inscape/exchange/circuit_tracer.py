"""config.yaml of circuit-tracer: settings of a set of transcoders, or of a cross-layer transcoder.

model_name, model_kind (transcoder_set | cross_layer_transcoder), feature_input_hook and
feature_output_hook (the same in every layer), scan, activation (relu | jump_relu | topk), k, and
transcoders, a list of hf://owner/name/path with one entry a layer.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from inscape.core import StorageError
from inscape.exchange import format as fmt
from inscape.exchange.format import Asked
from inscape.exchange.sites import kind_of_hook
from inscape.storage import reading

CONFIG = "config.yaml"
SET, CROSS_LAYER = "transcoder_set", "cross_layer_transcoder"
# Where it was published, and what it is called there: nothing of it changes what is computed.
_ORIGIN = ("model_name", "scan", "scan_name", "repo_id", "revision", "subfolder", "transcoders")
_OWN = ("model_kind", "feature_input_hook", "feature_output_hook", "activation", "k")


def settings(folder: Path, kind: str, asked: Asked) -> Mapping[str, Any]:
    """What config.yaml in a folder says; nothing where there is none.

    Raises:
        InputError: it is of another kind, or has a setting that is not known.
        StorageError: it cannot be read.
    """
    path = folder / CONFIG
    if not path.is_file():
        return {}
    with reading(path, fmt.AGAIN, ValueError, RecursionError, yaml.YAMLError):
        found: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(found, dict):
        raise StorageError(f"{path} holds no settings", expected="names with their values")
    fmt.refuse_unknown(
        {str(key): value for key, value in found.items()}, (*_ORIGIN, *_OWN), path, asked.ignore
    )
    fmt.only(found.get("model_kind", kind), [kind], "model_kind", path)
    activations = ["relu", "jump_relu"] + ["topk"] * (kind == SET)
    fmt.only(found.get("activation", "relu"), activations, "activation", path)
    return found


def kinds(found: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """The kinds of site (mlp_in, mlp_out) that such settings name, None where they name none."""
    read, written = (found.get(f"feature_{way}_hook") for way in ("input", "output"))
    return kind_of_hook(read), kind_of_hook(written)
