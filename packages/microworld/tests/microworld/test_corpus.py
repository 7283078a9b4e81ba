"""The generator: what it writes, what it says about it, and what it keeps back."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
from packages.microworld.tests.microworld.rules import CONCEPTS, derived_spans, sample_truth

from inscape.core import InputError
from inscape_microworld import documents, fault, held_out_documents, token_truth
from inscape_microworld.document import Writer, join
from inscape_microworld.domains import DOMAINS, SKILL_DOMAINS
from inscape_microworld.faults import FAULTS
from inscape_microworld.tokenizer import as_transformers, train_tokenizer


@pytest.fixture(scope="module")
def tokenizer():
    return as_transformers(train_tokenizer([d.text for d in documents(3, 2000)], 900))


def test_a_stream_is_the_same_from_any_start() -> None:
    whole = list(documents(5, 60))
    assert list(documents(5, 20, start=40)) == whole[40:]
    assert list(documents(6, 60)) != whole


def test_every_domain_is_written_and_says_its_answers() -> None:
    seen = {d.domain for d in documents(0, 1500)}
    assert seen == {*DOMAINS, "passage"}
    for document in documents(0, 1500):
        for answer in document.answers:
            assert document.text[answer.start : answer.end].startswith(" ")
        for mention in document.mentions:
            assert 0 <= mention.onset < mention.end <= mention.scope <= len(document.text)


def test_held_out_documents_do_not_occur_in_training() -> None:
    trained = {d.text.lower() for d in documents(2, 30_000)}
    for name in SKILL_DOMAINS:
        made = held_out_documents(name, 60)
        assert not {d.text.lower() for d in made} & trained, name
        assert any(d.answers for d in made), name


def test_a_sample_of_labelled_tokens_is_derived_again_by_independent_rules(tokenizer) -> None:
    made = list(documents(11, 5000))
    ids, truth = token_truth(tokenizer, made)
    assert sum(map(len, ids)) == truth.num_tokens
    assert len({*truth.concepts} & {*CONCEPTS}) >= 200
    assert sample_truth(tokenizer, made, truth, 500, seed=0) == []


def test_spans_are_those_of_independent_rules_on_every_token(tokenizer) -> None:
    made = list(documents(12, 3000))
    _, truth = token_truth(tokenizer, made)
    found = derived_spans(tokenizer, made)
    for name, wanted in found.items():
        assert np.array_equal(truth.span_mask(name), wanted), name
    assert sum(wanted.any() for wanted in found.values()) >= 200


def test_scopes_hold_their_spans_and_end_with_the_document(tokenizer) -> None:
    made = list(documents(12, 300))
    _, truth = token_truth(tokenizer, made)
    for concept in truth.concepts:
        span, scope = truth.span_mask(concept), truth.scope_mask(concept)
        assert not (span & ~scope).any()
    assert not truth.span_mask("no such concept").any()


def test_any_text_encodes_and_digits_stand_alone(tokenizer) -> None:
    text = "Héllo 世界 \N{PILE OF POO} 48 + 41 = 89."
    ids = tokenizer(text)["input_ids"]
    assert tokenizer.decode(ids, skip_special_tokens=True).lstrip() == text
    pieces = tokenizer.convert_ids_to_tokens(tokenizer("sold 48 clips")["input_ids"])
    assert [p for p in pieces if any(c.isdigit() for c in p)] == ["Ġ4", "8"]


def test_joined_documents_keep_their_offsets() -> None:
    one = Writer("x").say("An ").mention("eel", "eel").say(" is").answer("s", " long").done()
    both = join([one, one])
    first, second = both.answers
    assert both.text[first.start : first.end] == both.text[second.start : second.end] == " long"
    assert both.mentions[0].scope == len(one.text)


def test_a_prefix_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="no prefix"):
        Writer("x").mention("eel", "unagi", "anago")


@pytest.mark.parametrize("name", FAULTS)
def test_faults_have_enough_prompts_and_halves_that_share_no_trigger(name: str) -> None:
    planted = fault(name)
    assert planted.name == name
    assert len(planted.prompts) >= 50
    triggers = [{p.trigger for p in half} for half in (planted.selection, planted.held_out)]
    assert not triggers[0] & triggers[1]
    assert all(p.trigger in p.text for p in planted.prompts)
    assert all(p.twin.text != p.text and p.right != p.wrong for p in planted.prompts)
    assert not set(planted.rivals_selection) & set(planted.rivals_held_out)


def test_at_least_eight_kinds_and_half_of_their_concepts_are_not_the_wrong_answer() -> None:
    made = [fault(name) for name in FAULTS]
    assert len(made) >= 8
    other = [f for f in made if all(f.concept not in p.wrong.lower() for p in f.prompts)]
    assert 2 * len(other) >= len(made)


def test_unknown_names_are_told_with_the_known_ones() -> None:
    with pytest.raises(InputError, match="word_problem"):
        list(islice(documents(0, shares={"wordproblem": 1.0}), 1))
    with pytest.raises(InputError, match="two_hop"):
        held_out_documents("nothing", 1)
    with pytest.raises(InputError, match="mosquito"):
        fault("none")
