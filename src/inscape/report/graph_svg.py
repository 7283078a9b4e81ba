"""The picture of an attribution graph as inline SVG.

Tokens run along the x axis, layers up the y axis. An edge's width is its weight; one that pushes
down has another colour and is dashed. What an edge or a box stands for in full is in its title.
"""

from __future__ import annotations

from inscape.report.graph_layout import FONT, LINE, Box, Layout, lay_out
from inscape.report.graph_picture import GraphPicture, PictureEdge, PictureNode
from inscape.report.markup import Markup, tag
from inscape.report.numbers import show

THINNEST, THICKEST = 0.8, 5.0
FAINTEST = 0.3
BOW, WIDEST = 18.0, 74.0
SMALLEST = 0.88


def graph_svg(picture: GraphPicture) -> Markup:
    """The picture as one `<svg>` element; its colours come from the page's style sheet."""
    layout = lay_out(picture)
    words = [
        tag(
            "text",
            tag("title", told) if told else None,
            text,
            x=_px(x),
            y=_px(layout.token_y + 4),
            text_anchor="middle",
            class_="word",
        )
        for x, text, told in layout.words
    ]
    largest = max((abs(e.weight) for e in picture.edges), default=1.0) or 1.0
    order = sorted(picture.edges, key=lambda e: abs(e.weight))
    return tag(
        "svg",
        tag(
            "title",
            f"Attribution graph of {picture.prompt!r}: {len(picture.nodes)} boxes and "
            f"{len(picture.edges)} edges, which the tables beneath list",
        ),
        _rows(layout),
        tag("g", [_edge(e, picture, layout, largest) for e in order], class_="edges"),
        tag("g", words),
        tag("g", [_box(n, b) for n, b in zip(picture.nodes, layout.boxes, strict=True)]),
        class_="graph",
        role="img",
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {_px(layout.width)} {_px(layout.height)}",
        width=_px(layout.width),
        height=_px(layout.height),
        font_size=_px(FONT),
        # A picture that is a little too wide for the page is drawn a little smaller.
        style=f"--least:{_px(SMALLEST * layout.width)}px",
    )


def _px(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _rows(layout: Layout) -> Markup:
    parts = []
    for name, y, height in layout.rows:
        parts.append(
            tag(
                "rect",
                x=0,
                y=_px(y - 9),
                width=_px(layout.width),
                height=_px(height + 18),
                class_="row",
            )
        )
        parts.append(
            tag(
                "text",
                name,
                x=_px(layout.width - 8),
                y=_px(y + height / 2 + 4),
                text_anchor="end",
                class_="layer",
            )
        )
    return tag("g", parts)


def _title(node: PictureNode) -> str:
    parts = [node.name.strip() or repr(node.name)]
    if node.detail and node.detail != node.name:
        parts.append(node.detail)
    if node.layer is not None:
        parts.append(f"layer {node.layer}")
    parts.append(f"position {node.position}{f' ({node.role})' if node.role else ''}")
    if node.activation is not None:
        parts.append(f"{_what(node)} {show(node.activation)}")
    if node.influence is not None:
        parts.append(f"influence {show(node.influence)}")
    if node.probability is not None:
        parts.append(f"probability {show(node.probability, 'share')}")
    return " · ".join(parts)


def _what(node: PictureNode) -> str:
    return {"feature": "activation", "logit": "value"}.get(node.kind, "norm")


def _box(node: PictureNode, box: Box) -> Markup:
    x, y = box.middle
    first = y - LINE * (len(box.text) - 1) / 2 + 4
    words = [
        tag("text", line, x=_px(x), y=_px(first + LINE * i), text_anchor="middle")
        for i, line in enumerate(box.text)
    ]
    shape = tag(
        "rect", x=_px(box.x), y=_px(box.y), width=_px(box.width), height=_px(box.height), rx=5
    )
    return tag("g", tag("title", _title(node)), shape, words, class_=f"node {node.kind}")


def _edge(edge: PictureEdge, picture: GraphPicture, layout: Layout, largest: float) -> Markup:
    source, target = picture.nodes[edge.source], picture.nodes[edge.target]
    share = abs(edge.weight) / largest
    told = f"{source.name.strip()} → {target.name.strip()}: {show(edge.weight)}"
    return tag(
        "path",
        tag("title", told),
        d=_curve(layout, edge.source, edge.target, embedding=source.kind == "embedding"),
        stroke_width=_px(THINNEST + (THICKEST - THINNEST) * share),
        stroke_opacity=f"{FAINTEST + (0.9 - FAINTEST) * share:.2f}",
        class_="edge down" if edge.weight < 0 else "edge up",
        data_value=repr(edge.weight),
    )


def _curve(layout: Layout, source: int, target: int, *, embedding: bool) -> str:
    """From a box's right side to the left side of one further right; within a column around the
    boxes in between; from a token upwards."""
    a, b = layout.boxes[source], layout.boxes[target]
    same = layout.column_of[source] == layout.column_of[target]
    ay, by = a.middle[1], b.middle[1]
    if embedding and same:
        start, end = (a.middle[0], a.y), (b.middle[0], b.y + b.height)
        if abs(start[1] - end[1]) < 2 * BOW + 12:  # right above it
            return f"M{_at(*start)} L{_at(*end)}"
    if same:
        start, end = (a.x + a.width, ay), (b.x + b.width, by)
        # The farther, the wider, so that edges to one box do not run on top of each other.
        out = max(start[0], end[0]) + min(WIDEST, BOW + 0.06 * abs(by - ay))
        return f"M{_at(*start)} C{_at(out, ay)} {_at(out, by)} {_at(*end)}"
    if embedding:
        start, end = (a.middle[0], a.y), (b.x, by)
        return f"M{_at(*start)} C{_at(start[0], start[1] - 34)} {_at(end[0] - 34, by)} {_at(*end)}"
    start, end = (a.x + a.width, ay), (b.x, by)
    reach = max(20.0, (end[0] - start[0]) / 2)
    return f"M{_at(*start)} C{_at(start[0] + reach, ay)} {_at(end[0] - reach, by)} {_at(*end)}"


def _at(x: float, y: float) -> str:
    return f"{_px(x)},{_px(y)}"
