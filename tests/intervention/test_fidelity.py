"""Fidelity on dictionaries whose figures are known beforehand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.attribution.random_transcoders import random_dictionary
from tests.families import D_MODEL, VOCAB_SIZE, tiny
from tests.intervention.dictionaries import constant, perfect
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from inscape.core import InputError
from inscape.dictionary import Dictionary
from inscape.intervention import fidelity, splice
from inscape.intervention.fidelity import LOGITS
from inscape.model import Model

SITE = "resid_post.1"


@pytest.fixture(scope="module")
def model() -> Model:
    return Model.wrap(tiny("llama"))


def rows(seed: int = 0, num: int = 6, length: int = 12) -> torch.Tensor:
    tokens = torch.randint(
        3, VOCAB_SIZE, (num, length), generator=torch.Generator().manual_seed(seed)
    )
    tokens[:, 0] = 1  # beginning of text
    return tokens


def test_a_perfect_dictionary(model: Model) -> None:
    found = fidelity(model, perfect(SITE, D_MODEL), [rows(0), rows(1)])
    assert found.fvu == pytest.approx(0, abs=1e-9)
    assert found.ev == pytest.approx(1)
    assert found.loss_recovered_zero == pytest.approx(1, abs=1e-5)
    assert found.loss_recovered_mean == pytest.approx(1, abs=1e-5)
    assert found.extra_ce == pytest.approx(0, abs=1e-6)
    assert found.kl == pytest.approx(0, abs=1e-6)
    assert found.l0 == pytest.approx(D_MODEL)
    for name in ("cosine", "norm_ratio", "bias", "token_ev"):
        assert getattr(found, name) == pytest.approx(1, abs=1e-5)
    assert found.num_tokens == 2 * 6 * 11
    assert found.num_predictions == 2 * 6 * 10
    assert found.num_documents == 12


def test_a_dictionary_that_shrinks(model: Model) -> None:
    tokens = rows()
    x = model.run(tokens, read=[SITE])[SITE][:, 1:].reshape(-1, D_MODEL).double()
    whole = perfect(SITE, D_MODEL)
    half = Dictionary(whole.config, {**whole.weights, "W_dec": whole.W_dec / 2}, name="half")
    found = fidelity(model, half, [tokens])
    norms = x.norm(dim=1)
    assert found.norm_in == pytest.approx(float(norms.mean()), rel=1e-5)
    assert found.norm_out == pytest.approx(float(norms.mean()) / 2, rel=1e-5)
    assert (found.norm_ratio, found.bias) == pytest.approx((0.5, 0.5), rel=1e-5)
    assert found.cosine == pytest.approx(1)
    assert found.mse == pytest.approx(float((x / 2).square().mean()), rel=1e-5)
    assert found.l1 == pytest.approx(float(x.abs().sum(1).mean()), rel=1e-5)
    nothing = fidelity(model, constant(SITE, torch.zeros(D_MODEL)), [tokens])
    assert nothing.kl == pytest.approx(nothing.kl_zero)
    assert found.kl_zero == pytest.approx(nothing.kl_zero)


def test_the_mean_explains_nothing_however_large_it_is() -> None:
    module = tiny("llama")
    module.model.embed_tokens.weight[:, 5] += 40  # an offset that all tokens share
    model = Model.wrap(module)
    tokens = rows()
    x = model.run(tokens, read=[SITE])[SITE][:, 1:].reshape(-1, D_MODEL)
    found = fidelity(model, constant(SITE, x.mean(0)), [tokens])
    assert 1 - float((x - x.mean(0)).square().sum() / x.square().sum()) > 0.9  # the usual fault
    assert found.fvu == pytest.approx(1, abs=1e-4)
    assert found.ev == pytest.approx(0, abs=1e-4)
    assert found.loss_recovered_mean == pytest.approx(0, abs=1e-4)
    assert found.l0 == 0


def test_a_dictionary_that_says_zero_is_the_zero_floor(model: Model) -> None:
    found = fidelity(model, constant(SITE, torch.zeros(D_MODEL)), [rows()])
    assert found.loss_recovered_zero == pytest.approx(0, abs=1e-6)
    assert found.ce_dict == pytest.approx(found.ce_zero)


def test_losses_are_those_of_hooks_written_by_hand(model: Model) -> None:
    dictionary = random_dictionary(SITE, SITE, d=D_MODEL, k=8)
    tokens = rows()
    mean = model.run(tokens, read=[SITE])[SITE][:, 1:].mean((0, 1))

    def loss(change) -> tuple[float, torch.Tensor]:  # type: ignore[no-untyped-def]
        def hook(module, args, output):  # type: ignore[no-untyped-def]
            return torch.cat([output[:, :1], change(output)[:, 1:]], 1)

        handle = model.module.model.layers[1].register_forward_hook(hook)
        logits = model.module(tokens).logits[:, 1:-1].flatten(0, 1)
        handle.remove()
        ce = torch.nn.functional.cross_entropy(logits, tokens[:, 2:].flatten())
        return float(ce), logits.log_softmax(-1)

    found = fidelity(model, dictionary, [tokens[:4], tokens[4:]])
    clean, clean_logs = loss(lambda x: x)
    spliced, spliced_logs = loss(dictionary)
    zero, _ = loss(torch.zeros_like)
    floor, _ = loss(lambda x: mean.expand_as(x))
    kl = float((clean_logs.exp() * (clean_logs - spliced_logs)).sum(-1).mean())
    wanted = {"ce_clean": clean, "ce_dict": spliced, "ce_zero": zero, "ce_mean": floor, "kl": kl}
    assert {name: getattr(found, name) for name in wanted} == pytest.approx(wanted, rel=1e-4)
    assert found.loss_recovered_zero == pytest.approx((zero - spliced) / (zero - clean), rel=1e-3)
    assert found.extra_ce == pytest.approx(spliced - clean, rel=1e-3)


def test_fvu_by_the_textbook(model: Model) -> None:
    dictionary = random_dictionary("mlp_in.1", "mlp_out.1", d=D_MODEL, k=8)
    tokens = rows()
    run = model.run(tokens, read=["mlp_in.1", "mlp_out.1"])
    x, y = (run[s][:, 1:].reshape(-1, D_MODEL) for s in ("mlp_in.1", "mlp_out.1"))
    wanted = (y - dictionary(x)).square().sum() / (y - y.mean(0)).square().sum()
    found = fidelity(model, dictionary, [tokens])
    assert found.fvu == pytest.approx(float(wanted), rel=1e-4)
    assert found.l0 == pytest.approx(dictionary.encode(x).l0())


def test_the_beginning_of_text_is_left_out() -> None:
    figures = []
    for scale in (1.0, 1000.0):
        module = tiny("llama")
        module.model.embed_tokens.weight[1] *= scale
        model = Model.wrap(module)
        found = fidelity(model, random_dictionary("embed", "embed", d=D_MODEL), [rows()])
        figures.append((found.fvu, found.l0, found.num_tokens))
    assert figures[0] == pytest.approx(figures[1])


def test_tokens_that_do_not_count_change_nothing(model: Model) -> None:
    dictionary = random_dictionary(SITE, SITE, d=D_MODEL)
    tokens = rows(length=10)
    counted = torch.ones_like(tokens, dtype=torch.bool)
    counted[:, 7:] = False
    padded = fidelity(model, dictionary, [(tokens, counted)])
    short = fidelity(model, dictionary, [tokens[:, :7]])
    for name in ("ce_clean", "ce_dict", "ce_mean", "kl", "fvu", "l0", "num_predictions"):
        assert getattr(padded, name) == pytest.approx(getattr(short, name), rel=1e-5)


def test_several_dictionaries_are_spliced_in_together(model: Model) -> None:
    first = random_dictionary("mlp_in.0", "mlp_out.0", d=D_MODEL, seed=1)
    second = random_dictionary("mlp_in.1", "mlp_out.1", d=D_MODEL, seed=2)
    tokens = rows()

    def hook(dictionary):  # type: ignore[no-untyped-def]
        def apply(module, args, output):  # type: ignore[no-untyped-def]
            return torch.cat([output[:, :1], dictionary(args[0])[:, 1:]], 1)

        return apply

    layers = model.module.model.layers
    handles = [layers[i].mlp.register_forward_hook(hook(d)) for i, d in enumerate((first, second))]
    wanted = model.module(tokens).logits
    for handle in handles:
        handle.remove()
    found = model.run(tokens, edits=splice(model, [first, second]), logits="all").logits
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
    both = fidelity(model, [first, second], [tokens])
    one, other = (fidelity(model, dictionary, [tokens]) for dictionary in (first, second))
    assert both.l0 == pytest.approx((one.l0 + other.l0) / 2)
    assert min(one.fvu, other.fvu) < both.fvu < max(one.fvu, other.fvu)
    nothing = torch.zeros_like(tokens, dtype=torch.bool)
    empty = fidelity(model, first, [tokens, (tokens, nothing)])
    assert empty.fvu == pytest.approx(one.fvu)


def test_intervals_hold_the_figure_and_are_reproducible(model: Model) -> None:
    dictionary = random_dictionary(SITE, SITE, d=D_MODEL, k=16)
    found = fidelity(model, dictionary, [rows(num=20)], seed=4)
    for name in ("loss_recovered_zero", "fvu", "extra_ce", "kl"):
        low, high = found.interval[name]
        assert low < getattr(found, name) < high
    assert found == fidelity(model, dictionary, [rows(num=20)], seed=4)
    assert fidelity(model, dictionary, [rows(num=1)]).interval == {}


def test_nothing_to_measure_is_said(model: Model) -> None:
    dictionary = perfect(SITE, D_MODEL)
    for batches in ([], [torch.tensor([[1, 5]])]):
        with pytest.raises(InputError, match="no token counts"):
            fidelity(model, dictionary, batches)
    with pytest.raises(InputError, match="no dictionary"):
        fidelity(model, [], [rows()])
    with pytest.raises(InputError, match="two dictionaries write"):
        splice(model, [dictionary, dictionary])


class Largest(TorchDispatchMode):
    """Notes the bytes of the largest tensor that is made within it."""

    bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, torch.Tensor):
                self.bytes = max(self.bytes, tensor.numel() * tensor.element_size())
        return made


def test_memory_does_not_grow_with_batch_times_vocabulary() -> None:
    """A batch of 16 rows of 1,024 tokens took 3 GB for each tensor of GPT-2's logits."""
    model = Model.wrap(tiny("llama", vocab_size=50_000))
    dictionary = random_dictionary(SITE, SITE, d=D_MODEL, k=8)
    with Largest() as largest:
        found = fidelity(model, dictionary, [rows(num=16, length=40)])
    assert largest.bytes <= 4 * LOGITS < 16 * 40 * 50_000 * 4 / 3
    assert found.num_predictions == 16 * 38


