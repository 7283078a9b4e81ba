"""The linearised model against a frozen model made of plain hooks.

The frozen model has the clean run's queries and keys written over its own (so its attention
patterns are the clean ones, whatever the implementation), norms computed by hand with the
clean denominators, and the clean MLP outputs. It is then linear, so that a large change of
the input, not only a small one, must change the output by exactly what the gradient says.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
import torch
from tests.families import NUM_LAYERS, VOCAB_SIZE, tiny
from tests.model.raw import RAW, Raw, first, part, with_first
from torch import Tensor, nn

from inscape.model import Model, Site


def tokens() -> Tensor:
    return torch.randint(3, VOCAB_SIZE, (1, 9), generator=torch.Generator().manual_seed(3))


@pytest.fixture(params=RAW)
def model(request: pytest.FixtureRequest) -> Model:
    return Model.wrap(tiny(request.param), name=request.param)


def frozen_parts(module: nn.Module, raw: Raw) -> tuple[list[nn.Module], ...]:
    layers = range(NUM_LAYERS)
    scores = [part(module, path, layer) for layer in layers for path in raw.scores]
    norms = [part(module, path, layer) for layer in layers for path in raw.norms]
    added = [part(module, raw.mlp_added, layer) for layer in layers]
    norms = [norm for norm in norms if norm not in added]  # a constant's norm is a constant
    return scores, [*norms, part(module, raw.final)], added


@contextmanager
def noting(modules: list[nn.Module], notes: dict[nn.Module, tuple[Tensor, Tensor]]) -> Iterator:
    def note(m: nn.Module, args: Any, output: Any) -> None:
        notes[m] = (args[0].clone(), first(output).clone())

    with ExitStack() as stack:
        for module in modules:
            stack.callback(module.register_forward_hook(note).remove)
        yield


@contextmanager
def frozen(module: nn.Module, raw: Raw, ids: Tensor) -> Iterator[None]:
    """`module` with patterns, denominators and MLP outputs as they are on `ids`."""
    scores, norms, added = frozen_parts(module, raw)
    notes: dict[nn.Module, tuple[Tensor, Tensor]] = {}
    with noting([*scores, *norms, *added], notes), torch.no_grad():
        module(ids)

    def held_scores(m: nn.Module, args: Any, output: Tensor) -> Tensor:
        held = notes[m][1]
        return held if raw.keep_values is None else raw.keep_values(output, held)

    def held_norm(m: Any, args: Any, output: Tensor) -> Tensor:
        x, clean = args[0], notes[m][0]
        if isinstance(m, nn.LayerNorm):
            std = (clean.var(-1, unbiased=False, keepdim=True) + m.eps).sqrt()
            return m.weight * (x - x.mean(-1, keepdim=True)) / std + m.bias
        epsilon = m.variance_epsilon if hasattr(m, "variance_epsilon") else m.eps
        rms = (clean.square().mean(-1, keepdim=True) + epsilon).sqrt()
        return (raw.unit_offset + m.weight) * x / rms

    def held_output(m: nn.Module, args: Any, output: Any) -> Any:
        return with_first(output, notes[m][1])

    with ExitStack() as stack:
        for modules, hook in ((scores, held_scores), (norms, held_norm), (added, held_output)):
            for one in modules:
                stack.callback(one.register_forward_hook(hook).remove)
        yield


def reading(module: nn.Module, raw: Raw, site: Site, ids: Tensor, added: Tensor) -> Tensor:
    """The site's value when `added` is added to what enters the first block; plain hooks."""
    values: list[Tensor] = []

    def push(_: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return (args[0] + added, *args[1:])

    with ExitStack() as stack:
        stack.callback(part(module, raw.blocks, 0).register_forward_pre_hook(push).remove)
        if site.kind == "final":
            note = part(module, raw.final).register_forward_hook(lambda m, a, o: values.append(o))
        else:
            target = part(module, raw.mlp, site.layer)
            note = target.register_forward_pre_hook(lambda m, a: values.append(a[0]))
        stack.callback(note.remove)
        with torch.no_grad():
            module(ids)
    return values[0]


@pytest.mark.parametrize("site", ["final", "mlp_in.2"])
def test_gradients_are_the_frozen_models_differences(model: Model, site: str) -> None:
    ids, raw, target = tokens(), RAW[model.name], Site.parse(site)
    random = torch.Generator().manual_seed(4)
    leaves: list[Tensor] = []

    def leaf(x: Tensor) -> Tensor:
        leaves.append(x.detach().requires_grad_())
        return leaves[-1]

    with model.linearised():
        run = model.run(ids, read=[target], edits={"resid_pre.0": leaf}, grad=True)
    plain = model.run(ids, read=[target], edits={"resid_pre.0": leaf}, grad=True)
    for _ in range(3):
        weights = torch.randn(run[site].shape, generator=random)
        change = leaves[0].std() * torch.randn(leaves[0].shape, generator=random)
        gradient = torch.autograd.grad(run[site], leaves[0], weights, retain_graph=True)[0]
        usual = torch.autograd.grad(plain[site], leaves[1], weights, retain_graph=True)[0]
        with frozen(model.module, raw, ids):
            before = reading(model.module, raw, target, ids, torch.zeros_like(change))
            after = reading(model.module, raw, target, ids, change)
        difference = (weights * (after - before)).sum()
        scale = (weights * (after - before)).abs().sum()
        assert torch.allclose(before, run[site], atol=1e-4)
        assert ((gradient * change).sum() - difference).abs() < 1e-5 * scale
        assert ((usual * change).sum() - difference).abs() > 1e-3 * scale


def test_values_are_the_usual_ones_bit_for_bit(model: Model) -> None:
    ids = tokens()
    usual = model.run(ids, read=model.sites(), logits="all")
    with model.linearised():
        without = model.run(ids, read=model.sites(), logits="all")
        run = model.run(
            ids,
            read=model.sites(),
            edits={"embed": lambda x: x.requires_grad_()},
            logits="all",
            grad=True,
        )
    for other in (without, run):
        assert torch.equal(usual.logits, other.logits)
        for site in model.sites():
            assert torch.equal(usual[site], other[site]), site


def test_values_are_the_usual_ones_in_half_precision(model: Model) -> None:
    model.module.bfloat16()
    ids = tokens()
    usual = model.run(ids, read=model.sites())
    with model.linearised():
        run = model.run(
            ids, read=model.sites(), edits={"embed": lambda x: x.requires_grad_()}, grad=True
        )
    for site in model.sites():
        assert torch.equal(usual[site], run[site]), site


def test_no_gradient_crosses_an_mlp_but_one_reaches_its_input(model: Model) -> None:
    ids = tokens()
    leaves: list[Tensor] = []

    def leaf(x: Tensor) -> Tensor:
        leaves.append(x.detach().requires_grad_())
        return leaves[-1]

    with model.linearised():
        run = model.run(
            ids,
            read=["mlp_in.1", "mlp_out.1", "attn_out.1"],
            edits={"resid_pre.1": leaf},
            grad=True,
        )
    assert not run["mlp_out.1"].requires_grad
    for site in ("mlp_in.1", "attn_out.1"):
        gradient = torch.autograd.grad(run[site].sum(), leaves[0], retain_graph=True)[0]
        assert gradient.abs().max() > 0


def test_a_leaf_at_mlp_out_carries_on() -> None:
    """What attribution does: its own leaves stand for the MLPs' outputs."""
    model, ids = Model.wrap(tiny("gemma2"), name="gemma2"), tokens()
    leaves: list[Tensor] = []

    def leaf(x: Tensor) -> Tensor:
        leaves.append(x.detach().requires_grad_())
        return leaves[-1]

    with model.linearised():
        run = model.run(ids, read=["final", "mlp_in.2"], edits={"mlp_out.0": leaf}, grad=True)
    for site in ("final", "mlp_in.2"):
        gradient = torch.autograd.grad(run[site].sum(), leaves[0], retain_graph=True)[0]
        assert gradient.abs().max() > 0


def test_outside_the_context_gradients_are_usual_again(model: Model) -> None:
    ids = tokens()
    leaves: list[Tensor] = []

    def leaf(x: Tensor) -> Tensor:
        leaves.append(x.detach().requires_grad_())
        return leaves[-1]

    gradients = []
    for use in (False, True, False):
        with ExitStack() as stack:
            if use:
                stack.enter_context(model.linearised())
            run = model.run(ids, read=["final"], edits={"embed": leaf}, grad=True)
            weights = torch.linspace(-1, 1, 32)
            gradients.append(torch.autograd.grad((run["final"] * weights).sum(), leaves[-1])[0])
    assert torch.equal(gradients[0], gradients[2])
    assert not torch.allclose(gradients[0], gradients[1], rtol=1e-2)
