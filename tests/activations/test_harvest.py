"""Harvest against plain runs of the model; stopping, going on, and refusals."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.families import D_MODEL, VOCAB_SIZE, tiny

from inscape.activations import ActivationStore, harvest
from inscape.activations import harvest as harvest_function
from inscape.core import DataError, InputError, SiteError, StorageError
from inscape.model import Model

SITES = ["resid_post.1", "mlp_in.0", "mlp_out.0"]
BOS = 1


@pytest.fixture(scope="module")
def model() -> Model:
    return Model.wrap(tiny("llama"), name="tiny", bos="always")


@pytest.fixture(scope="module")
def corpus() -> list[list[int]]:
    """Documents of 1 to 40 tokens; some begin with BOS already, one is empty."""
    rng = np.random.default_rng(0)
    lists = [rng.integers(3, VOCAB_SIZE, size=rng.integers(1, 41)).tolist() for _ in range(40)]
    lists[4] = [BOS, *lists[4]]
    lists[7] = []
    return lists


@pytest.fixture
def make(model: Model, corpus: list[list[int]]) -> Callable[..., ActivationStore]:
    def run(out: Path, **changes: Any) -> ActivationStore:
        settings = {"context": 16, "batch_tokens": 64, "shard_tokens": 200, **changes}
        source = settings.pop("text", corpus)
        return harvest(model, source, settings.pop("sites", SITES), out, **settings)

    return run


def test_activations_are_those_of_unpadded_runs(
    tmp_path: Path, model: Model, corpus: list[list[int]], make: Callable[..., ActivationStore]
) -> None:
    store = make(tmp_path / "store")
    table = store.tokens()
    assert len(list((tmp_path / "store").glob("shard-*"))) > 2
    assert store.num_tokens == len(table)
    assert np.all(np.diff(table.row) >= 0)
    kept = table.ids[~table.is_bos]
    wanted = [token for ids in corpus for token in ids if token != BOS]
    assert kept.tolist() == wanted
    for row in range(int(table.row[-1]) + 1):
        here = np.flatnonzero(table.row == row)
        assert table.ids[here[0]] == BOS
        assert table.flags[here[0]] & 1
        assert table.position[here].tolist() == list(range(len(here)))
        assert len(here) <= 16
        assert len(set(table.document[here].tolist())) == 1
        run = model.run(torch.tensor(table.ids[here].astype(np.int64))[None], read=SITES)
        for site in SITES:
            found = torch.from_numpy(store.read(site, here))
            torch.testing.assert_close(found, run[site][0], atol=2e-3, rtol=1e-2)
    assert set(table.document.tolist()) == set(range(40)) - {7}


def test_neurons_and_heads_are_as_wide_as_their_sites(
    tmp_path: Path, model: Model, make: Callable[..., ActivationStore]
) -> None:
    """Every site was taken to be as wide as the residual stream."""
    sites = ["mlp_act.1", "resid_post.1", "attn_head.0"]
    store = make(tmp_path / "s", sites=sites)
    widths = [model.width(site) for site in sites]
    assert widths[0] != widths[1]
    assert [store.width(site) for site in sites] == widths
    assert store.read("mlp_act.1", np.arange(4)).shape == (4, widths[0])


def test_statistics_leave_bos_out(tmp_path: Path, make: Callable[..., ActivationStore]) -> None:
    store = make(tmp_path / "store")
    table = store.tokens()
    for site in SITES:
        rows = store.read(site, np.flatnonzero(table.kept)).astype(np.float64)
        stats = store.site_stats(site)
        assert stats.count == len(rows) == store.num_kept
        np.testing.assert_allclose(stats.mean, rows.mean(0), atol=1e-6)
        assert stats.mean_norm == pytest.approx(np.linalg.norm(rows, axis=1).mean())
        assert stats.variance == pytest.approx(rows.var(0).sum(), rel=1e-5)
        assert stats.mean_square == pytest.approx((rows**2).sum(1).mean(), rel=1e-5)


def test_massive_tokens_are_flagged_and_left_out(
    tmp_path: Path, model: Model, monkeypatch: pytest.MonkeyPatch, make: Callable[..., Any]
) -> None:
    plain = model.run

    def run(tokens: torch.Tensor, **settings: Any) -> Any:
        def edit(x: torch.Tensor) -> torch.Tensor:
            return torch.where((tokens == 50)[..., None], x * 1000, x)

        return plain(tokens, edits={"resid_post.1": edit}, **settings)

    monkeypatch.setattr(model, "run", run)
    store = make(tmp_path / "store")
    table = store.tokens()
    massive = (table.ids == 50) & ~table.is_bos
    assert massive.any()
    assert np.array_equal(table.is_sink, massive)
    assert store.manifest["num_sinks"] == int(massive.sum())
    batches = list(store.batches(SITES[:1], 64, seed=1, epochs=1))
    assert sum(len(batch[SITES[0]]) for batch in batches) == store.num_kept
    assert max(float(batch[SITES[0]].norm(dim=1).max()) for batch in batches) < 100


def test_max_tokens_cuts_exactly(tmp_path: Path, make: Callable[..., ActivationStore]) -> None:
    whole, part = make(tmp_path / "whole"), make(tmp_path / "part", max_tokens=333)
    assert part.num_tokens in (332, 333)  # a last row of one BOS is not worth keeping
    size = part.num_tokens
    assert part.tokens().ids.tolist() == whole.tokens().ids[:size].tolist()


def test_a_stopped_harvest_goes_on(
    tmp_path: Path, model: Model, monkeypatch: pytest.MonkeyPatch, make: Callable[..., Any]
) -> None:
    wanted = make(tmp_path / "undisturbed")
    calls = []
    plain = model.run

    def run(*args: Any, **settings: Any) -> Any:
        calls.append(1)
        if len(calls) == stop:
            raise KeyboardInterrupt
        return plain(*args, **settings)

    monkeypatch.setattr(model, "run", run)
    stop = 10
    out = tmp_path / "store"
    with pytest.raises(KeyboardInterrupt):
        make(out)
    done = len(list(out.glob("shard-*")))
    assert done >= 1
    with pytest.raises(StorageError, match="manifest"):
        ActivationStore.open(out)
    before, stop = len(calls), -1
    found = make(out)
    total = len(calls) - before
    calls.clear()
    make(tmp_path / "again")
    assert total < len(calls)  # finished shards were not read again
    for site in SITES:
        assert np.array_equal(found.read(site), wanted.read(site))
    assert found.manifest["sites"] == wanted.manifest["sites"]
    calls.clear()
    make(out)
    assert not calls  # a finished store is returned


def test_a_full_disk_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[..., ActivationStore]
) -> None:
    wanted = make(tmp_path / "undisturbed")
    out = tmp_path / "store"
    plain = os.fsync

    def full(descriptor: int) -> None:
        if len(list(out.glob("shard-*"))) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        plain(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr("inscape.storage.atomic.os.fsync", full)
        with pytest.raises(StorageError, match="no space left.*goes on where it was"):
            make(out)
    names = sorted(file.name for file in out.iterdir() if file.name != ".lock")
    assert names == ["harvest.json", "shard-00000.safetensors", "shard-00001.safetensors"]
    assert np.array_equal(make(out).read(SITES[0]), wanted.read(SITES[0]))


def test_a_harvest_that_does_not_fit_is_refused_before_it_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[..., ActivationStore]
) -> None:
    out = tmp_path / "store"
    usage = shutil.disk_usage(tmp_path)._replace(free=50_000)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: usage)
        make(tmp_path / "short", max_tokens=100)
        message = r"about \d+ MB .* do not fit in the 0 MB .*at most \d+ tokens \(--max-tokens\)"
        with pytest.raises(StorageError, match=message):
            make(out)
    assert not list(out.glob("shard-*"))
    assert make(out).num_tokens


def test_a_mended_text_goes_on_with_the_shards_that_it_shares(
    tmp_path: Path,
    model: Model,
    corpus: list[list[int]],
    make: Callable[..., ActivationStore],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wanted = make(tmp_path / "undisturbed")
    out = tmp_path / "store"
    plain, calls = model.run, list[int]()

    def run(tokens: torch.Tensor, **settings: Any) -> Any:
        calls.append(tokens.numel())
        spoil = {"mlp_in.0": lambda x: torch.where((tokens == 2)[..., None], torch.nan, x)}
        return plain(tokens, edits=spoil, **settings)

    monkeypatch.setattr(model, "run", run)
    spoilt = [*corpus[:-1], [*corpus[-1], 2]]
    with pytest.raises(DataError, match="not finite"):
        make(out, text=spoilt)
    shared = len(list(out.glob("shard-*")))
    assert shared > 1
    with pytest.raises(InputError, match="another context"):
        make(out, context=12)
    before = len(calls)
    store = make(out)
    assert len(calls) - before < before, "shards that are there were made again"
    assert np.array_equal(store.read(SITES[0]), wanted.read(SITES[0]))
    assert {n: f for n, f in store.manifest["files"].items() if n.startswith("shard")} == {
        n: f for n, f in wanted.manifest["files"].items() if n.startswith("shard")
    }
    with pytest.raises(InputError, match="another text;"):
        make(out, text=spoilt)


def test_a_text_that_begins_otherwise_shares_no_shard(
    tmp_path: Path, corpus: list[list[int]], make: Callable[..., ActivationStore]
) -> None:
    """The same tokens in documents of other numbers are other shards."""
    long = [7] * 250  # one shard of its own, so that the later ones hold the same tokens
    wanted = make(tmp_path / "undisturbed", text=[long, *corpus])
    out = tmp_path / "store"
    make(out, text=[[7] * 125, [7] * 125, *corpus])
    (out / "manifest.json").unlink()
    request = json.loads((out / "harvest.json").read_text())
    (out / "harvest.json").write_text(json.dumps({**request, "text": None}))
    store = make(out, text=[long, *corpus])
    assert np.array_equal(store.tokens().document, wanted.tokens().document)
    assert np.array_equal(store.tokens().row, wanted.tokens().row)


def test_other_settings_are_refused_by_name(
    tmp_path: Path, corpus: list[list[int]], make: Callable[..., ActivationStore]
) -> None:
    out = tmp_path / "store"
    make(out)
    with pytest.raises(InputError, match="another sites"):
        make(out, sites=["resid_post.0"])
    with pytest.raises(InputError, match="another text"):
        make(out, text=corpus[:-1])
    with pytest.raises(InputError, match="another context"):
        make(out, context=12)
    other = Model.wrap(tiny("gpt2"), name="other", bos="always")
    with pytest.raises(InputError, match=r"another model \(tiny there, other asked for\)"):
        harvest(other, corpus, SITES, out, context=16, shard_tokens=200)


def test_a_broken_shard_is_named_and_made_again(
    tmp_path: Path, make: Callable[..., ActivationStore]
) -> None:
    out = tmp_path / "store"
    wanted = make(out).read(SITES[0])
    shard = out / "shard-00001.safetensors"
    shard.write_bytes(shard.read_bytes()[:-100])
    with pytest.raises(StorageError, match="shard-00001"):
        ActivationStore.open(out)
    assert np.array_equal(make(out).read(SITES[0]), wanted)
    shard.write_bytes(b"x" * shard.stat().st_size)
    with pytest.raises(StorageError, match="shard-00001"):
        ActivationStore.open(out)
    assert np.array_equal(make(out).read(SITES[0]), wanted)


def test_bad_input(tmp_path: Path, make: Callable[..., ActivationStore]) -> None:
    out = tmp_path / "store"
    with pytest.raises(DataError, match="fewer than two documents"):
        make(out, text=[[5, 6, 7]])
    for empty in ([], [[], []]):
        with pytest.raises(DataError, match="empty|fewer"):
            make(tmp_path / f"empty{len(empty)}", text=empty)
    with pytest.raises(SiteError):
        make(tmp_path / "a", sites=["resid_post.99"])
    with pytest.raises(InputError, match="no site"):
        make(tmp_path / "a", sites=[])
    with pytest.raises(InputError, match="max_tokens 0"):
        make(tmp_path / "a", max_tokens=0)
    with pytest.raises(InputError, match="context 999"):
        make(tmp_path / "a", context=999)
    assert harvest_function is harvest


def test_activations_that_are_not_finite_are_refused(
    tmp_path: Path, model: Model, monkeypatch: pytest.MonkeyPatch, make: Callable[..., Any]
) -> None:
    plain = model.run

    def run(tokens: torch.Tensor, **settings: Any) -> Any:
        if "read" not in settings:
            return plain(tokens, **settings)
        spoil = {"mlp_in.0": lambda x: torch.where((tokens == 50)[..., None], torch.nan, x)}
        return plain(tokens, edits=spoil, **settings)

    monkeypatch.setattr(model, "run", run)
    with pytest.raises(DataError, match=r"not finite at position \d+ of document \d+"):
        make(tmp_path / "store")


def test_text_is_encoded(tmp_path: Path, shared: Path) -> None:
    model = Model.open(shared / "stories260k", device="cpu")
    store = harvest(
        model,
        shared / "text" / "stories.txt",
        ["resid_post.0"],
        tmp_path / "s",
        context=64,
        max_tokens=3000,
        shard_tokens=1000,
    )
    table = store.tokens()
    assert table.is_bos.sum() == int(table.row[-1]) + 1
    first = table.ids[(table.document == 0) & ~table.is_bos]
    assert model.decode(first.tolist()).startswith("Once upon a time, there was a little boy")
    assert store.width("resid_post.0") == 64
    assert D_MODEL == 32


def test_a_model_without_finite_logits_is_refused_at_once(tmp_path: Path) -> None:
    module = tiny("llama")
    with torch.no_grad():
        module.model.norm.weight[0] = float("nan")
    corpus = [[5, 6, 7, 8], [9, 10, 11]]
    with pytest.raises(DataError, match="the logits of broken are not finite"):
        harvest(Model.wrap(module, name="broken"), corpus, SITES, tmp_path / "store")
    assert not (tmp_path / "store").exists()


class Template:
    """A tokenizer of single characters with a template."""

    chat_template = "there is one"
    bos_token_id = eos_token_id = unk_token_id = None
    all_special_ids = (2,)

    def __call__(self, text: str, **_: Any) -> dict[str, Any]:
        spans = [(i, i + 1) for i in range(len(text))]
        ids = [2 if c == "#" else ord(c) % 40 + 3 for c in text]
        return {"input_ids": ids, "offset_mapping": spans}

    def encode(self, text: str, **_: Any) -> list[int]:
        return list(self(text)["input_ids"])

    def apply_chat_template(self, messages: list[dict[str, str]], **_: Any) -> str:
        return "".join(f"#{m['role']}:{m['content']}#" for m in messages)


def test_the_template_of_a_chat_does_not_count(tmp_path: Path) -> None:
    model = Model.wrap(tiny("llama"), Template(), name="chat")
    chats = [[{"role": "user", "content": c * 4}] for c in "abcd"]
    file = tmp_path / "chats.jsonl"
    file.write_text("".join(json.dumps({"messages": chat}) + "\n" for chat in chats))
    store = harvest(model, file, SITES, tmp_path / "store")
    table = store.tokens()
    assert len(table) == 4 * len("#user:aaaa#")
    words = ([False] * 6 + [True] * 4 + [False]) * 4
    assert (table.kept | table.is_sink).tolist() == words
    assert store.manifest["made_from"]["bos"] == model.bos
    for site in SITES:  # the residual stream before the last layer decides about sinks
        assert store.site_stats(site).count == store.num_kept
    assert all(site.startswith("resid_") for site in store.median_norms)


def test_special_tokens_in_the_middle_do_not_count(tmp_path: Path) -> None:
    model = Model.wrap(tiny("llama"), name="tiny")
    special = next(iter(model.special_ids))
    corpus = [[5, 6, special, 8, 9, 10] * 3, [11, 12, 13, 14]]
    store = harvest(model, corpus, SITES, tmp_path / "store")
    assert [int(i) for i in store.tokens().ids[store.tokens().is_bos]] == [special] * 3
