"""An edit at every site against plain torch hooks, written on raw module paths."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from tests.families import VOCAB_SIZE, tiny
from tests.model.raw import RAW, Raw, first, part, with_first
from torch import Tensor

from inscape.core import InputError
from inscape.model import Model, PositionEdit, Site

NO_FUNCTION = PositionEdit(3)  # type: ignore[arg-type]

Edit = Callable[[Tensor], Tensor]


def tokens() -> Tensor:
    return torch.randint(3, VOCAB_SIZE, (2, 9), generator=torch.Generator().manual_seed(1))


def mix(x: Tensor) -> Tensor:
    """An edit that depends on the value, on the position and on the row."""
    out = 0.4 * x
    out[0, 2] += torch.linspace(-2, 2, x.shape[-1])
    out[1, 5] = out[1, 5].flip(-1) + 1.0
    return out


@pytest.fixture(params=RAW)
def model(request: pytest.FixtureRequest) -> Model:
    return Model.wrap(tiny(request.param), name=request.param)


@contextmanager
def plain_hook(model: Model, raw: Raw, site: Site, edit: Edit) -> Iterator[None]:
    """The edit made by hand: on a module's input, on its output, or on a whole block."""
    module, layer = model.module, site.layer

    def on_input(_: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return (edit(args[0]), *args[1:])

    def on_output(_: Any, args: Any, output: Any) -> Any:
        return with_first(output, edit(first(output)))

    handles = []
    if site.kind == "embed":
        handles.append(part(module, raw.blocks, 0).register_forward_pre_hook(on_input))
    elif site.kind == "final":
        handles.append(part(module, raw.final).register_forward_hook(on_output))
    elif site.kind == "resid_mid":
        # The block's second half is computed again, from the edited stream.
        attn_out: list[Tensor] = []

        def note(_: Any, args: Any, output: Any) -> None:
            attn_out.append(first(output))

        def again(_: Any, args: tuple[Any, ...], output: Any) -> Any:
            if len(attn_out) > 1:  # the pass of `mlp_path` below is not the attention
                raise AssertionError
            mid = edit(args[0] + attn_out.pop())
            x = mid
            for path in raw.mlp_path:
                x = part(module, path, layer)(x)
            return with_first(output, mid + x)

        handles.append(part(module, raw.attn_added, layer).register_forward_hook(note))
        handles.append(part(module, raw.blocks, layer).register_forward_hook(again))
    else:
        path, on = {
            "resid_pre": (raw.blocks, "input"),
            "resid_post": (raw.blocks, "output"),
            "attn_out": (raw.attn_added, "output"),
            "mlp_out": (raw.mlp_added, "output"),
            "mlp_in": (raw.mlp, "input"),
            "mlp_act": (raw.down, "input"),
            "attn_head": (raw.heads, "input"),
        }[site.kind]
        target = part(module, path, layer)
        handles.append(
            target.register_forward_pre_hook(on_input)
            if on == "input"
            else target.register_forward_hook(on_output)
        )
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def test_an_edit_changes_what_a_plain_hook_changes(model: Model) -> None:
    ids, raw = tokens(), RAW[model.name]
    with torch.no_grad():
        clean = model.module(ids).logits
    for site in model.sites():
        with plain_hook(model, raw, site, mix), torch.no_grad():
            expected = model.module(ids).logits
        got = model.run(ids, edits={site: mix}, logits="all").logits
        assert got is not None
        assert (expected - clean).abs().max() > 1e-2, site
        assert torch.allclose(got, expected, atol=5e-5, rtol=1e-5), site


def test_the_recorded_value_is_the_edited_one(model: Model) -> None:
    ids = tokens()
    clean = model.run(ids, read=model.sites())
    for site in model.sites():
        edited = model.run(ids, read=model.sites(), edits={site: mix})
        assert torch.allclose(edited[site], mix(clean[site].clone()), atol=2e-5), site
        order = model.sites()
        for earlier in order[: order.index(site)]:
            same_value = str(site) == "resid_pre.0" and str(earlier) == "embed"
            assert torch.equal(edited[earlier], clean[earlier]) or same_value, (site, earlier)


def test_an_edit_that_changes_nothing_is_exact(model: Model) -> None:
    ids = tokens()
    clean = model.run(ids, logits="all").logits
    same = model.run(ids, edits={s: lambda x: x for s in model.sites()}, logits="all").logits
    assert torch.equal(clean, same)


def test_edits_at_several_sites_act_together(model: Model) -> None:
    ids, raw = tokens(), RAW[model.name]
    sites = [Site("resid_pre", 0), Site("attn_out", 1), Site("mlp_in", 1), Site("mlp_out", 2)]
    if not raw.parallel:
        sites.append(Site("resid_mid", 1))
    edits = dict.fromkeys(sites, mix)
    got = model.run(ids, edits=edits, logits="all").logits
    hooks = [plain_hook(model, raw, site, mix) for site in sites]
    with hooks[0], hooks[1], hooks[2], hooks[3], torch.no_grad():
        if raw.parallel:
            expected = model.module(ids).logits
        else:
            # The hand-made resid_mid goes through mlp_path again, whose MLP input and, in
            # layer 1, nothing else is hooked: the order of edits is the same.
            with hooks[4]:
                expected = model.module(ids).logits
    assert got is not None
    assert torch.allclose(got, expected, atol=1e-4, rtol=1e-5)


def test_an_edit_of_attn_out_is_recorded_before_the_edit_of_resid_mid() -> None:
    model, ids = Model.wrap(tiny("gemma2")), tokens()
    clean = model.run(ids, read=["attn_out.1", "resid_pre.1"])
    run = model.run(
        ids,
        read=["attn_out.1", "resid_mid.1"],
        edits={"attn_out.1": lambda x: x + 1, "resid_mid.1": lambda x: 2 * x},
    )
    assert torch.allclose(run["attn_out.1"], clean["attn_out.1"] + 1)
    expected = 2 * (clean["resid_pre.1"] + clean["attn_out.1"] + 1)
    assert torch.allclose(run["resid_mid.1"], expected, atol=1e-5)


def test_an_edit_in_place_leaves_other_sites_as_recorded() -> None:
    model, ids = Model.wrap(tiny("llama")), tokens()
    clean = model.run(ids, read=["resid_post.0"])
    run = model.run(
        ids, read=["resid_post.0", "resid_pre.1"], edits={"resid_pre.1": lambda x: x.zero_()}
    )
    assert torch.equal(run["resid_post.0"], clean["resid_post.0"])
    assert not run["resid_pre.1"].any()


def test_embed_is_edited_before_resid_pre_0() -> None:
    model, ids = Model.wrap(tiny("gpt2")), tokens()
    clean = model.run(ids, read=["embed"])["embed"]
    run = model.run(
        ids,
        read=["embed", "resid_pre.0"],
        edits={"resid_pre.0": lambda x: x + 1, "embed": lambda x: 3 * x},
    )
    assert torch.allclose(run["embed"], 3 * clean)
    assert torch.allclose(run["resid_pre.0"], 3 * clean + 1)


def test_edits_without_reads_run_up_to_the_last_of_them() -> None:
    seen: list[int] = []
    model = Model.wrap(tiny("llama"))

    def see(x: Tensor) -> Tensor:
        seen.append(x.shape[1])
        return x

    run = model.run(tokens(), edits={"mlp_in.0": see, "resid_mid.2": see})
    assert seen == [9, 9]
    assert run.acts == {}


@pytest.mark.parametrize("site", ["resid_post.1", "resid_mid.1"])
def test_an_edit_that_changes_the_shape_is_refused(site: str) -> None:
    model = Model.wrap(tiny("llama"))
    with pytest.raises(InputError, match=rf"edit of {site} returned \(2, 9, 31\)"):
        model.run(tokens(), edits={site: lambda x: x[..., 1:]}, logits="all")
    with pytest.raises(InputError, match="returned NoneType"):
        model.run(tokens(), edits={site: lambda x: None}, logits="all")  # type: ignore[arg-type, return-value]


@pytest.mark.parametrize("edits", [[3], 5, {"final": 3}, {"final": None}, {"embed": NO_FUNCTION}])
def test_what_is_no_edit_is_refused(edits: Any) -> None:
    model, ids = Model.wrap(tiny("llama")), torch.tensor([[3, 4]])
    for use in (lambda: model.run(ids, edits=edits), lambda: model.generate(ids, 2, edits=edits)):
        with pytest.raises(InputError, match="expected (a function|site -> function)"):
            use()


def test_gradients_reach_what_an_edit_puts_in() -> None:
    model, ids = Model.wrap(tiny("llama")), tokens()
    leaf = torch.zeros(2, 9, 32, requires_grad=True)
    run = model.run(ids, edits={"resid_mid.1": lambda x: x + leaf}, logits="last", grad=True)
    assert run.logits is not None
    run.logits[0, 0, 5].backward()
    assert leaf.grad is not None
    step = 1e-2 * torch.randn(2, 9, 32, generator=torch.Generator().manual_seed(2))
    plus, minus = (
        model.run(ids, edits={"resid_mid.1": lambda x, s=s: x + s * step}, logits="last")
        for s in (1, -1)
    )
    slope = (plus.logits - minus.logits)[0, 0, 5] / 2
    assert torch.allclose((leaf.grad * step).sum(), slope, rtol=2e-2)
