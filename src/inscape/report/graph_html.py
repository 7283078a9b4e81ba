"""A traced prompt on the page: the picture of its graph, its scores, paths, and all figures."""

from __future__ import annotations

from inscape.report.graph_picture import GraphPicture, PictureNode, PicturePath
from inscape.report.graph_svg import graph_svg
from inscape.report.markup import Markup, join, tag
from inscape.report.numbers import MINUS
from inscape.report.parts import fold, number, scroll, table, visible, visible_target


def picture_html(picture: GraphPicture) -> Markup:
    """The graph's picture, its scores, the strongest paths, and all its figures as tables."""
    facts = join(
        "The picture shows the strongest part of a graph of ",
        (number(picture.num_nodes), " nodes and ", number(picture.num_edges), " edges over "),
        (number(picture.num_layers), " layers. Replacement score ", number(picture.replacement)),
        ": the fraction of the influence on the answer that comes from tokens rather than from "
        "errors. Completeness ",
        number(picture.completeness),
        ": the fraction of all inputs that are not errors. Both are best near 1.",
        (_UNKNOWN, number(picture.unknown), ".") if picture.unknown else None,
    )
    answers = [visible_target(node.name) for node in picture.nodes if node.kind == "logit"]
    difference = any(f" {MINUS} " in answer for answer in answers)
    answer = tag("strong", ", ".join(answers))
    notes = [_DIFFERENCE] if difference else []
    paths = [_path(path) for path in picture.paths]
    return join(
        tag("p", tag("q", picture.prompt), " → ", answer, class_="prompt"),
        scroll(graph_svg(picture), "attribution graph", from_end=True),
        tag("p", _KEY, class_="legend"),
        [tag("p", note, class_="note") for note in (facts, *notes, *picture.notes)],
        (tag("h4", "Strongest paths"), tag("p", _PATHS, class_="note")) if paths else None,
        tag("ol", paths, class_="paths") if paths else None,
        fold("All boxes of the picture", _nodes(picture)),
        fold("All edges of the picture", _edges(picture)),
    )


def _swatch(style: str) -> Markup:
    line = tag("line", x1=1, x2=33, y1=5, y2=5, class_=f"edge {style}", stroke_width=3)
    return tag(
        "svg", line, class_="key", viewBox="0 0 34 10", width=34, height=10, aria_hidden="true"
    )


_KEY = join(
    _swatch("up"),
    " raises the box that it ends in, ",
    _swatch("down"),
    " lowers it; the wider the line, the larger its share of all that enters the box. Lines run "
    "upwards or to the right. A picture that is wider than the page scrolls sideways.",
)
_UNKNOWN = (
    " What comes from features and neurons that are no nodes counts as neither: a fraction of "
)
_DIFFERENCE = (
    "The answer is a difference of two: how much higher the model scores the first than the second "
    "(in logits). A line that raises it speaks for the first."
)
_PATHS = (
    "In bold, how much of the answer comes along the path: the product, over its steps, of the "
    "step's fraction of all input there; negative where the path lowers the answer. In brackets "
    "after an arrow, the step's contribution; after a token, its position in the prompt."
)


def _path(path: PicturePath) -> Markup:
    steps: list[object] = [path.nodes[0]]
    for weight, name in zip(path.weights, path.nodes[1:], strict=True):
        steps += [" ", tag("span", "→ (", number(weight), ")", class_="arrow"), " ", name]
    return tag("li", tag("b", number(path.strength, "share")), " ", steps)


def _place(node: PictureNode, picture: GraphPicture) -> Markup:
    layer = "" if node.layer is None else join("layer ", number(node.layer), ", ")
    token = visible(picture.prompt_tokens[node.position])
    role = f", {node.role}" if node.role else None
    return join(layer, tag("code", token), " (", number(node.position), role, ")")


def _box_name(node: PictureNode) -> Markup:
    tokens = node.kind in ("embedding", "logit")
    text = visible_target(node.name) if tokens else node.name
    detail = node.detail if node.detail not in ("", node.name) else ""
    return join(text, " ", tag("code", detail) if detail else None)


def _nodes(picture: GraphPicture) -> Markup:
    kinds = {"embedding": "token", "logit": "answer", "rest": "other features"}
    rows = [
        (
            number(i),
            kinds.get(node.kind, node.kind),
            _box_name(node),
            _place(node, picture),
            number(node.activation),
            number(node.influence),
            number(node.probability, "share") if node.probability is not None else None,
        )
        for i, node in enumerate(picture.nodes)
    ]
    heads = ["#", "kind", "box", "where", "activation, norm or value", "influence", "probability"]
    return table(heads, rows, what="boxes of the picture", numeric=[4, 5, 6])


def _edges(picture: GraphPicture) -> Markup:
    rows = [
        (
            join(number(edge.source), " ", _box_name(picture.nodes[edge.source])),
            join(number(edge.target), " ", _box_name(picture.nodes[edge.target])),
            number(edge.weight),
            number(edge.share, "share"),
        )
        for edge in sorted(picture.edges, key=lambda e: -abs(e.weight))
    ]
    heads = ["from", "to", "weight", "share of the input"]
    return table(heads, rows, what="edges of the picture", numeric=[2, 3])
