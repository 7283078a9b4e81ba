"""Figures of a dictionary in the JSON shape of SAEBench's results (0.6), one file for each kind.

core, sparse_probing and absorption_first_letter. What was not measured is -1, as there. Two things
are not the same: explained_variance is centred here (SAEBench takes the mean of squares where the
square of the mean belongs), and the texts are those that `validate` was given; `notes` say so.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import inscape
from inscape.atlas.container import Container
from inscape.atlas.quality import Quality
from inscape.core import InputError
from inscape.dictionary import Dictionary
from inscape.exchange.sites import hook_of
from inscape.features import FeatureIndex
from inscape.storage import plain, write_json
from inscape.validation import probing
from inscape.validation.absorption import LEAST_F1, MOST_OWN, SPLIT, TEMPLATE

NOTES = {
    "written_by": "inscape",
    "explained_variance": "centred: 1 - E|x - x_hat|^2 / E|x - mean(x)|^2",
    "absorption": "four fixed examples in the prompt; own features by the difference of means",
}
_NONE = -1.0  # what was not measured
_ROWS = 1024  # of the decoder that are compared at once


def write_saebench(atlas: Container, figures: Quality, folder: Path) -> list[Path]:
    """Writes folder/KIND/DICTIONARY_eval_results.json for every kind that was measured; files of
    the same names are replaced.

    Raises:
        InputError: the folder is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file", expected="a folder")
    name, model = figures.dictionary, str(atlas.record["model"]["name"])
    dictionary = atlas.dictionary(name)
    index = atlas.features(name) if atlas.is_indexed(name) else None
    about = {
        "sae_bench_commit_hash": "",
        "sae_lens_id": name,
        "sae_lens_release_id": "",
        "sae_lens_version": "",
        "sae_cfg_dict": _config(dictionary, model),
    }
    kinds = {"core": _core(figures, dictionary, index)}
    if figures.probing is not None:
        kinds["sparse_probing"] = _probing(figures)
    if figures.absorption is not None and len(figures.absorption.letters) > 1:
        kinds["absorption_first_letter"] = _absorption(figures)
    written = []
    for kind, content in kinds.items():
        path = folder / kind / f"{name}_eval_results.json"
        head = {
            "eval_type_id": kind,
            "eval_config": {"model_name": model, **content.pop("config")},
            "eval_id": str(uuid.uuid4()),
            "datetime_epoch_millis": int(time.time() * 1000),
        }
        notes = {"notes": {**NOTES, "version": inscape.__version__, "text": figures.text}}
        write_json(path, plain({**head, **content, **about, "eval_result_unstructured": notes}))
        written.append(path)
    return written


def _config(dictionary: Dictionary, model: str) -> dict[str, Any]:
    config = dictionary.config
    site = dictionary.reads[0]
    return {
        "architecture": config.kind,
        "d_in": config.d_in,
        "d_sae": config.d_dict,
        "hook_name": hook_of(site) or site,
        "hook_layer": int(site.rpartition(".")[2]) if "." in site else 0,
        "model_name": model,
        "k": config.k,
    }


def _known(values: Mapping[str, float | None]) -> dict[str, float]:
    return {k: _NONE if v is None or not np.isfinite(v) else v for k, v in values.items()}


