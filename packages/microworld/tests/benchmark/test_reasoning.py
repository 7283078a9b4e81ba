"""Swaps inside a model: the interchange, and features that are that interchange."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import pytest
import torch
from torch import Tensor

from inscape.core import InputError
from inscape.model import Model
from inscape_microworld import open_model
from inscape_microworld.benchmark import arithmetic, reasoning
from inscape_microworld.benchmark.interface import Entries, entries
from inscape_microworld.benchmark.swaps import (
    FeatureSwap,
    MeanSwap,
    Members,
    Swap,
    answers,
    batch,
    fit_means,
)
from inscape_microworld.document import Document, Writer

PLACES = {"in_italy": ("Italy", " Rome"), "in_japan": ("Japan", " Tokyo")}
TABLE = {"capital": {concept: answer for concept, (_, answer) in PLACES.items()}}
FORMS = ("The capital of {}is", "The government of {}sits in", "{}has its capital in")


@pytest.fixture(scope="module")
def model() -> Model:
    return open_model(device="cpu")


def documents() -> list[Document]:
    found = []
    for concept, (name, answer) in PLACES.items():
        for form in FORMS:
            for lead in ("", "Tom left. ", "Mary is here. ", "It was cold. "):
                before, after = form.split("{}")
                writer = (
                    Writer("two_hop").say(lead + before).mention(concept, name).say(" " + after)
                )
                chain = (name.lower(), concept)
                found.append(writer.answer("two_hop", answer, chain=chain).say(".").done())
    return found


@pytest.fixture(scope="module")
def asked(model: Model) -> list[Swap]:
    """The prompts that the model answers rightly."""
    prompts = reasoning.prompts(documents(), TABLE)
    right, _ = answers(model, batch(model, prompts))
    return [prompt for prompt, ok in zip(prompts, right.tolist(), strict=True) if ok]


def other(swap: Swap) -> Swap:
    (donor,) = set(PLACES) - {swap.concept}
    return replace(swap, donor=donor, wanted=PLACES[donor][1])


def test_prompts_are_documents_with_a_chain() -> None:
    found = reasoning.prompts([*documents(), Writer("words").say("No answer.").done()], TABLE)
    assert len(found) == 24
    assert {swap.group for swap in found} == {"italy, capital", "japan, capital"}
    assert all(swap.text[swap.onset] in "yn" for swap in found)
    assert all(swap.wanted == PLACES[swap.concept][1] for swap in found)


def test_positions_are_those_of_the_mention_and_of_the_answer(model: Model) -> None:
    swap = Swap("The capital of Italy is", 19, 20, "in_italy", "in_italy", " Rome")
    found = batch(model, [swap, replace(swap, text="So: " + swap.text, onset=23, end=24)])
    for row in range(2):
        ids = found.tokens[row]
        start = int(found.answer[row, 0])
        assert model.decode(ids[:start]).strip() == found.swaps[row].text
        said = [model.token_text(int(i)) for i in ids[found.mask("subject")[row]]]
        assert len(said) == 1
        assert said[0].endswith("y")
        assert found.mask("last")[row].nonzero().tolist() == [[start - 1]]
        predicted = found.mask("answer")[row].nonzero().flatten() + 1
        assert model.decode(ids[predicted]) == " Rome"


def test_the_interchange_of_token_embeddings_is_another_token(
    model: Model, asked: list[Swap]
) -> None:
    assert len(asked) >= 12
    swaps = batch(model, [other(swap) for swap in asked])
    (own,) = fit_means(model, asked, ["embed"], ["subject"])
    assert own.basis.shape == (model.d_model, 1)
    hit, first = answers(model, swaps, own)
    assert hit.float().mean() > 0.9
    assert torch.equal(first[hit], swaps.tokens[torch.arange(len(hit)), swaps.answer[:, 0]][hit])
    assert answers(model, swaps, own.random())[0].float().mean() < 0.2
    assert not answers(model, swaps)[0].any()


@dataclass
class Planted:
    """Two features: the shares of two means in the line between them, and nothing else."""

    own: MeanSwap
    name: str = "planted"
    num_features: int = 2
    read: str = ""

    @property
    def site(self) -> str:
        return self.own.site

    def direction(self, feature: int) -> Tensor:
        line = self._line()
        return line if feature else -line

    def encode(self, x: Tensor) -> Entries:
        line = self._line()
        middle = torch.stack(list(self.own.means.values())).mean(0)
        share = (x - middle) @ line / (line @ line)
        return entries(torch.stack([-share, share], 1).relu())

    def _line(self) -> Tensor:
        first, second = self.own.means["in_italy"], self.own.means["in_japan"]
        return second - first


def test_features_that_are_the_concept_do_what_the_interchange_does(
    model: Model, asked: list[Swap]
) -> None:
    swaps = batch(model, [other(swap) for swap in asked])
    (own,) = fit_means(model, asked, ["embed"], ["subject"])
    members = {"in_italy": Members((0,), (0.5,)), "in_japan": Members((1,), (0.5,))}
    change = FeatureSwap(Planted(own), members, "subject")
    for by_means, by_features in zip(
        answers(model, swaps, own), answers(model, swaps, change), strict=True
    ):
        assert torch.equal(by_means, by_features)
    empty = FeatureSwap(Planted(own), {}, "subject")
    assert not answers(model, swaps, empty)[0].any()


def test_a_study_names_the_compositions_that_hold(model: Model, asked: list[Swap]) -> None:
    (own,) = fit_means(model, asked, ["embed"], ["subject"])
    members = {"in_italy": Members((0,), (0.5,)), "in_japan": Members((1,), (0.5,))}
    ways = {
        "planted": partial(FeatureSwap, Planted(own), members),
        "empty": partial(FeatureSwap, Planted(own), {}),
    }
    found = reasoning.study(model, asked, TABLE, ways)
    assert set(found.compositions) <= {"italy, capital", "japan, capital"}
    assert found.trials.total >= 4
    assert found.control.count <= found.trials.count
    assert len(found.by_place) == 3 * (model.num_layers - 1)
    assert found.systems[1].follows.count == 0
    true = {group for group, share in found.compositions.items() if share.value >= 0.9}
    assert {swap.group for swap in found.held} == true
    assert set(found.held) <= set(asked)
    shown = reasoning.row(found, {"swaps followed, interchange": "≥ 0.5"})
    assert shown.checks[1].figure == found.trials.value
    assert found.to_json()["systems"][0]["system"] == "planted"


def sum_document(first: int, second: int) -> Document:
    writer = Writer("word_problem").say("Tom bought")
    writer.mention(f"first_tens_{first // 10}", f" {first // 10}").say(
        f"{first % 10} pens and then "
    )
    writer.say(f"{second} more. What is the total?")
    return writer.answer("sum", f" {first + second}").say(".").done()


def test_donor_digits_change_the_sum_by_their_difference() -> None:
    (problem,) = arithmetic.problems([sum_document(47, 30)])
    assert problem.concept == "first_tens_4"
    for seed in range(5):
        for swap in arithmetic.donated([problem], 10, seed):
            digit = int(swap.donor.rpartition("_")[2])
            assert digit not in (0, 4)
            assert int(swap.wanted) == 77 + 10 * (digit - 4)


def test_an_arithmetic_study_reports_every_system(model: Model) -> None:
    asked = arithmetic.problems(
        sum_document(first, second) for first in range(11, 99, 7) for second in (12, 25, 31)
    )
    own = fit_means(model, asked, ["embed"], ["subject"])[0]
    system = Planted(
        replace(own, means={"in_italy": torch.zeros(128), "in_japan": torch.ones(128)})
    )
    found = arithmetic.study(model, asked, [(system, {})])
    assert found.by_place["embed, subject"] > 0.9 * found.right.value
    assert found.systems["planted"].count == 0
    assert found.site != "embed"
    assert [c.name for c in arithmetic.row(found).checks][-1] == "planted"


def test_no_prompts_are_refused(model: Model) -> None:
    with pytest.raises(InputError, match="no swaps"):
        batch(model, [])
