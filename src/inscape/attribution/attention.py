"""What attention does in a graph: edges split by head, and why a head looks where it does.

An edge leads from its source to its target along the residual stream alone, or through the heads of
some layers. Split by the first attention that it meets, it is exactly the sum of what goes directly
and of what goes through each head of each layer:

1. One backward pass from the target gives the gradient at what every head gives.
2. For each head by itself that gradient is taken back through its values (patterns held) to the
   stream that its layer reads, and from there to the sources along the stream alone.

The score of a head for a query and a key position is scale · query · key, each of which is linear
in the nodes where norm denominators are held. So it is exactly the sum over pairs of nodes (and of
the constant parts) of scale · (what the one gives to the query) · (what the other gives to the
key). The softmax over the keys is not split: compare the scores of two keys instead (`against`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from inscape.attribution.bases import find_bases
from inscape.attribution.data import Node, title
from inscape.attribution.jacobian import Rows
from inscape.attribution.ranking import Score, choose
from inscape.attribution.sources import Sources, lay_out, read
from inscape.core import InputError, LabelOf, ModelError, no_label, quoted, whole
from inscape.dictionary import Dictionary
from inscape.model import Looking, Model, Prompt, Source
from inscape.storage import Result

MAX_FEATURES = 300
MAX_PAIRS = 50


@dataclass(frozen=True)
class Pair:
    """What a node at the query side and one at the key side give to a score together. A node is
    None for the constant part (biases) of its side."""

    query: Node | None
    key: Node | None
    value: float


@dataclass
class AttentionScore(Result):
    """Why a head looks from one position at another.

    score: of the key, before masks and softmax; where `against` is a second key position, the
        score of the first less that of the second. weight: the head's attention on the key.
    pairs: the largest, of both signs, of nodes that have names; unknown: all pairs in which other
        features, which are no nodes, have a part. queries, keys: what each node gives to the score
        at either side, over all nodes of the other, the largest first. rest: score less all pairs
        shown.
    """

    SCHEMA: ClassVar[str] = "inscape.attention"
    MADE_BY: ClassVar[str] = "trace"

    model: str
    prompt: str
    prompt_tokens: list[str]
    layer: int
    head: int
    query: int
    key: int
    against: int | None
    score: float
    weight: float
    pairs: list[Pair]
    queries: list[tuple[Node | None, float]]
    keys: list[tuple[Node | None, float]]
    rest: float
    unknown: float = 0.0
    notes: list[str] = field(default_factory=list)
    names: LabelOf = field(default=no_label, repr=False, compare=False)

    def title(self, node: Node | None) -> str:
        """A node in words."""
        return "constant" if node is None else title(node, self.names)

    def summary(self, num: int = 8) -> str:
        """The score and its largest parts, as lines of text."""
        place = [f"{quoted(self.prompt_tokens[p])}@{p}" for p in (self.query, self.key)]
        more = ""
        if self.against is not None:
            more = f" rather than at {quoted(self.prompt_tokens[self.against])}@{self.against}"
        lines = [
            f"prompt: {self.prompt}",
            f"head {self.head} of layer {self.layer} looks from {place[0]} at {place[1]}{more}: "
            f"score {self.score:+.3f}, attention {self.weight:.2f}",
            "pairs (query side × key side):",
        ]
        for pair in self.pairs[:num]:
            lines.append(f"  {pair.value:+8.3f}  {self.title(pair.query)} × {self.title(pair.key)}")
        left = self.rest + sum(pair.value for pair in self.pairs[num:]) - self.unknown
        lines.append(f"  {left:+8.3f}  all other pairs (constant: what biases add on any prompt)")
        if self.unknown:
            lines.append(
                f"  {self.unknown:+8.3f}  all pairs with other features, which are no nodes"
            )
        for name, side in (("query side", self.queries), ("key side", self.keys)):
            lines.append(f"{name}, each summed over all of the other side:")
            lines += [f"  {value:+8.3f}  {self.title(node)}" for node, value in side[:num]]
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])


def explain_attention(
    model: Model,
    prompt: Source,
    dictionaries: Iterable[Dictionary] | Mapping[int, Dictionary] = (),
    *,
    layer: int,
    head: int,
    key: int | None = None,
    query: int = -1,
    against: int | None = None,
    max_features: int = MAX_FEATURES,
    names: LabelOf = no_label,
) -> AttentionScore:
    """Why a head looks from one position at another (see the module).

    query, key, against: positions, negative ones from the end; of three the score of `key` less
    that of `against` is explained. Without a key it is the one that the head looks at most, those
    that begin the text or are special left aside. dictionaries, max_features: as `trace`.

    Raises:
        InputError: there is no such layer, head or position, or the key comes after the query.
        ModelError: the scores of this model are not products of queries and keys alone.
    """
    most = whole(max_features, "max_features", 1)
    model.require_one_device("tracing")
    model.check_traceable()
    bases, notes = find_bases(model, dictionaries)
    given = model.prompt(prompt)
    whole(layer, "layer", 0, model.num_layers - 1)
    at = _position(query, "query", len(given))
    if key is None:
        key = _looked_at(model, given, layer, head, at)
    to = _position(key, "key", len(given))
    other = None if against is None else _position(against, "against", len(given))
    if max(to, -1 if other is None else other) > at:
        raise InputError(
            f"key {to} comes after query {at}", expected="a key at or before the query"
        )
    if other == to:
        raise InputError(
            f"key and against are both position {to}", expected="two keys to be compared"
        )
    reading = read(model, bases, given)
    count = model.num_heads(layer)
    if whole(head, "head", 0) >= count:
        raise InputError(
            f"head {head} of layer {layer}", expected=f"one of {count} heads that attend"
        )
    places = [to] if other is None else [to, other]
    goals = [Score(layer, head, at, place) for place in places]
    sources = lay_out(reading, choose(reading, goals, most))
    rows = Rows(sources, 1, looking=[layer])
    with closing(rows):
        return _explained(rows, sources, (layer, head, at, to, other), notes, names)


def _explained(
    rows: Rows,
    sources: Sources,
    place: tuple[int, int, int, int, int | None],
    notes: list[str],
    names: LabelOf,
) -> AttentionScore:
    layer, head, at, to, other = place
    model = sources.reading.model
    look = rows.looks.get(layer)
    if look is None:
        raise ModelError(
            f"the attention of layer {layer} of {model.name} compares no queries with keys",
            expected="attention by softmax",
        )
    queries = _parts(rows, look.query, head, at)
    keys = _parts(rows, look.key, head, to)
    if other is not None:
        keys = keys - _parts(rows, look.key, head, other)
    table = look.scale * queries.double() @ keys.double().T  # [node + 1, node + 1]
    score = float(table.sum())
    nodes: list[Node | None] = [*source_nodes(sources), None]
    known = torch.tensor([node is None or node.kind != "rest" for node in nodes])
    known = known.to(table.device)
    shown = table * known[:, None] * known
    order = shown.abs().flatten().argsort(descending=True)[:MAX_PAIRS].tolist()
    pairs = [
        Pair(nodes[n // len(nodes)], nodes[n % len(nodes)], float(shown.flatten()[n]))
        for n in order
        if shown.flatten()[n] != 0
    ]
    prompt = sources.reading.prompt
    return AttentionScore(
        model=sources.reading.model.name,
        prompt=prompt.text,
        prompt_tokens=list(prompt.texts),
        layer=layer,
        head=head,
        query=at,
        key=to,
        against=other,
        score=score,
        weight=float(look.pattern[head, at, to]),
        pairs=pairs,
        queries=_largest(nodes, table.sum(1) * known),
        keys=_largest(nodes, table.sum(0) * known),
        unknown=score - float(shown.sum()),
        rest=score - sum(pair.value for pair in pairs),
        notes=notes,
        names=names,
    )


def _parts(rows: Rows, values: Tensor, head: int, position: int) -> Float[Tensor, "node width"]:
    """What each node gives to a query or key, and last what none does."""
    vector = values[head, position]
    inject = values.new_zeros(len(vector), *values.shape)
    inject[torch.arange(len(vector)), head, position] = torch.eye(
        len(vector), dtype=values.dtype, device=values.device
    )
    found = rows.pull([values], [inject]).T
    return torch.cat([found, (vector.detach().float() - found.sum(0))[None]])


def _largest(nodes: Sequence[Node | None], values: Tensor) -> list[tuple[Node | None, float]]:
    order = values.abs().argsort(descending=True)[:MAX_PAIRS].tolist()
    return [(nodes[n], float(values[n])) for n in order if values[n] != 0]


def patterns(
    model: Model, prompt: Prompt | Tensor, layers: Iterable[int]
) -> dict[int, Float[Tensor, "head query key"]]:
    """By layer where each head looks; without those whose attention compares no queries with keys.

    Raises:
        ModelError: the model cannot be traced.
    """
    looks: dict[int, list[Looking]] = {layer: [] for layer in layers}
    with model.linearised(looking=looks):
        model.run(prompt, read=["final"])
    return {layer: found[0].pattern for layer, found in looks.items() if found}


def _looked_at(model: Model, given: Prompt, layer: int, head: int, query: int) -> int:
    pattern = patterns(model, given, [layer]).get(layer)
    if pattern is None or head >= len(pattern):
        return query  # refused later, in words
    return int(pattern[head, query].masked_fill(~given.counted, -1).argmax())


def _position(value: int, name: str, length: int) -> int:
    found = whole(value, name, -length, length - 1)
    return found % length


def source_nodes(sources: Sources) -> list[Node]:
    """The nodes of a prompt but for targets, as they are numbered."""
    prompt, text = sources.reading.prompt, sources.reading.prompt.texts
    nodes = []
    for basis, part in zip(sources.reading.bases, sources.features, strict=True):
        for p, feature, value in zip(*(column.tolist() for column in part), strict=True):
            name = basis.name
            nodes.append(
                Node("feature", basis.layer, p, feature, value, token=text[p], dictionary=name)
            )
    for one in sources.others:
        for p, norm in enumerate(one.norm.tolist()):
            nodes.append(Node(one.kind, one.layer, p, -1, norm, token=text[p]))
    for p, norm in enumerate(sources.reading.embedding.norm(dim=-1).tolist()):
        nodes.append(Node("embedding", None, p, prompt.ids[p], norm, token=text[p]))
    return nodes


class HeadSplit:
    """Splits edges of a traced prompt by head; holds two graphs of gradients while it lives.

    layers, heads [route]: what each route goes through; the first, -1 and -1, is the direct one.
    """

    def __init__(self, sources: Sources, batch: int = 1) -> None:
        model = sources.reading.model
        self._heads = [model.num_heads(layer) for layer in range(model.num_layers)]
        self._with = [layer for layer, count in enumerate(self._heads) if count]
        read = [f"{kind}.{layer}" for layer in self._with for kind in ("resid_pre", "attn_head")]
        self._rows = Rows(sources, batch, read=read)
        streams = [f"resid_pre.{layer}" for layer in self._with]
        self._direct = Rows(sources, batch, read=streams, attention=False)
        self.layers = torch.tensor([-1, *(n for n in self._with for _ in range(self._heads[n]))])
        self.heads = torch.tensor([-1, *(h for n in self._with for h in range(self._heads[n]))])

    def close(self) -> None:
        """Lets go of both graphs (see `Rows.close`)."""
        self._rows.close()
        self._direct.close()

    def __call__(
        self, site: str, position: Int[Tensor, " target"], vectors: Float[Tensor, "target width"]
    ) -> Float[Tensor, "target route node"]:
        """What each node contributes to what vectors read of a site, by route."""
        output = self._rows.at(site)
        inject = output.new_zeros(len(vectors), *output.shape)
        inject[torch.arange(len(vectors), device=output.device), 0, position] = vectors.to(output)
        direct = self._direct.pull([self._direct.at(site)], [inject])
        routes = [direct[:, None]]
        ends = [self._rows.at(f"attn_head.{layer}") for layer in self._with]
        gradients = self._rows.back([output], ends, [inject])
        for layer, end, gradient in zip(self._with, ends, gradients, strict=True):
            count = self._heads[layer]
            if gradient is None:
                routes.append(direct.new_zeros(len(vectors), count, direct.shape[1]))
                continue
            width = gradient.shape[-1] // count
            of_head = torch.arange(count * width, device=gradient.device) // width
            alone = [gradient * (of_head == head) for head in range(count)]
            each = torch.stack(alone, 1).flatten(0, 1)  # [target · head, 1, pos, head · width]
            stream = f"resid_pre.{layer}"
            (back,) = self._rows.back([end], [self._rows.at(stream)], [each])
            if back is None:
                routes.append(direct.new_zeros(len(vectors), count, direct.shape[1]))
                continue
            found = self._direct.pull([self._direct.at(stream)], [back])
            routes.append(found.reshape(len(vectors), count, -1))
        return torch.cat(routes, 1)
