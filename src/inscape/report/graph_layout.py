"""Where the boxes of a graph's picture stand.

1. A column for each prompt token, as wide as the widest box in it; a column without boxes is only
   as wide as its token, and a run of them is drawn as one ellipsis.
2. A row for the tokens, one for each layer that has a node, one for the targets; nodes of one
   column and row are stacked, the most influential on top, and a row is as high as its highest
   stack.
3. Rows grow upwards, so that contributions run from the left and below to the right and above.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import groupby

from inscape.report.graph_picture import GraphPicture, PictureNode
from inscape.report.numbers import MINUS, show
from inscape.report.parts import visible

FONT = 12.0
NUM_LINES = 3
BOX, PAD, LINE, STACK_GAP = 154.0, 6.0, 14.5, 6.0
COLUMN_GAP, ROW_GAP = 20.0, 28.0
LEFT, RIGHT, TOP, BOTTOM = 14.0, 104.0, 12.0, 14.0
ERROR = 50.0
SHORTEST_GAP = 3
TOKEN_ROW, TARGET_ROW = -1, 10_000
# Characters that are narrower or wider than others: there is no browser to measure text.
NARROW = frozenset("ijlt.,:;'|!()[] \u00a0fr")
BROAD = frozenset("mwMW@%—…")


@dataclass(frozen=True)
class Box:
    """A node's box: its left upper corner, size, and the lines in it."""

    x: float
    y: float
    width: float
    height: float
    text: tuple[str, ...]

    @property
    def middle(self) -> tuple[float, float]:
        """The centre."""
        return self.x + self.width / 2, self.y + self.height / 2


@dataclass
class Layout:
    """The size of the picture, a box for each node, and the places of columns and rows.

    words: tokens without a box as (middle, text, what an ellipsis stands for); rows: (name, upper
    edge, height).
    """

    width: float
    height: float
    boxes: list[Box]
    words: list[tuple[float, str, str]]
    token_y: float
    rows: list[tuple[str, float, float]] = field(default_factory=list)


def token_text(text: str) -> str:
    """A prompt token as it stands under its column."""
    return visible(text.strip(" ") or text)


def lay_out(picture: GraphPicture) -> Layout:
    """Places for everything in the picture."""
    text = [_text(node) for node in picture.nodes]
    size = [_size(node, part) for node, part in zip(picture.nodes, text, strict=True)]
    cells: dict[tuple[int, int], list[int]] = defaultdict(list)
    for i, node in enumerate(picture.nodes):
        cells[node.position, _row(node)].append(i)
    for stack in cells.values():
        stack.sort(key=lambda i: -(picture.nodes[i].influence or 0.0))
    gaps = _gaps(picture)
    left, columns = _columns(picture, size, gaps)
    rows = sorted({_row(node) for node in picture.nodes} | {TOKEN_ROW}, reverse=True)
    boxes: list[Box | None] = [None] * len(picture.nodes)
    named, y = [], TOP
    for row in rows:
        stacks = {c: cells[c, row] for c in range(len(columns)) if (c, row) in cells}
        heights = {c: _height([size[i][1] for i in stack]) for c, stack in stacks.items()}
        height = max(heights.values(), default=LINE + PAD)
        for c, stack in stacks.items():
            top = y + (height - heights[c]) / 2
            for i in stack:
                x = left[c] + (columns[c] - size[i][0]) / 2
                boxes[i] = Box(x, top, size[i][0], size[i][1], tuple(text[i]))
                top += size[i][1] + STACK_GAP
        named.append((_row_name(row), y, height))
        y += height + ROW_GAP
    placed = [box for box in boxes if box is not None]
    end = left[-1] + columns[-1] + RIGHT if left else LEFT + RIGHT
    token_y = named[-1][1] + named[-1][2] / 2
    return Layout(
        end, y - ROW_GAP + BOTTOM, placed, _words(picture, left, columns, gaps), token_y, named
    )


def _gaps(picture: GraphPicture) -> dict[int, int]:
    """First token and length of each run of tokens above which nothing stands."""
    used = {node.position for node in picture.nodes}
    gaps = {}
    for idle, run in groupby(range(len(picture.prompt_tokens)), lambda i: i not in used):
        places = list(run)
        if idle and len(places) >= SHORTEST_GAP:
            gaps[places[0]] = len(places)
    return gaps


