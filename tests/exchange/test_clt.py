"""Cross-layer transcoders of circuit-tracer's layout, against the formula written out here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.exchange.test_formats import MLP, activations, draw, halved, layer_file, refused
from torch import Tensor

from inscape.core import InputError, StorageError
from inscape.dictionary import Dictionary
from inscape.exchange import Asked, export_dictionary, import_dictionary

LAYERS, WIDTH, FEATURES = 3, 8, 20
HOOKS = {"feature_input_hook": "hook_resid_mid", "feature_output_hook": "hook_mlp_out"}


def tensors(threshold: bool) -> dict[str, Tensor]:
    found = {}
    for n in range(LAYERS):
        found[f"W_enc_{n}"] = draw(FEATURES, WIDTH, seed=10 + n)
        found[f"b_enc_{n}"] = draw(FEATURES, seed=20 + n)
        found[f"b_dec_{n}"] = draw(WIDTH, seed=30 + n)
        found[f"W_dec_{n}"] = draw(FEATURES, LAYERS - n, WIDTH, seed=40 + n)
        if threshold:
            found[f"threshold_{n}"] = draw(FEATURES, seed=50 + n).abs()
    return found


def write(folder: Path, *, threshold: bool = False, config: dict[str, Any] | None = None) -> Path:
    folder.mkdir()
    for name, value in tensors(threshold).items():
        if name.startswith("W_dec"):
            save_file({name: value}, folder / f"{name}.safetensors")
    for n in range(LAYERS):
        own = {
            k: v
            for k, v in tensors(threshold).items()
            if k.endswith(f"_{n}") and not k.startswith("W_dec")
        }
        save_file(own, folder / f"W_enc_{n}.safetensors")
    settings = {"model_name": "some/model", "model_kind": "cross_layer_transcoder", **HOOKS}
    lines = [f"{key}: {value}" for key, value in {**settings, **(config or {})}.items()]
    (folder / "config.yaml").write_text("\n".join(lines))
    return folder


def forward(x: Tensor, threshold: bool) -> tuple[Tensor, Tensor]:
    """(codes, outputs) of x [layers, tokens, width], layer by layer."""
    w, codes = tensors(threshold), []
    outputs = [w[f"b_dec_{n}"].expand(x.shape[1], -1) for n in range(LAYERS)]
    for n in range(LAYERS):
        pre = x[n] @ w[f"W_enc_{n}"].T + w[f"b_enc_{n}"]
        code = pre * (pre > w[f"threshold_{n}"]) if threshold else pre.relu()
        codes.append(code)
        for target in range(n, LAYERS):
            outputs[target] = outputs[target] + code @ w[f"W_dec_{n}"][:, target - n]
    return torch.cat(codes, 1), torch.cat(outputs, 1)


@pytest.mark.parametrize("threshold", [False, True])
def test_what_is_read_computes_what_the_formula_says(threshold: bool, tmp_path: Path) -> None:
    found = import_dictionary(write(tmp_path / "clt", threshold=threshold))
    assert found.made_from["format"] == "clt_files"
    assert found.config.sites_in == ("resid_mid.0", "resid_mid.1", "resid_mid.2")
    assert found.config.sites_out == ("mlp_out.0", "mlp_out.1", "mlp_out.2")
    assert found.config.cross_layer
    x = draw(LAYERS, 50, WIDTH, seed=3) * 4
    code, out = forward(x, threshold)
    rows = found.concat_sites(dict(zip(found.config.sites_in, x, strict=True)))
    torch.testing.assert_close(found.encode(rows).dense(LAYERS * FEATURES), code)
    torch.testing.assert_close(found(rows), out, atol=1e-5, rtol=1e-5)
    found.save(tmp_path / "ours")
    assert torch.equal(Dictionary.open(tmp_path / "ours")(rows), found(rows))
    with pytest.raises(InputError, match="has no place for"):
        export_dictionary(found, tmp_path / "theirs", "saelens")


def test_sites_may_be_told(tmp_path: Path) -> None:
    folder = write(tmp_path / "clt", config={"feature_input_hook": "ln2.hook_normalized"})
    assert "reads mlp_in.0+mlp_in.1+mlp_in.2 before the gain" in refused(folder)
    folder = write(tmp_path / "odd", config={"feature_input_hook": "hook_q"})
    assert "at which site" in refused(folder)
    told = import_dictionary(folder, Asked("mlp_in.*", "mlp_out"))
    assert told.config.sites_in == ("mlp_in.0", "mlp_in.1", "mlp_in.2")
    assert told.config.sites_out == ("mlp_out.0", "mlp_out.1", "mlp_out.2")


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"model_kind": "transcoder_set"}, "model_kind 'transcoder_set'"),
        ({"activation": "topk"}, "activation 'topk'"),
        ({"gain": 3}, "'gain' (3)"),
    ],
)
def test_unknown_settings_are_refused_by_name(
    config: dict[str, Any], said: str, tmp_path: Path
) -> None:
    assert said in refused(write(tmp_path / "clt", config=config))


def test_unknown_missing_and_misshapen_tensors_are_named(tmp_path: Path) -> None:
    folder = write(tmp_path / "clt")
    file = folder / "W_enc_1.safetensors"
    plain = load_file(file)
    save_file({**plain, "W_skip_1": draw(WIDTH, WIDTH)}, file)
    assert "'W_skip_1'" in refused(folder)
    save_file({key: value for key, value in plain.items() if key != "b_dec_1"}, file)
    assert "'b_dec_1'" in refused(folder)
    save_file({**plain, "threshold_1": draw(FEATURES)}, file)
    assert "the layers" in refused(folder)
    save_file(plain, file)
    save_file({"W_dec_1": draw(FEATURES, 3, WIDTH)}, folder / "W_dec_1.safetensors")
    assert "(20, 3, 8); expected (20, 8) and (20, 2, 8)" in refused(folder)
    (folder / "W_dec_1.safetensors").unlink()
    with pytest.raises(StorageError, match="W_dec_1"):
        import_dictionary(folder)
    (folder / "config.yaml").write_text("a: [")
    with pytest.raises(StorageError, match=r"config\.yaml is half-written or corrupt"):
        import_dictionary(folder)


def test_the_hooks_beside_layer_files_count(tmp_path: Path) -> None:
    source = layer_file({})(tmp_path / "set")
    x = activations()
    torch.testing.assert_close(import_dictionary(source)(x), halved(x)[1], atol=1e-4, rtol=1e-4)
    assert "name one of its 1 files, such as layer_3.safetensors" in refused(source.parent)
    config = source.parent / "config.yaml"
    config.write_text(
        "model_kind: transcoder_set\nfeature_input_hook: mlp.hook_in\n"
        "feature_output_hook: mlp.hook_out\n"
    )
    found = import_dictionary(source).config
    assert (found.site_in, found.site_out) == MLP
    config.write_text(config.read_text().replace("mlp.hook_in", "hook_resid_mid"))
    assert import_dictionary(source).config.site_in == "resid_mid.3"
    config.write_text("model_kind: transcoder_set\nactivation: topk\n")
    assert "does not say its k" in refused(source)
    config.write_text(config.read_text() + "activation_scale: 2\n")
    said = refused(source)
    assert "'activation_scale' (2)" in said
    assert "--ignore" not in said
