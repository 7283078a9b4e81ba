"""A prompt on the page: sentences made of what was measured, every text as text."""

from __future__ import annotations

from dataclasses import replace

from tests.report.reading import Page

from inscape.atlas import Concept, Concepts, Removal
from inscape.report import concepts_html

EVIL = "<img src=x onerror=alert(1)>"


def concept(id: str, label: str | None, place: int, removed: Removal | None = None) -> Concept:
    return Concept(
        id=f"resid_post.1/{id}",
        label=label,
        kind=None if label is None else "concept",
        auroc=None if label is None else 0.875,
        words=(" eel", EVIL),
        active=((place, 3.0), (4, 1.5)),
        largest=6.0,
        density=0.01,
        effect=0.7,
        removed=removed,
    )


WITHOUT = Removal(((" Japan", 0.31, 0.04), (" Italy", 0.12, 0.46)), 0.12)
READ = Concepts(
    model="tiny",
    layers=3,
    prompt="Unagi is from",
    tokens=("<s>", "Un", "agi", " is", " from"),
    counted=(False, True, True, True, True),
    answers=((" Italy", 0.46), (" Japan", 0.04)),
    concepts=(concept("7", "Italian names", 2, WITHOUT), concept("8", None, 1)),
)


def words(read: Concepts) -> str:
    return " ".join("".join(Page(concepts_html(read)).words).split())


def test_sentences_say_what_was_measured() -> None:
    text = words(READ)
    assert "The model goes on with Italy (46.0 %). One feature decides that: Italian names" in text
    assert "(resid_post.1/7), active on the piece agi of Unagi, and on 1 other token." in text
    assert "Without it the model says Japan (31.0 %; before 4.0 %), and Italy falls to 12.0" in text


def test_where_no_feature_decides_the_largest_part_is_named() -> None:
    kept = Removal(((" Italy", 0.3, 0.46), (" Japan", 0.2, 0.04)), 0.3)
    read = replace(READ, concepts=(concept("7", None, 3, kept),))
    text = words(read)
    assert "None of the 1 features that were removed, one by one, changes that alone." in text
    assert (
        "The one that matters most is a feature without name (resid_post.1/7), active on is, and "
        "on 1 other token." in text
    )
    assert "Without it the probability is 30.0 %." in text
    bare = words(replace(READ, concepts=(concept("8", None, 1),)))
    assert "decides" not in bare
    assert "matters most" not in bare


def test_each_token_has_its_concepts() -> None:
    page = Page(concepts_html(READ))
    tokens = [e for name, e in page.elements if name == "code" and e.get("class") == "at"]
    assert len(tokens) == 4  # what a text begins with by rule is left out
    assert [li.get("class") for li in page.named("li")].count("goes-on") == 1  # "agi"
    chips = [e for e in page.named("details") if "chip" in str(e.get("class"))]
    assert [e["class"] for e in chips].count("chip deciding") == 2  # on agi and on from
    assert ("3.0", "50 %") in page.figures
    assert "no name; active on “eel”" in page.text


def test_every_text_is_text() -> None:
    evil = replace(READ, tokens=("<s>", "Un", "agi", EVIL, " from"), prompt=EVIL)
    evil = replace(evil, concepts=(replace(evil.concepts[0], label=EVIL), evil.concepts[1]))
    page = Page(concepts_html(evil))
    assert page.named("img") == page.named("script") == []
    assert EVIL in page.text
    assert EVIL in READ._repr_html_() or "onerror" in Page(READ._repr_html_()).text
