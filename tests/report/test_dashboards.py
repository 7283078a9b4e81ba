"""Pages of all features: whole, linked, and with every text as text."""

from __future__ import annotations

import re
from base64 import b64encode
from hashlib import sha256
from pathlib import Path

import pytest
from tests.report.reading import Page
from tests.report.test_atlas import full, model

from inscape.atlas import Atlas
from inscape.core import InputError
from inscape.report import write_pages
from inscape.report.page import POLICY

__all__ = ["full", "model"]
NAME = "resid_post.1"


@pytest.fixture(scope="module")
def pages(full: Atlas, tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("inscape.report.dashboards.PER_PAGE", 10)
        return write_pages(full, tmp_path_factory.mktemp("pages") / "out")


def test_every_active_feature_has_a_place(full: Atlas, pages: Path) -> None:
    index = full.features(NAME)
    active = {int(feature) for feature in range(index.num_features) if index.num_active[feature]}
    files = sorted((pages / NAME).glob("0*.html"))
    assert len(files) == -(-len(active) // 10) > 1
    shown = [int(f) for file in files for f in re.findall(r'id="f(\d+)"', file.read_text())]
    assert sorted(shown) == sorted(active)
    listed = re.findall(r'href="(\d+\.html)#f(\d+)">', (pages / NAME / "index.html").read_text())
    assert {int(feature) for _, feature in listed} == active
    for file, feature in listed:
        assert f'id="f{feature}"' in (pages / NAME / file).read_text()


def test_every_link_leads_somewhere(pages: Path) -> None:
    for page in pages.rglob("*.html"):
        for target in re.findall(r'href="([^"#]+)', page.read_text()):
            assert (page.parent / target).exists(), (page, target)


def page_hash(text: str) -> str:
    script = re.findall(r"<script>(.*?)</script>", text, re.S)
    assert len(script) == 1
    return "sha256-" + b64encode(sha256(script[0].encode()).digest()).decode()


def test_pages_ask_for_nothing_and_show_texts_as_text(pages: Path) -> None:
    texts = [page.read_text() for page in pages.rglob("*.html")]
    assert len(texts) > 4
    for text in texts:
        page = Page(text)  # asserts that its elements are closed
        assert [meta["content"] for meta in page.named("meta") if "http-equiv" in meta] == [
            f"{POLICY}; script-src '{page_hash(text)}'" if "<script" in text else POLICY
        ]
        assert not {"b", "img", "iframe", "link"} & {name for name, _ in page.elements}
        assert not re.search(r'(src|href)="(https?:)?//', text)
    joined = "".join(texts)
    assert "&lt;b" in joined
    assert "the " in joined


def test_a_feature_shows_its_label_examples_and_histogram(full: Atlas, pages: Path) -> None:
    labels = full.labels(NAME)
    assert labels is not None
    label = next(one for one in labels if one.name)
    joined = "".join(page.read_text() for page in (pages / NAME).glob("0*.html"))
    start = joined.index(f'id="f{label.feature}"')
    part = joined[start : joined.find('class="card"', start)]
    assert "picks out the passage in which the feature is active" in part
    assert 'class="snippets"' in part
    assert "tokens by activation" in part
    assert "<path" in part


def test_only_what_is_named_and_never_over_something(full: Atlas, tmp_path: Path) -> None:
    write_pages(full, tmp_path / "x", [NAME])
    assert {path.name for path in (tmp_path / "x").iterdir()} == {"index.html", NAME}
    with pytest.raises(InputError, match="is there already"):
        write_pages(full, tmp_path / "x")
    with pytest.raises(InputError, match="no indexed dictionary"):
        write_pages(full, tmp_path / "y", ["mlp.1"])
    assert not (tmp_path / "y").exists()