def test_intervals_resample_documents(model: Model) -> None:
    """Four copies of a row are one observation, if it is said that they are of one document."""
    dictionary = random_dictionary(SITE, SITE, d=D_MODEL, k=16)
    tokens = rows(num=12).repeat_interleave(4, 0)
    counted = torch.ones_like(tokens, dtype=torch.bool)
    apart = fidelity(model, dictionary, [(tokens, counted)])
    halves = [slice(0, 22), slice(22, 48)]  # a document may lie in two batches
    numbers = [row // 4 for row in range(48)]
    together = fidelity(model, dictionary, [(tokens[h], counted[h], numbers[h]) for h in halves])
    assert (apart.num_documents, together.num_documents) == (48, 12)
    assert together.fvu == pytest.approx(apart.fvu)
    widths = [float(np.subtract(*f.interval["fvu"][::-1])) for f in (apart, together)]
    assert 1.5 < widths[1] / widths[0] < 2.7  # two, up to chance


def test_weights_that_are_not_finite_are_named(model: Model) -> None:
    dictionary = random_dictionary(SITE, SITE, d=D_MODEL, k=8)
    dictionary.W_dec[:, 3] = float("nan")
    with pytest.raises(InputError, match=f"not finite with {dictionary.name}"):
        fidelity(model, dictionary, [rows()])


def test_attention_sinks_are_left_out_wherever_they_are() -> None:
    module = tiny("llama")
    module.model.embed_tokens.weight[7] *= 1000
    model, tokens = Model.wrap(module), rows(length=20)
    tokens[tokens == 7] = 8
    tokens[:, 9] = 7
    everything = torch.ones_like(tokens, dtype=torch.bool)
    found = fidelity(model, random_dictionary(SITE, SITE, d=D_MODEL, k=8), [(tokens, everything)])
    assert found.num_tokens == 6 * 18
    assert found.num_predictions == 6 * 16


def test_a_share_of_no_loss_is_not_said(model: Model) -> None:
    """Noughts in place of the stream may cost a model nothing: then there is nothing to recover."""
    found = fidelity(model, random_dictionary(SITE, SITE, d=D_MODEL), [rows(num=20)])
    low, high = found.interval["cost_zero"]
    assert low < found.ce_zero - found.ce_clean < high
    costly = replace(found, ce_zero=found.ce_clean + 1, interval={"cost_zero": (0.5, 1.5)})
    assert costly.said("loss_recovered_zero") == found.loss_recovered_zero
    assert replace(costly, interval={}).said("loss_recovered_zero") == found.loss_recovered_zero
    unsure = replace(costly, interval={"cost_zero": (-0.1, 1.5)})
    assert unsure.said("loss_recovered_zero") is None
    free = replace(costly, ce_zero=found.ce_clean - 1, interval={})
    assert free.said("loss_recovered_zero") is None
    assert free.said("fvu") == found.fvu
