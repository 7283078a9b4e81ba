"""Dictionaries: encode, decode, save and open, and what they refuse."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from inscape.core import InputError, StorageError
from inscape.dictionary import Dictionary, DictionaryConfig
from inscape.dictionary.rounding import Stored


def make(*, transcoder: bool = False, d_dict: int = 40, k: int = 4) -> Dictionary:
    generator = torch.Generator().manual_seed(1)
    d_in, d_out = (8, 6) if transcoder else (8, 8)
    config = DictionaryConfig(
        site_in="mlp_in.1" if transcoder else "resid_post.1",
        site_out="mlp_out.1" if transcoder else "resid_post.1",
        d_in=d_in,
        d_out=d_out,
        d_dict=d_dict,
        k=k,
        subtract_b_dec=not transcoder,
    )
    shapes = {"W_enc": (d_dict, d_in), "b_enc": (d_dict,), "W_dec": (d_dict, d_out)}
    weights = {
        name: torch.randn(shape, generator=generator)
        for name, shape in {**shapes, "b_dec": (d_out,)}.items()
    }
    return Dictionary(config, weights, name="resid1", input_scale=0.5, output_scale=0.5)


@pytest.mark.parametrize("transcoder", [False, True])
def test_encode_and_decode_are_the_formula(transcoder: bool) -> None:
    dictionary = make(transcoder=transcoder)
    x = torch.randn((3, 5, 8), generator=torch.Generator().manual_seed(2))
    rows = x.reshape(-1, 8)
    centred = rows if transcoder else rows - dictionary.b_dec
    pre = centred @ dictionary.W_enc.T + dictionary.b_enc
    best, where = pre.relu().topk(4, dim=1)
    dense = torch.zeros_like(pre).scatter_(1, where, best)
    code = dictionary.encode(x)
    torch.testing.assert_close(code.dense(40), dense)
    torch.testing.assert_close(code.of(3), dense[:, 3])
    assert code.l0() == pytest.approx(float((dense > 0).sum(1).float().mean()))
    wanted = dense @ dictionary.W_dec + dictionary.b_dec
    torch.testing.assert_close(dictionary(x), wanted.reshape(3, 5, -1), atol=1e-5, rtol=1e-5)
    chosen = dictionary.pre(x, [7, 2])
    torch.testing.assert_close(chosen.reshape(-1, 2), pre[:, [7, 2]], atol=1e-5, rtol=1e-5)


def test_encoding_in_chunks_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    dictionary = make()
    x = torch.randn((50, 8), generator=torch.Generator().manual_seed(3))
    whole = dictionary.encode(x)
    monkeypatch.setattr("inscape.dictionary.encoder._BUFFER_ENTRIES", 40 * 7)
    parts = dictionary.encode(x)
    assert torch.equal(whole.indices, parts.indices)
    torch.testing.assert_close(whole.values, parts.values)


@pytest.mark.parametrize("kind", ["topk", "threshold"])
def test_preselecting_in_bf16_gives_the_same(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    given = make(d_dict=400, k=12)
    weights = dict(given.weights)
    if kind == "threshold":
        weights["threshold"] = torch.full((400,), 2.5)
    made = Dictionary(given.config.model_copy(update={"kind": kind}), weights)
    x = torch.randn((300, 8), generator=torch.Generator().manual_seed(3)).bfloat16()
    whole = made.encode(x).dense(400)
    asked = []
    monkeypatch.setattr(
        "inscape.dictionary.arithmetic.half_is_faster", lambda *given: asked.append(given) or True
    )
    half = made.encode(x, half=True).dense(400)
    assert len(asked) == 1
    alike = ((whole > 0) == (half > 0)).float().mean()
    assert alike > 0.9999
    both = (whole > 0) & (half > 0)
    torch.testing.assert_close(whole[both], half[both])


def test_low_precision_input_keeps_its_dtype() -> None:
    assert make()(torch.randn(4, 8).bfloat16()).dtype == torch.bfloat16


def test_save_and_open_round_trip(tmp_path: Path) -> None:
    dictionary = make(transcoder=True)
    dictionary.save(tmp_path / "mlp1")
    found = Dictionary.open(tmp_path / "mlp1")
    assert found.config == dictionary.config
    assert (found.name, found.input_scale, found.output_scale) == ("resid1", 0.5, 0.5)
    for name, value in dictionary.weights.items():
        assert torch.equal(value, found.weights[name])


def test_newer_version_and_broken_files_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "resid1"
    make().save(folder)
    manifest = json.loads((folder / "dictionary.json").read_text())
    (folder / "dictionary.json").write_text(json.dumps({**manifest, "version": 99}))
    with pytest.raises(StorageError, match="version 99"):
        Dictionary.open(folder)
    (folder / "dictionary.json").write_text(json.dumps(manifest))
    weights = folder / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    with pytest.raises(StorageError, match=r"weights\.safetensors"):
        Dictionary.open(folder)
    with pytest.raises(StorageError, match="nowhere"):
        Dictionary.open(tmp_path / "nowhere")


def test_weights_and_activations_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    broken = make()
    broken.W_dec[3, 2] = float("inf")
    broken.save(tmp_path / "resid1")
    with pytest.raises(StorageError, match="W_dec in .* has 1 values that are not finite"):
        Dictionary.open(tmp_path / "resid1")
    x = torch.randn(4, 8)
    x[1, 1] = float("nan")
    with pytest.raises(InputError, match="not finite given to resid1"):
        make().encode(x)


def test_a_threshold_is_fp32_on_disk(tmp_path: Path) -> None:
    plain = make()
    config = plain.config.model_copy(update={"kind": "threshold"})
    threshold = torch.rand(40, generator=torch.Generator().manual_seed(3))
    assert not torch.equal(threshold, threshold.bfloat16().float())
    made = Dictionary(config, {**plain.weights, "threshold": threshold})
    made.save(tmp_path / "d")
    opened = Dictionary.open(tmp_path / "d")
    assert opened.threshold is not None
    assert opened.threshold.dtype == torch.float32
    assert torch.equal(opened.threshold, threshold)


@pytest.mark.parametrize(("dtype", "size", "most"), [("bfloat16", 2, 2**-8), ("int8", 1, 1 / 254)])
def test_weights_in_fewer_bits_come_back_as_fp32(
    tmp_path: Path, dtype: Stored, size: int, most: float
) -> None:
    given = make(d_dict=4000)
    given.W_enc[7] = 0.0  # a row without a scale of its own
    given.save(tmp_path / "whole")
    given.save(tmp_path / "d", dtype=dtype)
    manifest = json.loads((tmp_path / "d/dictionary.json").read_text())
    assert (manifest["dtype"], manifest["version"]) == (dtype, 6)
    opened = Dictionary.open(tmp_path / "d")
    sizes = [(tmp_path / p / "weights.safetensors").stat().st_size for p in ("d", "whole")]
    vectors = 4 * 4000 * (2 if dtype == "int8" else 0) + 4 * 4000
    assert sizes[0] == pytest.approx(size * 2 * 8 * 4000 + vectors, abs=600)
    assert sizes[0] < sizes[1]
    for name, value in given.weights.items():
        found = opened.weights[name]
        assert found.dtype == torch.float32
        if value.ndim == 1:
            assert torch.equal(found, value)
        else:
            largest = value.abs().amax(dim=1, keepdim=True)
            assert bool(((found - value).abs() <= largest * most * 1.001).all())
    opened.save(tmp_path / "again", dtype=dtype)
    again = Dictionary.open(tmp_path / "again")
    torch.testing.assert_close(again.W_dec, opened.W_dec, rtol=1e-6, atol=0)


def test_a_type_that_weights_are_not_stored_in_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'int4'; expected one of float32, bfloat16, int8"):
        make().save(tmp_path / "d", dtype="int4")  # type: ignore[arg-type]
    make().save(tmp_path / "d", dtype="int8")
    manifest = json.loads((tmp_path / "d/dictionary.json").read_text())
    (tmp_path / "d/dictionary.json").write_text(json.dumps({**manifest, "dtype": "int4"}))
    with pytest.raises(StorageError, match="stored as 'int4'"):
        Dictionary.open(tmp_path / "d")


def test_wrong_width_and_too_large_k_are_refused() -> None:
    with pytest.raises(InputError, match="width 9"):
        make().encode(torch.randn(2, 9))
    with pytest.raises(InputError, match="k = 50"):
        make(k=50)
