"""A tiny model's folder, a small text, and an atlas of them."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from tests.families import tiny

from inscape.atlas.steps import STEPS
from inscape.cli import main as shell

WORDS = (
    "the a cat dog bird fish sat ran flew swam on in over under red blue green old new big "
    "small house tree river sea boat and then but when she he they saw found lost kept"
).split()
SMALL = ["--expansion", "2", "--k", "4", "--train-tokens", "12288", "--context", "32"]
# With a store of activations, for the tests that read it; without a map, which takes its time.
ALL = [*SMALL, *(word for step in STEPS if step != "map" for word in ("--only", step))]


@pytest.fixture(autouse=True)
def quick_maps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Maps by t-SNE: UMAP takes long to be loaded."""
    monkeypatch.setattr("inscape.labels.map.find_spec", lambda name: None)


def sentences(seed: int, count: int) -> str:
    draw = random.Random(seed)
    documents = [" ".join(draw.choices(WORDS, k=draw.randint(12, 40))) for _ in range(count)]
    return "\n\n".join(f"{text.capitalize()}." for text in documents) + "\n"


@pytest.fixture(scope="session")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of 120 short documents."""
    path = tmp_path_factory.mktemp("text") / "corpus.txt"
    path.write_text(sentences(0, 120))
    return path


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a random Llama with three layers, context 64, and a byte-level tokenizer."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("models") / "tiny"
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=340,
        special_tokens=["<pad>", "<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([sentences(1, 50)], trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")
    fast.save_pretrained(folder)
    module = tiny("llama", vocab_size=tokenizer.get_vocab_size())
    module.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def atlas(tiny_model: Path, text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An atlas of the tiny model; tests read it and leave it as it is."""
    torch.manual_seed(0)
    out = tmp_path_factory.mktemp("atlases") / "atlas"
    assert shell.main([*map(str, ("build", tiny_model, "--text", text, "--out", out)), *ALL]) == 0
    return out
