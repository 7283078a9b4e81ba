"""The generator: what it writes, what it says about it, and what it keeps back."""

from __future__ import annotations

import re
from itertools import islice

import numpy as np
import pytest
from tests.microworld.rules import derived_spans

from inscape.core import InputError
from inscape.microworld import documents, fault, held_out_documents, token_truth
from inscape.microworld.document import Writer, join
from inscape.microworld.domains import DOMAINS
from inscape.microworld.facts import LANDMARKS, NAMES, deciding_prefix
from inscape.microworld.splits import held_out
from inscape.microworld.tokenizer import as_transformers, train_tokenizer

SUM = re.compile(r"(\d\d)\D+?(\d\d)\D*? (\d{2,3})(?=\.)")


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


def test_sums_are_right_and_held_out_pairs_are_never_trained() -> None:
    count = 0
    for document in documents(1, 4000):
        if document.domain not in ("word_problem", "drill"):
            continue
        for first, second, total in SUM.findall(document.text):
            count += 1
            assert int(first) + int(second) == int(total), document.text
            pair = sorted((int(first), int(second)))
            assert not held_out("sum", *pair, percent=10)
    assert count > 1000
    for document in held_out_documents("word_problem", 50):
        first, second, _ = SUM.findall(document.text)[0]
        assert held_out("sum", *sorted((int(first), int(second))), percent=10)


def test_held_out_combinations_do_not_occur_in_training() -> None:
    for domain in ("indirect_object", "landmark", "two_hop", "dish", "insect"):
        kept_back = {_skeleton(d.text) for d in held_out_documents(domain, 150)}
        share = {domain: 1.0}
        trained = {_skeleton(d.text) for d in documents(2, 2500, shares=share)}
        assert not kept_back & trained, domain


def _skeleton(text: str) -> str:
    """The text without what is drawn freely and does not count as a combination."""
    from inscape.microworld.domains.givers import GIFTS, PLACES

    words = re.findall(r"[A-Za-z]+", text.lower())
    free = {*PLACES, *GIFTS}
    if words[:2] == ["tom", "asked"] or "asked" in words[:2]:
        words = words[1:]  # who asks is drawn freely
    if any(w.capitalize() in NAMES for w in words):  # a pair of names, in either order
        names = sorted({w for w in words if w.capitalize() in NAMES})
        words = [w for w in words if w.capitalize() not in NAMES] + names
    return " ".join(w for w in words if w not in free)


def test_spans_are_those_of_an_independent_rule(tokenizer) -> None:
    made = list(documents(11, 1500))
    ids, truth = token_truth(tokenizer, made)
    flat = [i for row in ids for i in row]
    checked = 0
    for name, wanted in derived_spans(tokenizer, made).items():
        found = truth.span_mask(name)
        assert found.sum() > 0, name
        assert np.array_equal(found, wanted), name
        checked += int(found.sum())
    assert len(flat) == truth.num_tokens
    assert checked > 100


def test_scopes_hold_their_spans_and_end_with_the_document(tokenizer) -> None:
    made = list(documents(12, 300))
    _, truth = token_truth(tokenizer, made)
    for concept in truth.concepts:
        span, scope = truth.span_mask(concept), truth.scope_mask(concept)
        assert not (span & ~scope).any()
    assert not truth.span_mask("no such concept").any()


def test_deciding_prefixes_fit_one_landmark_only() -> None:
    subjects = [text for place in LANDMARKS for text in (place.name, place.description)]
    for subject in subjects:
        prefix = deciding_prefix(subject) + " "
        assert [s for s in subjects if (s + " ").startswith(prefix)] == [subject]


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


def test_faults_split_by_trigger_and_keep_rivals_apart() -> None:
    for name in ("unagi", "mosquito"):
        planted = fault(name)
        triggers = [{p.trigger for p in half} for half in (planted.selection, planted.held_out)]
        assert not triggers[0] & triggers[1]
        assert all(p.trigger in p.text.lower() for p in planted.selection)
        assert not set(planted.rivals_selection) & set(planted.rivals_held_out)


def test_unknown_names_are_told_with_the_known_ones() -> None:
    with pytest.raises(InputError, match="word_problem"):
        list(islice(documents(0, shares={"wordproblem": 1.0}), 1))
    with pytest.raises(InputError, match="two_hop"):
        held_out_documents("nothing", 1)
    with pytest.raises(InputError, match="mosquito"):
        fault("none")
