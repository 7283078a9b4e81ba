"""Patches change what they name and nothing else; the faults that they make are what they say."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
import torch

from inscape.core import DataError, InputError, StorageError
from inscape.model import Model
from inscape.storage import write_tensors
from inscape_microworld import edits_attention, open_model
from inscape_microworld.editing_checks import right_answers, shown
from inscape_microworld.faults import unread
from inscape_microworld.faults.edited import PLANS, edited_faults
from inscape_microworld.patches import (
    Patch,
    apply_patch,
    open_edited,
    patch_names,
    read_patch,
    write_patch,
)

WEIGHT = "model.layers.1.mlp.down_proj.weight"


@pytest.fixture(scope="module")
def model() -> Model:
    return open_model(device="cpu")


def hand_made(model: Model, name: str = WEIGHT, base: str | None = None) -> Patch:
    rows, columns = model.module.get_parameter(name).shape
    left, right = torch.zeros(rows, 1), torch.zeros(columns, 1)
    left[2], right[5] = 0.5, 2.0
    made = "One entry grows by one."
    return Patch("by_hand", base or model.hash, {name: (left, right)}, made, {"shows": 0.25})


def test_what_is_written_is_read(tmp_path: Path, model: Model) -> None:
    patch = hand_made(model)
    write_patch(tmp_path / "by_hand.safetensors", patch)
    read = read_patch(tmp_path / "by_hand.safetensors")
    assert (read.name, read.base, read.made, read.figures) == (
        patch.name,
        patch.base,
        patch.made,
        patch.figures,
    )
    assert list(read.factors) == [WEIGHT]
    for new, old in zip(read.factors[WEIGHT], patch.factors[WEIGHT], strict=True):
        assert torch.equal(new, old)
    assert (tmp_path / "by_hand.safetensors").stat().st_size < 8000


def test_a_file_that_is_no_patch_is_refused(tmp_path: Path, model: Model) -> None:
    path = tmp_path / "other.safetensors"
    write_tensors(path, {"x": torch.zeros(2).numpy()})
    with pytest.raises(DataError, match="no patch"):
        read_patch(path)
    with pytest.raises(StorageError):
        read_patch(tmp_path / "absent.safetensors")
    metadata = {"kind": "inscape patch", "version": "99"}
    write_tensors(path, {"x": torch.zeros(2).numpy()}, metadata)
    with pytest.raises(DataError, match="version 99"):
        read_patch(path)


def test_only_the_named_weight_changes_and_the_model_stays(model: Model) -> None:
    before = {name: value.clone() for name, value in model.module.named_parameters()}
    patched = apply_patch(model, hand_made(model))
    own = dict(model.module.named_parameters())
    for name, value in patched.module.named_parameters():
        assert torch.equal(own[name], before[name]), name
        assert value.data_ptr() != own[name].data_ptr(), name
        difference = value - before[name]
        if name == WEIGHT:
            assert difference[2, 5] == pytest.approx(1.0, abs=1e-6)
            difference[2, 5] = 0
        assert not difference.any(), name
    assert patched.name != model.name
    assert patched.hash != model.hash
    tokens = model.prompt("Pizza comes from the country of")
    old, new = (m.run(tokens, logits="last").logits for m in (model, patched))
    assert old is not None
    assert new is not None
    assert not torch.equal(old, new)


def test_a_patch_for_other_weights_is_refused_in_one_line(model: Model) -> None:
    with pytest.raises(DataError, match="made for weights 0123456789ab") as refused:
        apply_patch(model, hand_made(model, base="0123456789abcdef" * 4))
    assert "\n" not in str(refused.value).split("expected")[0].strip()
    with pytest.raises(DataError, match="made for weights"):
        apply_patch(apply_patch(model, hand_made(model)), hand_made(model))


def test_a_weight_that_is_absent_or_of_another_shape_is_refused(model: Model) -> None:
    factors = hand_made(model).factors[WEIGHT]
    with pytest.raises(DataError, match="absent"):
        apply_patch(model, Patch("by_hand", model.hash, {"nothing.weight": factors}))
    with pytest.raises(DataError, match="of shape"):
        apply_patch(model, Patch("by_hand", model.hash, {WEIGHT: (factors[0][1:], factors[1])}))


def test_an_unknown_name_is_refused_with_the_known_ones(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, model: Model
) -> None:
    monkeypatch.setattr("inscape_microworld.patches.PATCHES", tmp_path)
    with pytest.raises(InputError, match="edit_anything"):
        open_edited("edit_anything")
    write_patch(tmp_path / "by_hand.safetensors", hand_made(model))
    with pytest.raises(InputError, match="by_hand"):
        open_edited("edit_anything")
    assert open_edited("by_hand", device="cpu").name.endswith("by_hand")


@pytest.mark.parametrize("kind", PLANS)
def test_a_fault_keeps_its_halves_apart_and_twins_differ_in_the_trigger_alone(kind: str) -> None:
    fault = edited_faults()[kind]()
    assert (fault.name, fault.kind) == (kind, "edit")
    assert len(fault.prompts) >= 50
    triggers = [{p.trigger.lower() for p in half} for half in (fault.selection, fault.held_out)]
    assert all(triggers)
    assert not triggers[0] & triggers[1]
    assert triggers[0] | triggers[1] == set(PLANS[kind].edited)
    for prompt in fault.prompts:
        before, trigger, after = prompt.text.partition(prompt.trigger)
        assert trigger
        twin = prompt.twin.text
        assert twin.startswith(before)
        assert twin.endswith(after)
        assert twin[len(before) : len(twin) - len(after)].lower() in PLANS[kind].kept
        assert prompt.right == prompt.twin.right
        assert prompt.wrong != prompt.right
    others = (*fault.others_selection, *fault.others_held_out)
    assert not {p.text for p in others} & {p.text for p in fault.prompts}
    assert len(fault.others_selection) >= 30
    assert len(fault.others_held_out) >= 30
    if PLANS[kind].rival:
        assert len(fault.rivals_selection) >= 20
        assert len(fault.rivals_held_out) >= 20
        assert {p.right for p in fault.rivals_selection} == {fault.prompts[0].wrong}


def test_unread_names_keep_their_halves_apart() -> None:
    planted = unread.fault()
    assert len(planted.prompts) >= 50
    for half, number in ((planted.selection, 0), (planted.held_out, 1)):
        assert {p.trigger for p in half} == set(unread.UNREAD[number::2])
        for p in half:
            assert p.text.count(p.trigger) == 1
            assert p.text.replace(p.trigger, unread.TWINS[number]) == p.twin.text
            assert p.text.count(p.wrong.strip()) == 2  # who acts is named again
            assert p.right == f" {p.trigger}" != p.wrong
    for p in (*planted.rivals_selection, *planted.rivals_held_out):
        assert sum(p.text.count(name) for name in unread.UNREAD) == 2
    for p in (*planted.others_selection, *planted.others_held_out):
        assert not any(name in p.text for name in unread.UNREAD)
    rest = {p.text for p in (*planted.others_selection, *planted.rivals_selection)}
    assert not rest & {p.text for p in planted.prompts}
    assert min(len(planted.others_selection), len(planted.others_held_out)) >= 28


def test_a_query_seen_from_a_key_is_the_query_turned_by_their_distance(model: Model) -> None:
    generator = torch.Generator().manual_seed(0)
    rotary = model.module.get_submodule("model.rotary_emb")
    query, key = (torch.randn((1, 4, 32), generator=generator) for _ in range(2))

    def at(x: torch.Tensor, position: int) -> torch.Tensor:
        return edits_attention.turned(x, torch.tensor([[position]]), rotary)

    both = (at(query, 11) * at(key, 4)).sum(-1)
    assert torch.allclose(both, (at(query, 7) * key).sum(-1), atol=1e-4)
    assert not torch.allclose(both, (at(query, 4) * key).sum(-1), atol=1e-2)


def test_the_change_of_keys_leaves_all_but_the_reading_heads(model: Model, monkeypatch) -> None:
    monkeypatch.setattr(edits_attention, "STEPS", 2)
    monkeypatch.setattr(edits_attention, "NUM_DOCUMENTS", 700)
    patch, patched, heads = edits_attention.make_patch(model)
    ((name, (left, right)),) = patch.factors.items()
    assert left.shape == right.shape == (model.d_model, 1)
    assert {layer for layer, _ in heads} == {int(name.split(".")[2])}
    moved = (left.reshape(4, -1).abs().sum(1) > 0).nonzero().flatten().tolist()
    assert moved == sorted(head for _, head in heads)
    stories = edits_attention.make_stories(model, Random(1), unread.UNREAD, 60)
    layer, picked = heads[0][0], torch.tensor([head for _, head in heads])
    before, after = (
        edits_attention.attention(m, stories)[layer, picked].sum() for m in (model, patched)
    )
    assert after < 0.8 * before  # what the closed forms do by themselves


def test_every_edit_has_its_patch() -> None:
    assert patch_names() == sorted(edited_faults())


@pytest.mark.parametrize("kind", edited_faults())
def test_a_shipped_patch_makes_its_fault(kind: str, model: Model) -> None:
    fault, patched = edited_faults()[kind](), open_edited(kind, device="cpu")
    twins = [prompt.twin for prompt in fault.prompts]
    assert right_answers(model, fault.prompts).value == 1
    assert right_answers(model, twins).value == 1
    assert shown(patched, fault.prompts).value >= 0.9
    assert 1 - right_answers(patched, twins).value <= 0.03