def _words(
    picture: GraphPicture, left: list[float], columns: list[float], gaps: dict[int, int]
) -> list[tuple[float, str, str]]:
    tokens = picture.prompt_tokens
    taken = {node.position for node in picture.nodes if node.kind == "embedding"}
    words, i = [], 0
    while i < len(tokens):
        run = gaps.get(i, 1)
        hidden = "".join(tokens[i : i + run]) if run > 1 else ""
        text = "…" if hidden else token_text(tokens[i])
        if i not in taken:
            words.append((left[i] + columns[i] / 2, text, hidden))
        i += run
    return words


def _row(node: PictureNode) -> int:
    if node.kind == "embedding":
        return TOKEN_ROW
    if node.kind == "logit":
        return TARGET_ROW
    return node.layer or 0


def _row_name(row: int) -> str:
    if row == TOKEN_ROW:
        return "tokens"
    return "answer" if row == TARGET_ROW else f"layer {row}"


def _text(node: PictureNode) -> list[str]:
    room = BOX - 2 * PAD
    if node.kind == "embedding":
        return [token_text(node.name)]
    if node.kind == "error":
        return ["error"]
    if node.kind == "logit":
        # Of a difference of two answers the probability is the first one's, so it is left out.
        alone = node.probability is not None and f" {MINUS} " not in node.name
        share = f" ({show(node.probability, 'share')})" if alone else ""
        names = (token_text(name) for name in node.name.split(f" {MINUS} "))
        return lines(f" {MINUS} ".join(names) + share, room, FONT)
    return lines(_unbroken(node.name), room, FONT, NUM_LINES)


def _unbroken(name: str) -> str:
    """A name in which no line ends behind an opening quotation mark: ' the' is one word."""
    return re.sub(r"(^|[\s(])(['\"“]) +(?=\S)", "\\1\\2\u00a0", name)


def _size(node: PictureNode, text: list[str]) -> tuple[float, float]:
    height = len(text) * LINE + PAD
    if node.kind == "error":
        return ERROR, LINE + 5
    widest = max(width(line, FONT) for line in text) + 2 * PAD
    if node.kind in ("embedding", "logit"):
        return max(26.0, widest), height
    return min(BOX, max(70.0, widest)), height


def _height(heights: list[float]) -> float:
    return sum(heights) + STACK_GAP * (len(heights) - 1)


def _columns(
    picture: GraphPicture, size: list[tuple[float, float]], gaps: dict[int, int]
) -> tuple[list[float], list[float]]:
    """Left edges and widths of the columns; a run of idle ones is as wide as one ellipsis."""
    columns = [max(18.0, width(token_text(t), FONT) + 6) for t in picture.prompt_tokens]
    hidden = {i for start, run in gaps.items() for i in range(start + 1, start + run)}
    columns = [18.0 if i in gaps else 0.0 if i in hidden else w for i, w in enumerate(columns)]
    busy = [False] * len(columns)
    for node, (wide, _) in zip(picture.nodes, size, strict=True):
        columns[node.position] = max(columns[node.position], wide)
        busy[node.position] |= node.kind not in ("embedding", "logit")
    left, x = [], LEFT
    for i, wide in enumerate(columns):
        left.append(x)
        crowded = busy[i] or (i + 1 < len(busy) and busy[i + 1])
        x += wide + (COLUMN_GAP if crowded else 0.0 if i in hidden else 8.0)
    return left, columns


def width(text: str, size: float) -> float:
    """The width of a text in a usual sans-serif face of `size` pixels, rather too wide."""
    return size * sum(_advance(char) for char in text)


def _advance(char: str) -> float:
    if unicodedata.east_asian_width(char) in "WF":
        return 1.02
    if unicodedata.combining(char):
        return 0.0
    if char in NARROW:
        return 0.38
    if char in BROAD:
        return 0.92
    return 0.72 if char.isupper() else 0.61


def shorten(text: str, room: float, size: float) -> str:
    """The text, cut with an ellipsis where it is wider than `room` pixels."""
    if width(text, size) <= room:
        return text
    while text and width(text + "…", size) > room:
        text = text[:-1]
    return text.rstrip() + "…"


def lines(text: str, room: float, size: float, num_lines: int = 2) -> list[str]:
    """The text in at most `num_lines` lines; the last one is cut where it does not fit."""
    found: list[str] = []
    rest = [word for word in re.split(r"[ \t\r\n]+", text) if word]
    while rest and len(found) < num_lines - 1:
        line = rest.pop(0)
        while rest and width(f"{line} {rest[0]}", size) <= room:
            line += f" {rest.pop(0)}"
        if width(line, size) > room:
            rest.insert(0, line)
            break
        found.append(line)
    if rest:
        found.append(shorten(" ".join(rest), room, size))
    return found or [""]
