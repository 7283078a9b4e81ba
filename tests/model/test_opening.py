"""Opening folders, hub ids and loaded modules; every way in which that can fail."""

from __future__ import annotations

import json
import re
import shutil
import time
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.torch import load_file, save_file
from tests.families import TINY_FAMILIES, tiny, tiny_tokenizer

from inscape.core import InputError, InscapeWarning, ModelError
from inscape.model import Adapter, Model, adapters, opening


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "small"
    tiny("llama", vocab_size=300).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "copy"))


def failure(path: Path | str) -> str:
    with pytest.raises(ModelError) as error:
        Model.open(path, device="cpu")
    message = str(error.value)
    assert "\n" not in message
    return message


def set_config(folder: Path, **changes: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))


def test_a_folder_opens_as_it_was_saved(folder: Path) -> None:
    model = Model.open(folder, device="cpu")
    assert (model.name, model.num_layers, model.d_model) == ("copy", 3, 32)
    assert (model.vocab_size, model.context_length) == (300, 64)
    assert model.bos_id == 1
    assert model.device == torch.device("cpu")
    assert not model.module.training
    assert not any(p.requires_grad for p in model.module.parameters())
    ids = model.prompt("the cat")
    same = Model.wrap(tiny("llama", vocab_size=300)).run(ids, logits="all").logits
    assert torch.equal(model.run(ids, logits="all").logits, same)


@pytest.mark.parametrize("family", TINY_FAMILIES)
def test_every_family_opens_from_disk(family: str, tmp_path: Path) -> None:
    module = tiny(family, vocab_size=300)
    module.save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    model = Model.open(tmp_path, device="cpu")
    assert model.adapter.model_type == family
    ids = model.prompt("the cat sat")
    expected = Model.wrap(module).run(ids, logits="all").logits
    assert torch.equal(model.run(ids, logits="all").logits, expected)


def test_stored_half_precision_is_float32_on_the_cpu_unless_asked(tmp_path: Path) -> None:
    tiny("llama", vocab_size=300).bfloat16().save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    assert Model.open(tmp_path, device="cpu").dtype == torch.float32
    assert Model.open(tmp_path, device="cpu", dtype=torch.bfloat16).dtype == torch.bfloat16


