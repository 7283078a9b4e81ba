"""The picture of an attribution graph as inline SVG.

Tokens run along the x axis, layers up the y axis. An edge's width is its share of the target's
input; one that pushes down has another colour and is dashed. What an edge or a box stands for in
full is in its title.
"""

from __future__ import annotations

from inscape.report.graph_layout import FONT, LINE, Box, Layout, lay_out
from inscape.report.graph_picture import GraphPicture, PictureEdge, PictureNode
from inscape.report.markup import Markup, px, tag
from inscape.report.numbers import show

THINNEST, THICKEST = 0.8, 5.0
FAINTEST = 0.3
BOW, WIDEST = 18.0, 74.0
SMALLEST = 0.88


def graph_svg(picture: GraphPicture) -> Markup:
    """The picture as one `<svg>` element; its colours come from the page's style sheet."""
    layout = lay_out(picture)
    words = [
        _text((tag("title", hidden) if hidden else None, text), x, layout.token_y + 4, "word")
        for x, text, hidden in layout.words
    ]
    rows = [
        (
            tag("rect", x=0, y=y - 9, width=layout.width, height=height + 18, class_="row"),
            _text(name, layout.width - 8, y + height / 2 + 4, "layer", "end"),
        )
        for name, y, height in layout.rows
    ]
    largest = max(map(_size, picture.edges), default=1.0) or 1.0
    order = sorted(picture.edges, key=_size)
    title = (
        f"Attribution graph of {picture.prompt!r}: {len(picture.nodes)} boxes and "
        f"{len(picture.edges)} edges, which the tables beneath list"
    )
    return tag(
        "svg",
        tag("title", title),
        tag("g", rows),
        tag("g", [_edge(e, picture, layout, largest) for e in order], class_="edges"),
        tag("g", words),
        tag("g", [_box(n, b) for n, b in zip(picture.nodes, layout.boxes, strict=True)]),
        class_="graph",
        role="img",
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {px(layout.width)} {px(layout.height)}",
        width=layout.width,
        height=layout.height,
        font_size=FONT,
        # A picture that is a little too wide for the page is drawn a little smaller.
        style=f"--least:{px(SMALLEST * layout.width)}px",
    )


def _text(text: object, x: float, y: float, style: str = "", anchor: str = "middle") -> Markup:
    return tag("text", text, x=x, y=y, text_anchor=anchor, class_=style or None)


def _title(node: PictureNode) -> str:
    what = {"feature": "activation", "logit": "value"}.get(node.kind, "norm")
    parts = [
        node.name.strip() or repr(node.name),
        node.detail if node.detail != node.name else "",
        "" if node.layer is None else f"layer {node.layer}",
        f"position {node.position}{f' ({node.role})' if node.role else ''}",
        "" if node.activation is None else f"{what} {show(node.activation)}",
        "" if node.influence is None else f"influence {show(node.influence)}",
        "" if node.probability is None else f"probability {show(node.probability, 'share')}",
    ]
    return " · ".join(part for part in parts if part)


def _box(node: PictureNode, box: Box) -> Markup:
    x, y = box.middle
    first = y - LINE * (len(box.text) - 1) / 2 + 4
    words = [_text(line, x, first + LINE * i) for i, line in enumerate(box.text)]
    shape = tag("rect", x=box.x, y=box.y, width=box.width, height=box.height, rx=5)
    return tag("g", tag("title", _title(node)), shape, words, class_=f"node {node.kind}")


def _edge(edge: PictureEdge, picture: GraphPicture, layout: Layout, largest: float) -> Markup:
    source, target = picture.nodes[edge.source], picture.nodes[edge.target]
    ends = layout.boxes[edge.source], layout.boxes[edge.target]
    fraction = _size(edge) / largest
    share = "" if edge.share is None else f" ({show(edge.share, 'share')} of what enters)"
    return tag(
        "path",
        tag("title", f"{source.name.strip()} → {target.name.strip()}: {show(edge.weight)}{share}"),
        d=_curve(
            *ends, same=source.position == target.position, embedding=source.kind == "embedding"
        ),
        stroke_width=THINNEST + (THICKEST - THINNEST) * fraction,
        stroke_opacity=f"{FAINTEST + (0.9 - FAINTEST) * fraction:.2f}",
        class_="edge down" if edge.weight < 0 else "edge up",
        data_value=repr(edge.weight),
    )


def _size(edge: PictureEdge) -> float:
    """What an edge's width shows. Weights into two boxes are in units of each."""
    return abs(edge.weight) if edge.share is None else edge.share


def _curve(a: Box, b: Box, *, same: bool, embedding: bool) -> str:
    """From a box's right side to the left side of one further right; within a column (`same`)
    around the boxes in between; from a token upwards."""
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
    return f"{px(x)},{px(y)}"
