"""SAELens: a folder with cfg.json and sae_weights.safetensors, versions 5 and 6.

1. Settings of before version 6 are brought to its names: hook_point, activation_fn_str,
   normalize_activations as a bool, a TopK named by its activation function.
2. pre = (norm(x) - b_dec·apply_b_dec_to_input) @ W_enc + b_enc, W_enc [d_in, d_sae].
3. TopK with rescale_acts_by_decoder_norm chooses by pre·‖d‖: the norms are folded into the encoder.
   BatchTopK and Matryoshka are published as jumprelu with one threshold; their training checkpoints
   carry a scalar topk_threshold and unfolded norms.
4. expected_average_only_in multiplies x by √d / mean‖x‖, which the files may leave out; it is
   folded in from `scale`. layer_norm and constant_norm_rescale are done for each token.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from inscape.core import InputError
from inscape.dictionary import Dictionary
from inscape.exchange import format as fmt
from inscape.exchange.format import Asked, Format, Normalize, Weights
from inscape.exchange.sites import hook_of, of_hook

CFG, WEIGHTS = "cfg.json", "sae_weights.safetensors"
VERSION = "6.54.12"
"""What a written folder says of itself: the version whose layout it has."""
_RENAMED = {
    "hook_point": "hook_name",
    "hook_point_head_index": "hook_head_index",
    "activation_fn_str": "activation_fn",
}
_COMPUTED = (
    "architecture d_in d_sae d_out apply_b_dec_to_input normalize_activations "
    "reshape_activations activation_fn activation_fn_kwargs k rescale_acts_by_decoder_norm "
    "finetuning_scaling_factor"
).split()
# Where it comes from and how it was trained: nothing of it is computed with afterwards.
_DESCRIPTIVE = (
    "metadata dtype device hook_name hook_name_out hook_layer hook_layer_out hook_head_index "
    "hook_head_index_out hook_point_layer model_name model_class_name "
    "model_from_pretrained_kwargs prepend_bos context_size dataset_path "
    "dataset_trust_remote_code sae_lens_version sae_lens_training_version neuronpedia_id "
    "seqpos_slice exclude_special_tokens hf_hook_name hf_hook_name_out tokens_per_buffer "
    "is_dataset_tokenized use_cached_activations seed lp_norm b_dec_init_method "
    "from_pretrained_path expansion_factor noise_scale mse_loss_normalization "
    "decoder_heuristic_init init_encoder_as_decoder_transpose "
    "scale_sparsity_penalty_by_decoder_norm normalize_sae_decoder l1_coefficient "
    "decoder_init_norm l0_coefficient jumprelu_init_threshold jumprelu_bandwidth "
    "jumprelu_sparsity_loss_mode topk_threshold_lr aux_loss_coefficient "
    "use_sparse_activations matryoshka_widths detach_matryoshka_losses "
    "use_matryoshka_aux_loss l1_warm_up_steps l0_warm_up_steps pre_act_loss_coefficient "
    "jumprelu_tanh_scale"
).split()
_NORMS: dict[str, Normalize] = {
    "none": "none",
    "layer_norm": "layer_norm",
    "constant_norm_rescale": "constant_norm",
}
_COMMON = {"W_enc": "W_enc.T", "W_dec": "W_dec", "b_dec": "b_dec"}
_PLAIN = {**_COMMON, "b_enc": "b_enc"}
_JUMP, _BATCH = {**_PLAIN, "threshold": "threshold"}, {**_PLAIN, "threshold": "topk_threshold"}
_TENSORS = {
    **dict.fromkeys(("standard", "topk", "transcoder"), _PLAIN),
    **dict.fromkeys(("jumprelu", "jumprelu_transcoder"), _JUMP),
    **dict.fromkeys(("batchtopk", "matryoshka_batchtopk"), _BATCH),
    "gated": {**_COMMON, "b_gate": "b_gate", "b_mag": "b_mag", "r_mag": "r_mag"},
    "skip_transcoder": {**_PLAIN, "W_skip": "W_skip"},
}


class SAELens(Format):
    """SAELens, versions 5 and 6."""

    about = f"SAELens: {CFG} with {WEIGHTS}"
    files = (CFG, WEIGHTS)
    normalizes = True

    def read(self, source: Path, asked: Asked) -> Dictionary:
        cfg = current(fmt.read_settings(source / CFG))
        fmt.refuse_unknown(cfg, _COMPUTED + _DESCRIPTIVE, source / CFG, asked.ignore)
        where = {**cfg, **(cfg.get("metadata") or {})}
        architecture = cfg["architecture"]
        norm = cfg.get("normalize_activations", "none")
        for what, value, allowed in (
            ("architecture", architecture, _TENSORS),
            ("reshape_activations", cfg.get("reshape_activations", "none"), ["none", "hook_z"]),
            ("activation_fn", cfg.get("activation_fn", "relu"), ["relu", "topk"]),
            ("hook_head_index", where.get("hook_head_index"), [None]),
            ("normalize_activations", norm, [*_NORMS, "expected_average_only_in"]),
        ):
            fmt.only(value, allowed, what, source / CFG)
        weights = self._weights(source, architecture, cfg)
        transcoder = architecture.endswith("transcoder")
        if norm == "expected_average_only_in":
            weights = _scaled(weights, asked.scale, source)
        hooks = where.get("hook_name"), where.get("hook_name_out") if transcoder else None
        found = of_hook(hooks[0]), of_hook(hooks[1] if transcoder else hooks[0])
        return self.made(
            weights,
            source,
            asked,
            found,
            f"hook {hooks[0]}",
            subtract=bool(cfg.get("apply_b_dec_to_input", True)) and not transcoder,
            k=cfg.get("k"),
            normalize=_NORMS.get(norm, "none"),
        )

    def _weights(self, source: Path, architecture: str, cfg: dict[str, Any]) -> Weights:
        """In our layout, foldings done."""
        raw = fmt.read_weights(source / WEIGHTS)
        factor = raw.pop("scaling_factor", None)
        found = fmt.take(raw, _TENSORS[architecture], source / WEIGHTS)
        if architecture in ("standard", "transcoder", "skip_transcoder"):
            found["threshold"] = torch.zeros(())
        if cfg.get("rescale_acts_by_decoder_norm", False):
            norms = found["W_dec"].norm(dim=1)
            found["W_enc"] = found["W_enc"] * norms[:, None]
            found["b_enc"] = found["b_enc"] * norms
            found["W_dec"] = found["W_dec"] / norms[:, None]
        if factor is not None and not bool((factor == 1).all()):
            if not cfg.get("finetuning_scaling_factor"):
                raise InputError(
                    f"{source / WEIGHTS} has a scaling_factor that {CFG} does not speak of",
                    expected="finetuning_scaling_factor = true next to it",
                )
            found["W_dec"] = found["W_dec"] * factor[:, None]
        return found

    def write(self, dictionary: Dictionary, folder: Path) -> None:
        """Version 6. A dictionary of thresholds is written as jumprelu."""
        config, weights = dictionary.config, dict(dictionary.weights)
        architecture = self._architecture(dictionary)
        metadata: dict[str, Any] = {
            "sae_lens_version": VERSION,
            "hook_name": hook_of(config.site_in) or config.site_in,
        }
        cfg: dict[str, Any] = {
            "architecture": architecture,
            "d_in": config.d_in,
            "d_sae": config.d_dict,
            "dtype": "float32",
            "device": "cpu",
            "apply_b_dec_to_input": config.subtract_b_dec,
            "normalize_activations": {v: k for k, v in _NORMS.items()}[config.normalize],
            "reshape_activations": "none",
            "metadata": metadata,
        }
        if config.transcoder:
            cfg["d_out"] = config.d_out
            metadata["hook_name_out"] = hook_of(config.site_out) or config.site_out
        if architecture == "topk":
            cfg |= {"k": config.k, "rescale_acts_by_decoder_norm": False}
        weights["W_enc"] = weights["W_enc"].T
        if architecture in ("transcoder", "skip_transcoder"):
            del weights["threshold"]
        fmt.save(weights, folder / WEIGHTS)
        fmt.save_settings(cfg, folder / CFG)

    def _architecture(self, dictionary: Dictionary) -> str:
        config = dictionary.config
        if not config.transcoder:
            return "topk" if config.kind == "topk" else "jumprelu"
        plain = dictionary.threshold is not None and not bool((dictionary.threshold > 0).any())
        if config.skip and plain:
            return "skip_transcoder"
        if config.kind == "topk" or config.skip:
            raise InputError(
                f"{dictionary.name} is a transcoder by {config.kind}"
                + (" with a skip" if config.skip else ""),
                expected="ReLU or thresholds, a skip with ReLU alone: SAELens has no other",
                next_step="export it to sparsify",
            )
        return "transcoder" if plain else "jumprelu_transcoder"


def current(cfg: dict[str, Any]) -> dict[str, Any]:
    """Settings of any version by the names of version 6 (step 1)."""
    metadata = cfg.get("metadata") or {}
    version = str(cfg.get("sae_lens_version") or metadata.get("sae_lens_version") or "0")
    if version.split(".")[0].isdigit() and int(version.split(".")[0]) >= 6:
        return cfg
    cfg = {_RENAMED.get(key, key): value for key, value in cfg.items()}
    cfg.setdefault("architecture", "standard")
    cfg.setdefault("apply_b_dec_to_input", True)
    kwargs = cfg.get("activation_fn_kwargs") or {}
    if cfg.get("activation_fn") == "topk" and kwargs.get("k") is not None:
        cfg |= {"architecture": "topk", "k": kwargs["k"]}
    norm = cfg.get("normalize_activations")
    if norm is None or isinstance(norm, bool):
        cfg["normalize_activations"] = "expected_average_only_in" if norm else "none"
    if "hook_z" in str(cfg.get("hook_name", "")):
        cfg.setdefault("reshape_activations", "hook_z")
    return cfg


def _scaled(weights: Weights, scale: float | None, source: Path) -> Weights:
    """Training saw x·s (step 4): W_enc·s, W_dec / s, b_dec / s, thresholds as they are."""
    if scale is None:
        raise InputError(
            f"{source} was trained on activations times a factor that its files leave out",
            expected="sqrt(d_in) over the mean norm of the activations",
            next_step="pass it as --scale",
        )
    return {
        **weights,
        "W_enc": weights["W_enc"] * scale,
        "W_dec": weights["W_dec"] / scale,
        "b_dec": weights["b_dec"] / scale,
    }