def test_torch_pickles_open_too(folder: Path) -> None:
    expected = Model.open(folder, device="cpu")
    weights = load_file(folder / "model.safetensors")
    torch.save(weights, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    model = Model.open(folder, device="cpu")
    ids = model.prompt("the cat")
    assert torch.equal(model.run(ids, logits="all").logits, expected.run(ids, logits="all").logits)


def test_a_pickle_that_would_run_code_does_not(folder: Path, tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (Path(tmp_path / "sprung"),)  # type: ignore[return-value]

    torch.save({"model.norm.weight": Trap()}, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    assert "cannot be loaded" in failure(folder)
    assert not (tmp_path / "sprung").exists()


def test_no_config(tmp_path: Path) -> None:
    assert "no config.json" in failure(tmp_path)
    assert "save_pretrained" in failure(tmp_path)


def test_no_such_folder(tmp_path: Path) -> None:
    assert "there is no folder" in failure(tmp_path / "missing")
    assert "there is no folder" in failure("./missing")


def test_a_file(folder: Path) -> None:
    assert "is a file" in failure(folder / "config.json")


@pytest.mark.parametrize(
    "content", ["{", "[]", "{}", "[" * 100_000, '{"model_type": "llama", "text_config": null}']
)
def test_a_broken_config(folder: Path, content: str) -> None:
    (folder / "config.json").write_text(content)
    assert "config.json" in failure(folder)


def test_a_family_that_transformers_does_not_know(folder: Path) -> None:
    set_config(folder, model_type="frobnicate")
    message = failure(folder)
    assert "'frobnicate'" in message
    assert "install a newer transformers" in message
    module = tiny("llama")
    module.config.model_type = "frobnicate"  # a class of one's own: inspection needs no name
    assert len(Model.wrap(module).sites()) == len(Model.wrap(tiny("llama")).sites())


def test_missing_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    assert "no weights" in failure(folder)


def test_weights_in_another_layout(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "consolidated.safetensors")
    assert "no weights; expected model.safetensors (or its shards)" in failure(folder)


def test_a_setting_of_another_type_is_named(folder: Path) -> None:
    set_config(folder, rms_norm_eps="small")
    assert re.search("'rms_norm_eps': .*expected float, got str", failure(folder))


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"vocab_size": 10**11}, r"parameters, 2.38e\+04 GiB"),
        ({"hidden_size": 2**26}, "GiB of memory of this machine"),
        ({"intermediate_size": 10**12}, "GiB of memory of this machine"),
        ({"num_hidden_layers": 10**7}, "num_hidden_layers = 10000000; expected at most 1000"),
    ],
)
def test_sizes_that_no_memory_holds_are_refused_before_anything_is_loaded(
    folder: Path, setting: dict[str, int], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*args: Any, **settings: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(opening, "_load_weights", load)
    set_config(folder, **setting)
    assert re.search(said, failure(folder))


def test_a_dtype_that_is_none(folder: Path) -> None:
    with pytest.raises(ModelError, match="dtype 'float32'; expected a torch.dtype"):
        Model.open(folder, dtype="float32")  # type: ignore[arg-type]


def test_a_missing_shard_is_named(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    names = sorted(weights)
    save_file({n: weights[n] for n in names[:5]}, folder / "model-00001-of-00002.safetensors")
    (folder / "model.safetensors").unlink()
    index = {n: f"model-0000{1 if n in names[:5] else 2}-of-00002.safetensors" for n in names}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    assert "lacks 1 of 2 weight files, model-00002-of-00002" in failure(folder)


def test_truncated_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    assert "cannot be loaded" in failure(folder)


def test_weights_that_lack_a_parameter(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    message = failure(folder)
    assert "lack 1 parameters, 'model.layers.1.mlp.up_proj.weight' first" in message


def test_weights_of_another_shape(folder: Path) -> None:
    set_config(folder, intermediate_size=72)
    assert "cannot be loaded" in failure(folder)


def test_more_layers_than_the_config_says(folder: Path) -> None:
    set_config(folder, num_hidden_layers=2)
    message = failure(folder)
    assert "have more layers than its config.json: 9 parameters are left over" in message
    assert "'model.layers.2.input_layernorm.weight' first" in message


def test_weights_without_a_place_are_said(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["surplus.weight"] = torch.ones(2)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.warns(InscapeWarning, match=r"1 weights have no place.*'surplus.weight' first"):
        Model.open(folder, device="cpu")


@pytest.mark.parametrize(
    "content",
    ["{", "[]", '{"weight_map": null}', '{"weight_map": [1]}', '{"weight_map": {"a": 5}}'],
)
def test_an_index_of_another_kind(folder: Path, content: str) -> None:
    (folder / "model.safetensors.index.json").write_text(content)
    assert "model.safetensors.index.json" in failure(folder)


def test_a_tokenizer_that_loses_spaces_is_said(folder: Path) -> None:
    path = folder / "tokenizer.json"
    settings = json.loads(path.read_text())
    settings["normalizer"] = {"type": "Replace", "pattern": {"Regex": " +"}, "content": " "}
    path.write_text(json.dumps(settings))
    with pytest.warns(InscapeWarning, match=r"turns 'a b  c' into 'a b c'; transformers \d"):
        Model.open(folder, device="cpu")


@pytest.mark.parametrize(
    ("error", "step"),
    [
        (
            ImportError("it requires accelerate: `pip install 'accelerate>=1'`"),
            r"run: pip install 'acc",
        ),
        (ModuleNotFoundError("No module named 'fla'", name="fla"), "install the package fla$"),
    ],
)
def test_a_missing_package_is_the_next_step(
    folder: Path, monkeypatch: pytest.MonkeyPatch, error: ImportError, step: str
) -> None:
    def missing(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(opening.transformers.AutoModelForCausalLM, "from_pretrained", missing)
    message = failure(folder)
    assert re.search(step, message)
    assert "again" not in message


def test_a_revision_is_of_a_hub_id(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ModelError, match="has no revision 'v2'; expected a hub id"):
        Model.open(folder, revision="v2")
    asked: list[object] = []

    def snapshot(hub_id: str, **settings: object) -> str:
        asked.append(settings["revision"])
        return str(Path(shutil.copytree(folder, tmp_path / "snapshots" / "abc")))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    model = Model.open("someone/small", revision="v2", device="cpu")
    assert (asked, model.revision, model.source) == (["v2"], "abc", "someone/small")


@pytest.mark.parametrize("nothing", [None, "", 5])
def test_what_is_no_path(nothing: Any) -> None:
    assert "cannot be opened from" in failure(nothing)


def test_a_name_beside_the_user_is_a_folder_before_a_hub_id(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)
    assert Model.open("copy", device="cpu").source == str(folder)
    monkeypatch.setenv("HOME", str(folder.parent))
    assert Model.open("~/copy", device="cpu").name == "copy"


def test_no_tokenizer(folder: Path) -> None:
    for path in folder.glob("tokenizer*"):
        path.unlink()
    message = failure(folder)
    assert "no tokenizer" in message
    assert "Model.wrap" in message


def test_a_broken_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{}")
    assert "tokenizer" in failure(folder)


def test_a_hub_id_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    message = failure("someone/some-model")
    assert "'someone/some-model' is neither a folder nor in the local hub cache" in message
    assert "hf download someone/some-model" in message


def test_a_hub_id_in_the_local_cache(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "models--someone--small"
    shutil.copytree(saved, repository / "snapshots" / ("a" * 40))
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("a" * 40)
    model = Model.open("someone/small", device="cpu")
    assert model.name == "someone/small"
    assert model.hash == Model.open(saved, device="cpu").hash


@pytest.mark.parametrize("device", ["abacus", "meta", "mps", "cuda:99", "cpu:x"])
def test_a_device_that_cannot_be_used(saved: Path, device: str) -> None:
    with pytest.raises(InputError) as error:
        Model.open(saved, device=device)
    assert device in str(error.value)
    assert "\n" not in str(error.value)


def test_the_hash_is_of_the_content(saved: Path, folder: Path) -> None:
    first = Model.open(saved, device="cpu").hash
    assert len(first) == 64
    assert Model.open(folder, device="cpu").hash == first
    weights = load_file(folder / "model.safetensors")
    weights["model.layers.1.mlp.up_proj.weight"][3, 4] += 1e-3
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    second = Model.open(folder, device="cpu").hash
    set_config(folder, rms_norm_eps=1e-4)
    assert len({first, second, Model.open(folder, device="cpu").hash}) == 3


def test_every_weight_counts_in_the_hash_however_large(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    hashes = set()
    for name in weights:
        changed = {**weights, name: weights[name].clone()}
        flat = changed[name].view(-1)
        flat[len(flat) // 2] += 1e-3
        save_file(changed, folder / "model.safetensors", metadata={"format": "pt"})
        hashes.add(Model.open(folder, device="cpu").hash)
    assert len(hashes) == len(weights)


@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16])
def test_a_model_has_one_hash_opened_or_wrapped_in_any_precision(
    tmp_path: Path, stored: torch.dtype
) -> None:
    module = tiny("gpt2", vocab_size=300).to(stored)
    module.save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    expected = Model.wrap(module).hash
    half = Model.open(tmp_path, device="cpu", dtype=torch.bfloat16)
    assert half.hash == expected  # of what is stored, though it was rounded
    opened = Model.open(tmp_path, device="cpu")
    assert opened.hash == Model.wrap(opened.module).hash == expected


def test_the_hash_is_found_once_for_the_same_files(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INSCAPE_CACHE", str(tmp_path / "cache"))
    time.sleep(0.06)
    first = Model.open(folder, device="cpu").hash
    with monkeypatch.context() as patch:
        patch.setattr(opening, "module_hash", lambda module: "found again")
        assert Model.open(folder, device="cpu").hash == first
    # An edit of the open model is no edit of the file; wrapped, it has a hash of its own.
    model = Model.open(folder, device="cpu")
    model.module.model.norm.weight.data[0] += 1  # type: ignore[union-attr,operator]
    assert model.hash == first
    assert Model.wrap(model.module).hash != first


def test_wrapped_modules_have_a_hash_of_their_weights() -> None:
    assert Model.wrap(tiny("gpt2")).hash == Model.wrap(tiny("gpt2")).hash
    other = tiny("gpt2")
    other.transformer.h[1].mlp.c_fc.weight[0, 0] += 1e-3
    hashes = {Model.wrap(m).hash for m in (tiny("gpt2"), tiny("gpt2", seed=1), other)}
    assert len(hashes) == 3


STARCODER2 = Adapter(
    model_type="starcoder2",
    layers="model.layers",
    final_norm="model.norm",
    attn="self_attn",
    mlp="mlp",
    attn_added="self_attn",
    mlp_added="mlp",
)


def entry_points_with(value: str) -> object:
    point = EntryPoint("starcoder2", value, adapters.ENTRY_POINT_GROUP)

    def entry_points(**wanted: str) -> EntryPoints:
        return EntryPoints([point]).select(**wanted)

    return entry_points


def test_another_package_names_the_parts_of_a_family(monkeypatch: pytest.MonkeyPatch) -> None:
    module = tiny("starcoder2")
    monkeypatch.setattr(adapters, "entry_points", entry_points_with(f"{__name__}:STARCODER2"))
    adapters._foreign.cache_clear()
    model = Model.wrap(module)
    assert model.adapter is STARCODER2
    assert model.structure.blocks[1].mlp is module.model.layers[1].mlp
    monkeypatch.setattr(adapters, "entry_points", entry_points_with("json:dumps"))
    adapters._foreign.cache_clear()
    with pytest.raises(ModelError, match="json:dumps"):
        Model.wrap(module)
    adapters._foreign.cache_clear()


def test_a_module_that_does_not_run() -> None:
    module = tiny("llama")
    del module.model.layers[1].mlp
    with pytest.raises(ModelError, match="LlamaForCausalLM fails on eight tokens"):
        Model.wrap(module)


def test_something_that_is_no_language_model() -> None:
    with pytest.raises(ModelError, match="Linear has no config"):
        Model.wrap(torch.nn.Linear(2, 2))
    with pytest.raises(ModelError, match="LlamaModel has no head"):
        Model.wrap(tiny("llama").model)


def test_a_hub_that_cannot_be_reached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))

    class ConnectError(Exception):  # network libraries have trees of their own
        pass

    def unreachable(hub_id: str, *, local_files_only: bool = False, **_: object) -> str:
        if local_files_only:
            raise LocalEntryNotFoundError("not here")
        raise ConnectError("no route\nat all")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    assert "could not be downloaded (ConnectError: no route)" in failure("someone/some-model")