def _core(figures: Quality, dictionary: Dictionary, index: FeatureIndex | None) -> dict[str, Any]:
    kept = figures.fidelity
    kl_score = 1 - kept.kl / kept.kl_zero if kept.kl_zero else None
    density = np.array([]) if index is None else index.density.astype(np.float64)
    over = {1: density[density > 0.01].sum(), 10: density[density > 0.1].sum()}
    total = float(density.sum())
    shares = {k: float(v) / total if total else None for k, v in over.items()}
    categories: dict[str, dict[str, float | None]] = {
        "model_behavior_preservation": {
            "kl_div_score": kl_score,
            "kl_div_with_ablation": kept.kl_zero,
            "kl_div_with_sae": kept.kl,
        },
        "model_performance_preservation": {
            "ce_loss_score": kept.said("loss_recovered_zero"),
            "ce_loss_with_ablation": kept.ce_zero,
            "ce_loss_with_sae": kept.ce_dict,
            "ce_loss_without_sae": kept.ce_clean,
        },
        "reconstruction_quality": {
            "explained_variance": kept.ev,
            "explained_variance_legacy": kept.token_ev,
            "mse": kept.mse,
            "cossim": kept.cosine,
        },
        "shrinkage": {
            "l2_norm_in": kept.norm_in,
            "l2_norm_out": kept.norm_out,
            "l2_ratio": kept.norm_ratio,
            "relative_reconstruction_bias": kept.bias,
        },
        "sparsity": {"l0": kept.l0, "l1": kept.l1},
        "token_stats": {
            "total_tokens_eval_reconstruction": kept.num_predictions,
            "total_tokens_eval_sparsity_variance": kept.num_tokens,
        },
        "misc_metrics": {
            "freq_over_1_percent": figures.over_1_percent,
            "freq_over_10_percent": figures.over_10_percent,
            "normalized_freq_over_1_percent": shares[1],
            "normalized_freq_over_10_percent": shares[10],
            "average_max_encoder_cosine_sim": _closest(getattr(dictionary, "W_enc", None)),
            "average_max_decoder_cosine_sim": _closest(dictionary.W_dec),
            "frac_alive": None if figures.dead_share is None else 1 - figures.dead_share,
        },
    }
    return {
        "config": {"exclude_special_tokens_from_reconstruction": True, "compute_kl": True},
        "eval_result_metrics": {name: _known(values) for name, values in categories.items()},
        "eval_result_details": [],
    }


@torch.no_grad()
def _closest(rows: Tensor | None) -> float | None:
    """The mean over rows of the largest cosine with another one."""
    if rows is None or rows.ndim != 2 or len(rows) < 2:
        return None
    unit = torch.nn.functional.normalize(rows.float(), dim=1)
    found = []
    for start in range(0, len(unit), _ROWS):
        part = unit[start : start + _ROWS] @ unit.T
        places = torch.arange(len(part), device=part.device)
        part[places, places + start] = -1
        found.append(part.amax(1))
    return float(torch.cat(found).mean())


def _probing(figures: Quality) -> dict[str, Any]:
    found = figures.probing
    assert found is not None

    def row(site: float, channels: Mapping[int, float], features: Mapping[int, float]) -> Any:
        llm = {f"llm_top_{k}_test_accuracy": v for k, v in channels.items()}
        sae = {f"sae_top_{k}_test_accuracy": v for k, v in features.items()}
        return {"llm_test_accuracy": site, **llm}, sae

    means = [{k: found.mean(k, of=of) for k in probing.KS} for of in ("channels", "features")]
    llm, sae = row(found.mean(), *means)
    details = []
    for one in found.concepts:
        parts = row(one.site, one.channels, one.features)
        details.append({"dataset_name": one.name, **parts[0], **parts[1]})
    names = [one.name for one in found.concepts]
    return {
        "config": {"dataset_names": names, "k_values": list(probing.KS)},
        "eval_result_metrics": {"llm": llm, "sae": sae},
        "eval_result_details": details,
    }


def _absorption(figures: Quality) -> dict[str, Any]:
    found = figures.absorption
    assert found is not None
    columns: dict[str, list[float]] = {
        "absorption_fraction_score": [one.fraction for one in found.letters],
        "full_absorption_score": [one.full for one in found.letters],
        "num_split_features": [float(len(one.features)) for one in found.letters],
    }
    mean = {f"mean_{name}": float(np.mean(values)) for name, values in columns.items()}
    spread = {f"std_dev_{name}": float(np.std(values, ddof=1)) for name, values in columns.items()}
    return {
        "config": {
            "f1_jump_threshold": SPLIT,
            "max_k_value": MOST_OWN,
            "min_GT_probe_f1": LEAST_F1,
            "prompt_template": TEMPLATE.strip().replace("{}", "{word}", 1).replace(" {}", ""),
        },
        "eval_result_metrics": {"mean": {**mean, **spread}},
        "eval_result_details": [
            {
                "first_letter": one.letter,
                "mean_absorption_fraction": one.fraction,
                "full_absorption_rate": one.full,
                "num_full_absorption": one.num_full,
                "num_probe_true_positives": one.num_words,
                "num_split_features": len(one.features),
            }
            for one in found.letters
        ],
    }
