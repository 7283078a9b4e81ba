"""Formats against their documented formulas (`benchmarks.imports`), and what they refuse."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import huggingface_hub
import huggingface_hub.constants
import pytest
import torch
from benchmarks.imports import CASES, Case, D, differences, draw, qwen, scopium_sae
from safetensors import SafetensorError
from tests.dictionary.test_dictionary import make
from tests.exchange.test_formats import BASIC, THETA, activations, gemma, jump, layer_file, plain
from tests.families import tiny

import inscape
from inscape.core import InputError, SiteError, StorageError
from inscape.dictionary import Dictionary
from inscape.exchange import Asked, export_dictionary, import_dictionary, open_set
from inscape.exchange.sites import of_hook
from inscape.model import Model


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_codes_and_outputs_are_those_of_the_formula(case: Case, tmp_path: Path) -> None:
    code, out = differences(case, tmp_path / "theirs")
    assert code <= 1e-5
    assert out <= 1e-5


@pytest.mark.parametrize("case", CASES[5:9] + CASES[15:21:2], ids=lambda case: case.name)
def test_what_is_saved_is_the_same(case: Case, tmp_path: Path) -> None:
    found = import_dictionary(case.write(tmp_path / "theirs"), case.asked)
    found.save(tmp_path / "ours")
    again = Dictionary.open(tmp_path / "ours")
    assert again.config == found.config
    assert again.config.version == 4 or not (found.config.signed or found.config.skip)
    x = draw(20, case.width, seed=98)
    assert torch.equal(again(x), found(x))
    features = torch.tensor([3, found.d_dict - 2])
    wanted = found.encode(x).dense(found.d_dict)[:, features]
    active = wanted != 0
    torch.testing.assert_close(found.pre(x, features)[active], wanted[active])
    if case.form == "qwen_scope":
        with pytest.raises(InputError, match="has no place for"):
            export_dictionary(found, tmp_path / "out", "sparsify")


def test_a_dictionary_of_several_sites_writes_what_decoder_at_says(tmp_path: Path) -> None:
    for case in CASES:
        found = import_dictionary(case.write(tmp_path / case.name), case.asked)
        if not found.config.several:
            continue
        x = draw(1, case.width, seed=97) * 3
        code = found.encode(x).dense(found.d_dict)
        out = found.split_sites(found(x) - found.base(x))
        assert tuple(out) == found.writes
        for site, part in out.items():
            written = code @ found.decoder_at(site)
            torch.testing.assert_close(written, part, atol=1e-5, rtol=1e-5)
        features = torch.nonzero(code[0]).flatten()[::7]
        read = sum(
            found.encoder_at(site, features) @ part[0]
            for site, part in zip(found.reads, x.split(D, dim=1), strict=True)
        )
        torch.testing.assert_close(
            read + found.b_enc[features], found.pre(x, features)[0], atol=1e-5, rtol=1e-5
        )
    with pytest.raises(InputError, match=r"site resid_post.9"):
        found.decoder_at("resid_post.9")


def test_a_glu_is_linear_with_its_gate_held(tmp_path: Path) -> None:
    found = import_dictionary(scopium_sae("topk", glu=True).write(tmp_path / "glu"))
    x = draw(2, D, seed=96)
    features = torch.tensor([4, 9])
    read = found.encoder_at("resid_post.3", features, x)
    gates = torch.sigmoid((x * found.W_glu[features]).sum(1) + found.b_glu[features])
    wanted = (x * read).sum(1) + gates * found.b_enc[features]
    torch.testing.assert_close(wanted, found.pre(x, features).diagonal())
    with pytest.raises(InputError, match="GLU"):
        found.encoder_at("resid_post.3", features)


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2"])
def test_the_gain_of_the_norm_is_folded_in(family: str, tmp_path: Path) -> None:
    model = Model.wrap(tiny(family))
    source = gemma("gemma-scope-2b-pt-transcoders/layer_2/width_16k/average_l0_7")(tmp_path)
    with pytest.raises(InputError, match=r"before the gain of its norm.*--model"):
        Dictionary.open(source)
    W, V, C = draw(32, 40, seed=1), draw(40, 32, seed=3), draw(32, seed=4)
    arrays = {"W_enc": W, "W_dec": V, "b_enc": BASIC["b_enc"], "b_dec": C, "threshold": THETA}
    import numpy as np

    np.savez(source / "params.npz", **{key: value.numpy() for key, value in arrays.items()})
    found = Dictionary.open(source / "params.npz", model=model)
    assert (found.config.site_in, found.config.k) == ("mlp_in.2", 7)
    read = ["resid_mid.2", "mlp_in.2"]
    acts = model.run(torch.arange(3, 40)[None], read=read)
    x, given = (acts[model.site(site)][0].float() for site in read)
    if family == "gpt2":
        x = x - x.mean(-1, keepdim=True)
    eps = 1e-5 if family == "gpt2" else 1e-6
    normed = x / (x.square().mean(-1, keepdim=True) + eps).sqrt()
    code = jump(normed @ W + BASIC["b_enc"])
    torch.testing.assert_close(found.encode(given).dense(40), code, atol=1e-4, rtol=1e-4)


def test_what_llamascopium_2_has_and_we_have_not_is_refused_by_name(tmp_path: Path) -> None:
    folder = scopium_sae("topk").write(tmp_path / "theirs")
    cfg = json.loads((folder / "config.json").read_text())
    for change, said in (
        ({"sae_type": "lorsa"}, "sae_type 'lorsa'"),
        ({"sae_type": "molt"}, "sae_type 'molt'"),
        ({"act_fn": "layertopk"}, "act_fn 'layertopk'"),
        ({"norm_activation": "batch-wise"}, "norm_activation 'batch-wise'"),
        ({"use_rotary_gate": True}, "'use_rotary_gate' (True)"),
        (
            {"norm_activation": "dataset-wise", "hook_point_in": "x", "hook_point_out": "x"},
            "norm.x",
        ),
    ):
        (folder / "config.json").write_text(json.dumps({**cfg, **change}))
        with pytest.raises(InputError) as caught:
            import_dictionary(folder)
        assert said in str(caught.value)
        assert "--ignore" not in str(caught.value)
    (folder / "config.json").write_text(json.dumps(cfg))
    (folder / "sae_weights.safetensors").rename(folder / "sae_weights.dcp")
    with pytest.raises(InputError, match="another form"):
        import_dictionary(folder)


def test_k_is_asked_for_and_what_is_said_wins(tmp_path: Path) -> None:
    source = qwen().write(tmp_path)
    moved = shutil.copy(source, tmp_path / "layer7.sae.pt")
    with pytest.raises(InputError, match="pass --k"):
        Dictionary.open(moved)
    assert Dictionary.open(source).k == 30
    found = Dictionary.open(moved, k=4, site="resid_post.2")
    assert (found.k, found.config.site_in, found.name) == (4, "resid_post.2", "resid_post.2")
    with pytest.raises(InputError, match="unknown option 'K'"):
        Dictionary.open(moved, K=4)
    scan = "facebook/crv-8b-instruct-transcoders"
    tensors = {key: value.repeat(1, 4) if key == "W_enc" else value for key, value in BASIC.items()}
    big = {**tensors, "W_dec": BASIC["W_dec"].repeat(4, 1), "b_enc": BASIC["b_enc"].repeat(4)}
    from benchmarks.imports import saved

    path = saved({**big, "W_enc": big["W_enc"].T}, tmp_path / "crv" / "layer_3.safetensors")
    (path.parent / "config.yaml").write_text(
        f"model_kind: transcoder_set\nactivation: topk\nscan: {scan}\n"
        "feature_input_hook: mlp.hook_in\nfeature_output_hook: mlp.hook_out\n"
    )
    assert Dictionary.open(path).k == 128


@pytest.mark.parametrize(
    "name", ["../../x", "a/b", "<script>", "a b", ".", "..", "", "ä", "x" * 300]
)
def test_a_name_that_could_be_a_path_is_refused(name: str, tmp_path: Path) -> None:
    source = layer_file({})(tmp_path / "set")
    if name:
        with pytest.raises(InputError, match="letters, digits"):
            import_dictionary(source, Asked(name=name))
    assert import_dictionary(source).name == "mlp.3"


def test_a_layer_that_no_model_has_is_refused(tmp_path: Path) -> None:
    assert of_hook("blocks.3.hook_resid_post") == "resid_post.3"
    assert of_hook(f"blocks.{'9' * 60}.hook_resid_post") is None
    with pytest.raises(SiteError, match="no valid layer"):
        import_dictionary(layer_file({})(tmp_path / "set"), Asked(site="resid_post." + "9" * 50))


def test_a_full_disk_is_one_line_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object) -> None:
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("inscape.exchange.format.save_file", full)
    with pytest.raises(StorageError, match="No space left on device"):
        export_dictionary(make(), tmp_path / "out", "sparsify")
    assert list(tmp_path.iterdir()) == []


def test_files_that_are_empty_or_misshapen_are_one_line(tmp_path: Path) -> None:
    for name in ("layer_3.safetensors", "params.npz"):
        for content in (b"", b"PK\x03\x04 cut short"):
            (tmp_path / name).write_bytes(content)
            with pytest.raises(StorageError, match="half-written or corrupt .*; download or copy"):
                Dictionary.open(tmp_path / name)
    (tmp_path / "params.npz").unlink()
    from benchmarks.imports import saved

    flat = {**BASIC, "W_enc": BASIC["b_enc"], "W_dec": BASIC["b_enc"]}
    saved({key: value.clone() for key, value in flat.items()}, tmp_path / "layer_4.safetensors")
    with pytest.raises(InputError, match="not as its format should be"):
        Dictionary.open(tmp_path / "layer_4.safetensors")
    broken = {**BASIC, "W_enc": BASIC["W_enc"].T.clone()}
    broken["W_enc"][0, 0] = float("nan")
    saved(broken, tmp_path / "layer_5.safetensors")
    with pytest.raises(StorageError, match="W_enc in .*layer_5.safetensors has 1 values"):
        Dictionary.open(tmp_path / "layer_5.safetensors")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A local hub cache without a network; repositories are made with `repository`."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def repository(hub: Path, name: str) -> Path:
    folder = hub / f"models--{name.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("a" * 40)
    snapshot = folder / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    return snapshot


def test_published_dictionaries_open_in_one_line(hub: Path) -> None:
    scope = repository(hub, "google/gemma-scope-2b-pt-res")
    gemma("layer_12/width_16k/average_l0_82")(scope)
    found = inscape.Dictionary.open("google/gemma-scope-2b-pt-res/layer_12/width_16k/average_l0_82")
    x = activations()
    torch.testing.assert_close(found.encode(x).dense(40), plain(jump, subtract=False)(x)[0])
    assert (found.name, found.config.site_in, found.k) == ("resid_post.12", "resid_post.12", 82)
    name = "Qwen/SAE-Res-Qwen3-1.7B-Base-W32K-L0_30"
    shutil.copy(qwen().write(hub.parent / "made"), repository(hub, name) / "layer12.sae.pt")
    found = Dictionary.open(f"{name}/layer12.sae.pt")
    assert (found.k, found.config.site_in) == (30, "resid_post.12")
    with pytest.raises(StorageError, match=r"could not be downloaded.*hf download google/other"):
        Dictionary.open("google/other/layer_1")


def test_a_set_opens_layer_by_layer(hub: Path) -> None:
    files = repository(hub, "someone/files")
    for layer in (0, 2):
        made = layer_file({})(files / str(layer))
        shutil.move(made, files / f"layer_{layer}.safetensors")
    found = Dictionary.open_set("someone/files")
    assert {layer: d.name for layer, d in found.items()} == {0: "mlp.0", 2: "mlp.2"}
    scope = repository(hub, "google/gemma-scope-2b-pt-transcoders")
    listed = repository(hub, "someone/listed")
    lines = ["model_kind: transcoder_set", "feature_input_hook: mlp.hook_in"]
    lines += ["feature_output_hook: mlp.hook_out", "model_name: google/gemma-2-2b", "transcoders:"]
    for layer in range(2):
        gemma(f"layer_{layer}/width_16k/average_l0_7")(scope)
        where = f"google/gemma-scope-2b-pt-transcoders/layer_{layer}/width_16k/average_l0_7"
        lines.append(f"- hf://{where}/params.npz")
    (listed / "config.yaml").write_text("\n".join(lines))
    found = open_set("someone/listed")
    assert [d.config.site_in for d in found.values()] == ["mlp_in.0", "mlp_in.1"]
    x = activations()
    torch.testing.assert_close(found[1].encode(x).dense(40), plain(jump, subtract=False)(x)[0])
    with pytest.raises(InputError, match=r"a set of transcoders.*open_set"):
        Dictionary.open("someone/listed")
    with pytest.raises(InputError, match="is no set"):
        open_set(hub.parent)


def test_one_format_is_one_file_and_the_help_lists_them() -> None:
    from inscape.cli import import_
    from inscape.exchange import FORMATS

    assert list(FORMATS) == import_.FORMATS
    assert replace(Asked(), k=3).k == 3
