"""Forward parity with the libraries themselves, where they are installed (the extra `parity`)."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from inscape.exchange import Asked, export_dictionary, import_dictionary

D, M, K = 12, 40, 5
pytestmark = pytest.mark.filterwarnings("ignore")
X = torch.randn((50, D), generator=torch.Generator().manual_seed(9)) * 1.5 + 0.3


def shake(module: Any) -> None:
    """Weights of every kind away from what they begin with."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, value in module.named_parameters():
            value.copy_(0.4 * torch.randn(value.shape, generator=generator))
            if "threshold" in name:
                value.abs_()


def compare(source: Path, encode: Callable[[Tensor], Tensor], forward: Any, asked: Asked) -> None:
    found = import_dictionary(source, asked)
    with torch.no_grad():
        code, out = encode(X), forward(X)
    assert float((code > 0).float().mean()) > 0.02
    torch.testing.assert_close(found.encode(X).dense(M), code, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found(X), out, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("standard", {}),
        ("topk", {"k": K}),
        ("topk", {"k": K, "rescale_acts_by_decoder_norm": False}),
        ("jumprelu", {}),
        ("gated", {}),
        ("transcoder", {}),
        ("skip_transcoder", {}),
        ("jumprelu_transcoder", {}),
    ],
)
def test_saelens(kind: str, settings: dict[str, Any], tmp_path: Path) -> None:
    pytest.importorskip("sae_lens", reason="SAELens is not installed")
    from sae_lens import registry

    made, config = registry.get_sae_class(kind)
    size = {"d_in": D, "d_sae": M, **settings}
    if "transcoder" in kind:
        size |= {"d_out": D, "apply_b_dec_to_input": False}
    sae = made(config(**size))
    shake(sae)
    sae.save_model(tmp_path / "theirs")
    compare(
        tmp_path / "theirs",
        sae.encode,
        sae,
        Asked(site="mlp_in.2", to="mlp_out.2")
        if "transcoder" in kind
        else Asked(site="resid_post.2"),
    )


def test_saelens_opens_what_is_written(tmp_path: Path) -> None:
    sae_lens = pytest.importorskip("sae_lens", reason="SAELens is not installed")
    from sae_lens import registry

    made, config = registry.get_sae_class("jumprelu")
    sae = made(config(d_in=D, d_sae=M))
    shake(sae)
    sae.save_model(tmp_path / "theirs")
    ours = import_dictionary(tmp_path / "theirs", Asked(site="resid_post.2"))
    export_dictionary(ours, tmp_path / "ours", "saelens")
    again = sae_lens.SAE.load_from_disk(tmp_path / "ours")
    with torch.no_grad():
        torch.testing.assert_close(again(X), sae(X), atol=1e-5, rtol=1e-5)
    assert again.cfg.metadata.hook_name == "blocks.2.hook_resid_post"


@pytest.mark.parametrize(
    "kind",
    [
        "AutoEncoder",
        "AutoEncoderNew",
        "GatedAutoEncoder",
        "JumpReluAutoEncoder",
        "AutoEncoderTopK",
        "BatchTopKSAE",
        "MatryoshkaBatchTopKSAE",
    ],
)
def test_dictionary_learning(kind: str, tmp_path: Path) -> None:
    pytest.importorskip("dictionary_learning", reason="dictionary_learning is not installed")
    from dictionary_learning import dictionary
    from dictionary_learning.trainers import batch_top_k, matryoshka_batch_top_k, top_k
    from dictionary_learning.utils import load_dictionary

    rooms = (dictionary, top_k, batch_top_k, matryoshka_batch_top_k)
    made = next(getattr(room, kind) for room in rooms if hasattr(room, kind))
    extra = {"k": K} if "TopK" in kind else {}
    if kind.startswith("Matryoshka"):
        extra["group_sizes"] = [10, 30]
    ae = made(D, M, **extra)
    shake(ae)
    if "BatchTopK" in kind:
        ae.threshold.fill_(0.6)
    torch.save(ae.state_dict(), tmp_path / "ae.pt")
    trainer = {"dict_class": kind, "k": K, "layer": 2}
    (tmp_path / "config.json").write_text(json.dumps({"trainer": trainer}))
    theirs, _ = load_dictionary(str(tmp_path), "cpu")
    compare(tmp_path, theirs.encode, theirs, Asked())


@pytest.mark.parametrize("transcode", [False, True])
def test_sparsify(transcode: bool, tmp_path: Path) -> None:
    library = pytest.importorskip("sparsify", reason="sparsify is not installed")
    config = library.SparseCoderConfig(
        num_latents=M, k=K, transcode=transcode, skip_connection=transcode
    )
    coder = library.SparseCoder(D, config)
    shake(coder)
    folder = tmp_path / ("layers.2.mlp" if transcode else "layers.2")
    coder.save_to_disk(folder)

    def encode(x: Tensor) -> Tensor:
        found = coder.encode(x)
        return torch.zeros(len(x), M).scatter_(1, found.top_indices, found.top_acts)

    compare(folder, encode, lambda x: coder(x).sae_out, Asked())
    export_dictionary(import_dictionary(folder), tmp_path / "ours", "sparsify")
    again = library.SparseCoder.load_from_disk(tmp_path / "ours")
    with torch.no_grad():
        torch.testing.assert_close(again(X).sae_out, coder(X).sae_out)
