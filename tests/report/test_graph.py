"""Pictures of graphs: the strongest part is chosen, nothing overlaps, signs are seen."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import combinations, pairwise

import numpy as np
import pytest
from tests.attribution.random_transcoders import TOKENS, random_transcoders
from tests.families import tiny, tiny_tokenizer
from tests.report.made import PROMPT, SUM, graph
from tests.report.reading import Page

from inscape.attribution import Supernode, trace
from inscape.core import no_label
from inscape.model import Model
from inscape.report import GraphPicture, PictureEdge, PictureNode, graph_svg, picture, picture_html
from inscape.report.graph_layout import FONT, lay_out, lines, shorten, width

GRAPHS = [graph(PROMPT, seed=seed) for seed in range(3)] + [graph(SUM, seed=3, answer="89")]


@pytest.mark.parametrize("given", GRAPHS)
def test_the_picture_is_small_and_whole(given) -> None:  # type: ignore[no-untyped-def]
    drawn = picture(given, max_nodes=30, max_edges=50)
    assert len(drawn.nodes) <= 30
    assert len(drawn.edges) <= 50
    assert [n.name for n in drawn.nodes if n.kind == "logit"] == [given.nodes[-1].token]
    touched = {end for e in drawn.edges for end in (e.source, e.target)}
    assert touched | {len(drawn.nodes) - 1} == set(range(len(drawn.nodes)))
    assert (drawn.num_nodes, drawn.num_edges) == (3120, 88211)
    assert (drawn.replacement, drawn.completeness) == (0.813, 0.927)
    assert len(drawn.paths) == 8


def test_edges_keep_their_ends_weights_and_signs() -> None:
    given = GRAPHS[0]
    drawn = picture(given)
    real = {}
    for s, t, w in zip(given.edges.source, given.edges.target, given.edges.weight, strict=True):
        a, b = given.nodes[s], given.nodes[t]
        real[a.kind, a.position, a.activation, b.kind, b.activation] = float(w)
    for edge in drawn.edges:
        a, b = drawn.nodes[edge.source], drawn.nodes[edge.target]
        key = (a.kind, a.position, a.activation, b.kind, b.activation)
        assert real[key] == edge.weight


def test_a_chat_shows_whose_message_a_token_is_of() -> None:
    roles = [None, *["system"] * 3, None, *["user"] * 9, None]
    drawn = picture(replace(GRAPHS[0], roles=roles))
    assert {n.role for n in drawn.nodes} >= {"system", "user"}
    page = Page(str(picture_html(drawn)))
    text = " ".join(page.words)
    assert "Tokens of the messages: system 1 to 3, user 5 to 13." in text
    assert "(user)" in text
    assert "Tokens of the messages" not in str(picture_html(picture(GRAPHS[0])))


def test_what_matters_most_is_drawn() -> None:
    given = GRAPHS[0]
    drawn = picture(given, max_nodes=12, max_edges=200)
    shown = {n.influence for n in drawn.nodes if n.kind != "logit"}
    best = sorted((n.influence for n in given.nodes if n.kind != "logit"), reverse=True)[:11]
    assert shown <= set(best)
    assert len(shown) >= 9


def test_pruned_parts_are_not_drawn() -> None:
    given = graph(PROMPT)
    given.kept_nodes = given.kept_nodes.copy()
    given.kept_nodes[given.nodes.index(max(given.nodes, key=lambda n: n.influence))] = False
    given.kept_edges = np.asarray(given.edges.weight > 0)
    drawn = picture(given, max_nodes=1000, max_edges=10_000)
    assert all(edge.weight > 0 for edge in drawn.edges)
    assert max(n.influence or 0 for n in drawn.nodes) < max(n.influence for n in given.nodes)


def test_names_are_looked_up_when_shown() -> None:
    given = graph(PROMPT)
    feature = max((n for n in given.nodes if n.kind == "feature"), key=lambda n: n.influence)
    key = (str(feature.dictionary), feature.feature)
    called = picture(given, lambda dictionary, number: f"{dictionary} no. {number}")
    names = {n.name for n in called.nodes if n.kind == "feature"}
    assert f"{key[0]} no. {key[1]}" in names
    details = {n.name for n in picture(replace(given, names=no_label)).nodes}
    assert f"{key[0]}/{key[1]}" in details


@pytest.mark.parametrize("given", GRAPHS)
def test_boxes_do_not_overlap_and_hold_their_text(given) -> None:  # type: ignore[no-untyped-def]
    layout = lay_out(picture(given))
    for box in layout.boxes:
        assert box.x >= 0
        assert box.x + box.width <= layout.width
        assert box.y >= 0
        assert box.y + box.height <= layout.height
        assert all(width(line, FONT) <= box.width for line in box.text)
    for a, b in combinations(layout.boxes, 2):
        apart = (
            a.x + a.width <= b.x
            or b.x + b.width <= a.x
            or a.y + a.height <= b.y
            or b.y + b.height <= a.y
        )
        assert apart, (a, b)


@pytest.mark.parametrize("given", GRAPHS)
def test_tokens_of_the_axis_do_not_overlap(given) -> None:  # type: ignore[no-untyped-def]
    drawn = picture(given)
    layout = lay_out(drawn)
    spans = [(x, width(text, FONT)) for x, text, _ in layout.words]
    boxes = zip(drawn.nodes, layout.boxes, strict=True)
    spans += [(b.middle[0], b.width) for n, b in boxes if n.kind == "embedding"]
    ends = sorted((x - wide / 2, x + wide / 2) for x, wide in spans)
    assert all(a[1] <= b[0] for a, b in pairwise(ends))


def test_every_token_is_on_the_axis_or_told_by_an_ellipsis() -> None:
    node = PictureNode(kind="logit", layer=None, position=5, name=" a", probability=0.5)
    tokens = (" I", " saw", " the", " red", " bridge", " at")
    layout = lay_out(
        GraphPicture(
            prompt="p",
            prompt_tokens=tokens,
            target=" a",
            num_layers=1,
            nodes=(node, replace(node, kind="feature", position=1)),
            edges=(),
        )
    )
    assert [(text, told) for _, text, told in layout.words] == [
        ("I", ""),
        ("saw", ""),
        ("…", " the red bridge"),
        ("at", ""),
    ]


def test_lines_do_not_end_behind_an_opening_quotation_mark() -> None:
    name = "tokens: ' magnificent', ' poet', ' (', 'o'"
    node = PictureNode(kind="feature", layer=0, position=0, name=name)
    given = GraphPicture(
        prompt="p", prompt_tokens=("x",), target="t", num_layers=1, nodes=(node,), edges=()
    )
    text = lay_out(given).boxes[0].text
    assert len(text) > 1
    assert not any(re.search(r"(^|\s)'$", line) for line in text)
    assert " ".join(text).replace("\u00a0", " ") == name


def test_names_come_before_ids() -> None:
    drawn = picture(GRAPHS[0])
    steps = [step for path in drawn.paths for step in path.nodes if "mlp" in step]
    assert steps
    assert all(re.match(r".+ \[mlp\d/\d+\] at ", step) for step in steps)
    unnamed = picture(replace(GRAPHS[0], names=no_label))
    steps = [step for path in unnamed.paths for step in path.nodes if "mlp" in step]
    assert all(re.match(r"mlp\d/\d+ at ", step) for step in steps)


def test_what_other_features_write_is_drawn_as_such() -> None:
    given = graph(PROMPT)
    given.nodes = [replace(n, kind="rest") if n.kind == "error" else n for n in given.nodes]
    drawn = picture(given, max_nodes=500, max_edges=5000)
    assert "other features" in {n.name for n in drawn.nodes}
    page = Page(picture_html(drawn))
    assert "other features" in page.text
    assert "node rest" in {str(box.get("class")) for box in page.named("g")}
    numbered = next(n for n, node in enumerate(given.nodes) if node.kind == "rest")
    group = replace(given, supernodes=[Supernode("a <b>", (numbered, 3))])
    text = Page(picture_html(picture(group))).text
    assert "Group “a <b>”: other features of layer 0 at ␣to (14), token ␣and (3)." in text


def test_pinned_nodes_are_drawn() -> None:
    given = graph(PROMPT)
    features = [n for n, node in enumerate(given.nodes) if node.kind == "feature"]
    least = min(features, key=lambda n: given.nodes[n].influence)
    key = f"{given.nodes[least].dictionary}/{given.nodes[least].feature}"
    assert key not in {n.detail for n in picture(given, max_nodes=12, max_edges=5).nodes}
    pinned = picture(replace(given, pins=[least]), max_nodes=12, max_edges=5)
    assert key in {n.detail for n in pinned.nodes}


def test_a_line_is_as_wide_as_its_share_of_the_input() -> None:
    given = GRAPHS[0]
    drawn = picture(given)
    into = np.bincount(given.edges.target, np.abs(given.edges.weight), len(given.nodes))
    sums = {round(float(total), 4) for total in into}
    for edge in drawn.edges:
        assert edge.share is not None
        assert 0 < edge.share <= 1
        assert min(abs(abs(edge.weight) / edge.share - total) for total in sums) < 1e-3
    page = Page(graph_svg(drawn))
    widths = [float(str(p["stroke-width"])) for p in page.named("path")]
    assert widths == sorted(widths)
    shares = sorted(edge.share or 0 for edge in drawn.edges)
    assert widths[0] / widths[-1] == pytest.approx(
        (0.8 + 4.2 * shares[0] / shares[-1]) / 5, abs=0.02
    )


def test_what_no_node_stands_for_is_said() -> None:
    scores = replace(GRAPHS[0].scores, unknown=0.25)
    told = "features and neurons that are no nodes counts as neither: a fraction of 0.250."
    words = "".join(Page(picture_html(picture(replace(GRAPHS[0], scores=scores)))).words)
    assert told in words
    assert "no nodes" not in Page(picture_html(picture(GRAPHS[0]))).text


def test_the_probability_of_one_answer_is_not_told_of_a_difference() -> None:
    node = PictureNode(kind="logit", layer=None, position=0, name=" a", probability=0.9996)
    difference = replace(node, name=" a −  b")
    for given, told in ((node, ("a (99.96\u00a0%)",)), (difference, ("a − b",))):
        one = GraphPicture(
            prompt="p", prompt_tokens=("x",), target="t", num_layers=1, nodes=(given,), edges=()
        )
        assert lay_out(one).boxes[0].text == told


def test_rows_go_up_with_the_layers() -> None:
    drawn = picture(GRAPHS[0])
    layout = lay_out(drawn)
    height = {"embedding": -1, "logit": 99}
    levels = [height.get(n.kind, n.layer) for n in drawn.nodes]
    for (a, low), (b, high) in combinations(zip(layout.boxes, levels, strict=True), 2):
        if low != high:
            assert (low < high) == (a.y > b.y)  # type: ignore[operator]


def small(*weights: float) -> GraphPicture:
    ends = [
        PictureNode(kind="embedding", layer=None, position=0, name="<b>&token"),
        PictureNode(kind="logit", layer=None, position=1, name=" Mary", probability=0.5),
    ]
    features = [
        PictureNode(kind="feature", layer=i, position=1, name=f"feature {i}", detail=f"mlp.{i}/7")
        for i in range(len(weights))
    ]
    edges = [PictureEdge(source=2 + i, target=1, weight=w) for i, w in enumerate(weights)]
    return GraphPicture(
        prompt="p",
        prompt_tokens=("<b>&token", " to"),
        target=" Mary",
        num_layers=4,
        nodes=(*ends, *features),
        edges=tuple(edges),
    )


def test_signs_and_sizes_are_seen() -> None:
    page = Page(graph_svg(small(2.0, -1.0, 0.5)))
    edges = {float(str(p["data-value"])): p for p in page.named("path")}
    assert edges[-1.0]["class"] == "edge down"
    assert edges[2.0]["class"] == edges[0.5]["class"] == "edge up"
    widths = [float(str(edges[w]["stroke-width"])) for w in (0.5, -1.0, 2.0)]
    assert widths == sorted(widths)
    assert widths[0] < widths[2]
    assert "feature 1 → Mary: −1.00" in page.text
    assert "feature 0 · mlp.0/7 · layer 0 · position 1" in page.text
    assert page.named("b") == []
    assert "<b>&token" in page.text


def test_an_empty_picture_is_drawn() -> None:
    page = Page(graph_svg(small()))
    assert page.named("path") == []
    svg = page.named("svg")[0]
    assert "nan" not in str(svg["viewbox"])


def test_a_picture_that_points_outside_itself_is_refused() -> None:
    good = small(1.0)
    with pytest.raises(ValueError, match="leaves the picture"):
        replace(good, edges=(PictureEdge(source=9, target=1, weight=1.0),))
    with pytest.raises(ValueError, match="outside the prompt"):
        replace(good, nodes=(replace(good.nodes[0], position=2), *good.nodes[1:]))


def test_text_is_broken_and_cut_to_its_room() -> None:
    assert lines("John", 100, 11) == ["John"]
    text = "giving: gave, handed, passed to somebody else in the story"
    broken = lines(text, 100, 11, 3)
    assert len(broken) == 3
    assert all(width(line, 11) <= 100 for line in broken)
    assert broken[-1].endswith("…")
    assert shorten("x" * 100, 50, 11).endswith("…")
    assert width(shorten("大" * 30, 50, 11), 11) <= 50
    assert lines("", 50, 11) == [""]
    assert all(width(line, 11) <= 60 for line in lines("un" * 40 + " and more", 60, 11))


def test_a_real_trace_is_drawn_with_the_names_of_an_atlas() -> None:
    tokenizer = tiny_tokenizer()
    model = Model.wrap(tiny("llama", vocab_size=len(tokenizer)), tokenizer)
    given = trace(model, TOKENS, random_transcoders(model))
    drawn = picture(given, lambda dictionary, number: f"<i>{dictionary}</i> {number}")
    features = [n for n in drawn.nodes if n.kind == "feature"]
    assert features
    for node in features:
        dictionary, _, number = node.detail.rpartition("/")
        assert node.name == f"<i>{dictionary}</i> {number}"
    page = Page(picture_html(drawn))
    assert len(page.named("path")) == len(drawn.edges)
    assert page.named("i") == []
    assert features[0].name in page.text
