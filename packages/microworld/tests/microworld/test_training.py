"""The training's parts: recipes, the optimiser for matrices, what counts as a skill."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from inscape.core import InputError, Share
from inscape_microworld import FOLDER, card
from inscape_microworld.document import Document, Writer
from inscape_microworld.faults import Fault, FaultPrompt, Prompt
from inscape_microworld.fingerprint import fingerprint
from inscape_microworld.muon import Muon, orthogonal
from inscape_microworld.publishing import model_page
from inscape_microworld.skills import fault_rates, first_token, measure
from inscape_microworld.tokenizer import as_transformers, table_words, train_tokenizer
from inscape_microworld.train import RECIPES, batches, make_model, make_optimisers, schedule


def test_sizes_are_as_promised() -> None:
    with torch.device("meta"):
        counts = {
            name: sum(p.numel() for p in make_model(recipe, recipe.vocabulary).parameters())
            for name, recipe in RECIPES.items()
        }
    assert counts["s"] <= 3e6
    assert 22e6 < counts["m"] < 28e6


def test_updates_are_brought_near_orthogonal() -> None:
    torch.manual_seed(0)
    for shape in ((3, 16, 40), (2, 40, 16)):
        values = torch.linalg.svdvals(orthogonal(torch.randn(shape)))
        assert values.min() > 0.6
        assert values.max() < 1.3


def test_muon_learns_and_goes_on_from_its_state() -> None:
    torch.manual_seed(0)
    x, y = torch.randn(64, 8), torch.randn(64, 4)

    def run(weight: torch.Tensor, optimiser: Muon, num_steps: int) -> float:
        loss = torch.tensor(0.0)
        for _ in range(num_steps):
            loss = (x @ weight.T - y).square().mean()
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()
        return loss.item()

    whole = torch.zeros(4, 8, requires_grad=True)
    first = run(whole, Muon([whole], 0.02), 1)
    whole = torch.zeros(4, 8, requires_grad=True)
    last = run(whole, Muon([whole], 0.02), 30)
    assert last < 0.9 * first
    part = torch.zeros(4, 8, requires_grad=True)
    before = Muon([part], 0.02)
    run(part, before, 10)
    after = Muon([part], 0.02)
    after.load_state_dict(before.state_dict())
    run(part, after, 20)
    assert torch.equal(part, whole)


def test_every_parameter_has_one_optimiser() -> None:
    recipe = RECIPES["s"]
    model = make_model(recipe, 300)
    trained = [
        p for o in make_optimisers(model, recipe) for g in o.param_groups for p in g["params"]
    ]
    assert len(trained) == len({id(p) for p in trained}) == len(list(model.parameters()))


def test_rates_rise_and_fall() -> None:
    recipe = RECIPES["s"]
    assert schedule(recipe, 0, 0) < 0.01
    assert schedule(recipe, recipe.warmup_steps, 0) == 1
    late = [schedule(recipe, 10_000, seen) for seen, _ in recipe.rates]
    assert late == pytest.approx([share for _, share in recipe.rates])
    assert late[-1] == 0
    assert recipe.rates[-1][0] == recipe.tokens


@pytest.fixture(scope="module")
def tokenizer():
    return as_transformers(train_tokenizer([*table_words(), "Tom adds 1 + 2 = 3."] * 3, 1200))


def test_a_stream_of_batches_goes_on_where_it_was(tokenizer) -> None:
    recipe = RECIPES["s"]
    stream = batches(tokenizer, recipe)
    following, first = next(stream)
    second = next(stream)[1]
    again = next(batches(tokenizer, recipe, following))[1]
    assert all(torch.equal(a.tokens, b.tokens) for a, b in zip(second, again, strict=True))
    assert len(first) != len(second) or not torch.equal(first[0].tokens, second[0].tokens)
    answers = max(b.weights.max().item() for b in first)
    assert answers == recipe.answer_weight


def test_a_checkpoint_of_another_recipe_is_refused(tmp_path, monkeypatch, tokenizer) -> None:
    from inscape_microworld import train as module

    monkeypatch.setattr(module, "make_tokenizer", lambda recipe: tokenizer)
    folder = tmp_path / "model.checkpoint"
    folder.mkdir()
    torch.save({"recipe": {"seed": 9}}, folder / "state.pt")
    with pytest.raises(InputError, match="another recipe"):
        module.train(RECIPES["s"], tmp_path / "model")
    assert not (tmp_path / "model").exists()


def _worked() -> Document:
    return (
        Writer("x")
        .say("Tom adds.")
        .answer("work", " 1 + 2 = 3")
        .say(". It is")
        .answer("two_step", " 3")
        .say(".")
        .done()
    )


def test_a_worked_problem_counts_only_if_its_steps_are_right(tokenizer, monkeypatch) -> None:
    from inscape_microworld import skills

    monkeypatch.setattr(skills, "held_out_documents", lambda *_, **__: [_worked()])
    ids = tokenizer(_worked().text)["input_ids"]

    def logits(tokens: torch.Tensor, spoilt: int | None = None) -> torch.Tensor:
        wanted = torch.nn.functional.one_hot(tokens.roll(-1, 1), len(tokenizer)).float()
        if spoilt is not None:
            wanted[:, spoilt] = 0
        return wanted

    alone = partial(measure, tokenizer=tokenizer, count=1, domains=["x"], special=[])
    assert alone(logits) == {"two_step": Share(1, 1)}
    step = next(i for i, t in enumerate(ids) if tokenizer.decode([t]).strip() == "+")
    found = alone(lambda tokens: logits(tokens, step - 1))
    assert found == {"two_step": Share(0, 1)}


def test_a_fault_shows_where_the_wrong_answer_is_said(tokenizer) -> None:
    twin = Prompt("the twin", " Rome")
    named = FaultPrompt("one", " Rome", " Paris", "one", twin)
    unnamed = FaultPrompt("two", " Rome", "", "two", twin)
    rivals = (Prompt("three", " Rome"),)
    made = Fault("f", "t", "c", "soft", "outvoted", (named,), (unnamed,), rivals)
    said = first_token(tokenizer, " Paris")

    def logits(tokens: torch.Tensor) -> torch.Tensor:
        found = torch.zeros(*tokens.shape, len(tokenizer))
        found[..., said] = 1
        return found

    rates = fault_rates(logits, tokenizer, made)
    assert {name: share.value for name, share in rates.items()} == {
        "shown (selection)": 1,
        "shown (held out)": 1,
        "twins wrong": 1,
        "rivals wrong": 1,
    }


def test_the_fingerprint_is_of_what_is_written(monkeypatch) -> None:
    from inscape_microworld import fingerprint as module

    before = fingerprint()
    assert before == fingerprint()
    fingerprint.cache_clear()
    monkeypatch.setattr(module, "SEED", 1)
    assert fingerprint() != before
    fingerprint.cache_clear()


def test_the_bundled_page_is_made_from_its_card() -> None:
    page = (FOLDER / "README.md").read_text()
    assert page == model_page(card(), "inscape microworld (s)")
    assert all(f"| {name} | " in page for name in card()["skills"])  # type: ignore[attr-defined]
