"""The demo: its page shows what was measured; it writes into its own folder only."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.families import tiny
from tests.report.reading import Page
from tests.report.test_atlas import full, model

from inscape.atlas import Atlas
from inscape.core import InputError
from inscape.model import Model
from inscape.report import demo as module
from inscape.report.demo import PROMPTS, SHIPPED, Demo, Searched, Tried, demo
from inscape.report.demo_page import search_html, write_demo
from inscape.report.topics import TOPICS

__all__ = ["full", "model"]


@pytest.fixture(scope="module")
def made(full: Atlas, tmp_path_factory: pytest.TempPathFactory) -> Demo:
    before = {path: path.stat().st_mtime_ns for path in full.path.rglob("*")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_opened", lambda *_: full)
        found = demo(tmp_path_factory.mktemp("demo") / "out")
    assert {path: path.stat().st_mtime_ns for path in full.path.rglob("*")} == before
    return found


@pytest.fixture(scope="module")
def page(made: Demo) -> Page:
    write_demo(made)
    return Page(made.page.read_text())


def test_every_part_is_on_the_page(made: Demo, page: Page) -> None:
    assert [s["id"] for s in page.named("section")] == [
        "paella",
        "prompts",
        "search",
        "features",
        "limits",
    ]
    text = " ".join(page.text.split())
    assert text.count("The model goes on with") == 1 + len(PROMPTS)
    for topic in TOPICS:
        assert topic.query in page.words
        assert all(sentence in page.words for sentence in (*topic.about, *topic.near))
    assert made.diagnosis.mechanism in text
    values = {value for value, _ in page.figures}
    for one in made.asked:
        assert repr(one.concepts.answers[0][1]) in values
    for searched in made.searches:
        assert not searched.tried or searched.ranked[0].found.id in page.words


def test_the_page_asks_for_nothing_and_runs_one_script(page: Page) -> None:
    assert len(page.named("script")) == 1
    assert not {name for name, _ in page.elements} & {"img", "iframe", "link", "form", "object"}
    for _, attributes in page.elements:
        assert not [a for a in attributes if a.startswith("on") or a in ("src", "action")]
        assert str(attributes.get("href", "#")).startswith("#")
    targets = {a["id"] for _, a in page.elements if a.get("id")}
    links = {str(a["href"])[1:] for name, a in page.elements if name == "a"}
    assert links <= targets


def test_a_topic_is_found_where_a_feature_tells_it_from_what_is_near(made: Demo) -> None:
    hit = next(one.tried[0].found for one in made.searches if one.tried)

    def said(about: int, near: int) -> str:
        tried = [Tried(hit, 0, 0), Tried(hit, about, near)]
        words = Page(search_html(made, Searched(TOPICS[0], tried))).words
        return next(word for word in words if "ound" in word)

    assert said(4, 0) == "Found: "
    assert said(4, 1) == said(2, 0) == "Found in part: "
    assert said(2, 2) == said(0, 0) == "Not found: the nearest, "
    assert said(4, 4) == said(4, 2) == "No feature of its own was found: the nearest, "
    nothing = search_html(made, Searched(TOPICS[0], []))
    assert "Nothing was found." in Page(nothing).words


def test_a_folder_of_the_users_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("my thesis")
    with pytest.raises(InputError, match="is there already; expected a new folder"):
        demo(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["text.txt"]


def test_an_atlas_of_another_model_is_refused(tmp_path: Path) -> None:
    Atlas.create(tmp_path / "atlas", Model.wrap(tiny("llama"), name="mine"))
    with pytest.raises(InputError, match="atlas is an atlas of mine; expected one of smollm2"):
        demo(tmp_path / "out", atlas=tmp_path / "atlas")
    assert [path.name for path in tmp_path.rglob("*")] == ["atlas", "atlas.json"]


@pytest.mark.skipif(not (SHIPPED / "atlas.json").is_file(), reason="the atlas is not shipped")
def test_the_shipped_atlas_has_the_feature_of_italian_names() -> None:
    atlas = Atlas.open(SHIPPED)
    prompt = "Paella is a dish from the country of"
    read = atlas.concepts(prompt, names=["resid_post.22"], save=False)
    assert read.answer == " Italy"
    assert read.deciding is not None
    assert read.tokens[read.deciding.peak] == "ella"
    assert read.deciding.removed is not None
    assert read.deciding.removed.answer == " Spain"
