"""An answer followed token by token: what each of its tokens rests on, and where it was decided.

1. The prompt and its answer, given or the model's own, are read once. Each token of the answer is a
   target at the position before it: its logit less that of the likeliest other token.
2. One backward pass a token ranks all features and neurons; the largest of each are nodes. All
   tokens share the nodes, and one graph of gradients in which their edges are computed.
3. For each token, influence over the edges: on which nodes, and on which tokens before, it rests.
4. Its margin by layer is what the last norm and the head make of the stream there (logit lens).
5. Where two candidates are given, their log-probabilities are compared after every token of the
   answer, followed by a cue such as " The answer is": from where on does the model hold to one?
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch

from inscape.attribution import influence as flow
from inscape.attribution.attention import source_nodes
from inscape.attribution.bases import find_bases
from inscape.attribution.data import Edges, Node, title
from inscape.attribution.edges import compute_edges
from inscape.attribution.hints import add_hints
from inscape.attribution.ranking import Linear, choose_each
from inscape.attribution.sources import Reading, Sources, check_logits, lay_out, read
from inscape.core import InputError, LabelOf, no_label, quoted, short, whole
from inscape.dictionary import Dictionary
from inscape.model import Model, Prompt, Source
from inscape.storage import Result

NUM_NODES, NUM_SHOWN = 50, 8
MAX_TOKENS = 40


@dataclass(frozen=True)
class Step:
    """One token of the answer.

    token, probability: what is said here; rival: the likeliest other token; margin: the logit of
    the one less that of the other; margins: the same by layer, by the logit lens. decided: the
    first layer from which on the margin stays above 0; None where it does not.
    nodes: number and fraction of influence of the largest. tokens [pos]: fraction of influence that
    comes from each token before. unknown: the fraction that ends in what is no node.
    """

    position: int
    token: str
    probability: float
    rival: str
    margin: float
    margins: list[float]
    decided: int | None
    nodes: list[tuple[int, float]]
    tokens: list[float]
    unknown: float


@dataclass(frozen=True)
class Course:
    """The activation of a feature at each token that the answer is said at."""

    dictionary: str
    feature: int
    values: list[float]


@dataclass
class Trajectory(Result):
    """An answer followed token by token.

    prompt_tokens: of prompt and answer; num_prompt: of the prompt alone. steps: a token each.
    nodes: of all steps. courses: the features of the stream that matter most, over the answer.
    candidates, leads: log-probability of the first candidate less that of the second before each
        token of the answer and after the last; held_from: the first token of the answer from which
        on the one that leads at the end stays ahead.
    """

    SCHEMA: ClassVar[str] = "inscape.trajectory"
    MADE_BY: ClassVar[str] = "trace"

    model: str
    prompt: str
    answer: str
    prompt_tokens: list[str]
    num_prompt: int
    steps: list[Step]
    nodes: list[Node]
    courses: list[Course]
    candidates: tuple[str, str] | None = None
    leads: list[float] = field(default_factory=list)
    held_from: int | None = None
    notes: list[str] = field(default_factory=list)
    names: LabelOf = field(default=no_label, repr=False, compare=False)

    def title(self, number: int) -> str:
        """A node in words."""
        return title(self.nodes[number], self.names)

    def summary(self, num: int = 3) -> str:
        """A line or two for each token of the answer."""
        lines = [f"prompt: {self.prompt}", f"answer: {self.answer}"]
        for step in self.steps:
            lead = "behind" if step.margin < 0 else "ahead of"
            since = "" if step.decided is None else f", from layer {step.decided} on"
            lines.append(
                f"{quoted(step.token)} (p={step.probability:.2f}; {abs(step.margin):.2f} {lead} "
                f"{quoted(step.rival)}{since})"
            )
            order = np.argsort(-np.array(step.tokens), kind="stable")[:num].tolist()
            rests = (f"{quoted(self.prompt_tokens[p])} {step.tokens[p]:.0%}" for p in order)
            lines.append(f"    from {', '.join(rests)}; unknown {step.unknown:.0%}")
            lines += [f"    {share:5.1%}  {self.title(n)}" for n, share in step.nodes[:num]]
        if self.candidates is not None:
            one, two = map(quoted, self.candidates)
            leads = " ".join(f"{lead:+.1f}" for lead in self.leads)
            lines.append(f"{one} over {two}, before each token and after the last: {leads}")
            if self.held_from is not None:
                ahead = one if self.leads[-1] > 0 else two
                place = "the beginning" if self.held_from == 0 else f"token {self.held_from}"
                lines.append(f"{ahead} is ahead from {place} of the answer on")
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])


def trajectory(
    model: Model,
    prompt: Source,
    dictionaries: Iterable[Dictionary] | Mapping[int, Dictionary] = (),
    *,
    answer: str | None = None,
    max_new_tokens: int | None = None,
    nodes: int = NUM_NODES,
    candidates: Sequence[str] = (),
    cue: str = "",
    memory: float | None = None,
    names: LabelOf = no_label,
) -> Trajectory:
    """Follows an answer token by token (see the module).

    answer: a given one, or a given chain of reasoning; without it the model's own, greedy, of at
        most `max_new_tokens` (40). nodes: how many for each token. dictionaries: as `trace`.
    candidates: two final answers, compared after every token with `cue` behind it.

    memory: as `trace`.

    Raises:
        InputError: an empty answer, one that does not fit the model's context, or other than two
            candidates.
    """
    whole(nodes, "nodes", 1)
    if answer is not None and max_new_tokens is not None:
        raise InputError(
            f"max_new_tokens {max_new_tokens} was given with an answer",
            expected="one of them: a given answer is followed to its end",
        )
    if len(candidates) not in (0, 2) or isinstance(candidates, str):
        raise InputError(f"{len(candidates)} candidates", expected="two, or none")
    if cue and not candidates:
        raise InputError(
            f"cue {short(cue)} was given without candidates", expected="two answers to be compared"
        )
    model.require_one_device("tracing")
    model.check_traceable()
    bases, notes = find_bases(model, dictionaries)
    given = model.prompt(prompt)
    if candidates:
        model.first_difference(given, list(candidates))
    most = MAX_TOKENS if max_new_tokens is None else max_new_tokens
    ids = _answer(model, given, answer, most)
    everything = model.extended(given, ids)
    reading = read(model, bases, everything, memory)
    targets, steps = _targets(model, reading, len(given), ids)
    features, own = choose_each(reading, targets, nodes)
    sources = lay_out(reading, features)
    edges = compute_edges(sources, targets)[0]
    every = source_nodes(sources)
    add_hints(sources, every, names)
    found = _steps(sources, every, edges, steps, own)
    leads = _leads(model, given, ids, candidates, cue)
    return Trajectory(
        model=model.name,
        prompt=given.text,
        answer=everything.text.removeprefix(given.text),
        prompt_tokens=list(everything.texts),
        num_prompt=len(given),
        steps=found,
        nodes=every[: sources.num_features],
        courses=_courses(reading, found, every, range(len(given) - 1, len(everything))),
        candidates=(candidates[0], candidates[1]) if candidates else None,
        leads=leads,
        held_from=_held_from(leads),
        notes=notes,
        names=names,
    )


def _answer(model: Model, given: Prompt, answer: str | None, max_new_tokens: int) -> list[int]:
    if answer is None:
        row = model.generate(given, max_new_tokens)[0].tolist()
        ids = [i for i in row[len(given) :] if i not in model.end_ids]
    else:
        ids = list(model.answer(given, answer).ids)
    if not ids:
        raise InputError("the answer has no tokens", expected="at least one token of text")
    return ids


@torch.no_grad()
def _targets(
    model: Model, reading: Reading, first: int, ids: Sequence[int]
) -> tuple[list[Linear], list[Step]]:
    """The target of each token, and its step without nodes."""
    head = model.unembedding().float()
    streams = [f"resid_post.{layer}" for layer in range(model.num_layers)]
    run = model.run(reading.prompt, read=streams)
    mask = model.vocabulary_mask.to(reading.final.device)
    targets, steps = [], []
    for number, token in enumerate(ids):
        at = first - 1 + number
        logits = model.unembed(reading.final[at])
        check_logits(model, logits)
        others = logits.masked_fill(~mask, -torch.inf)
        others[token] = -torch.inf
        rival = int(others.argmax())
        vector = head[token] - head[rival]
        targets.append(Linear(at, vector.to(reading.final.device), 1.0))
        stream = torch.stack([run[site][0, at] for site in streams])
        seen = model.structure.final_norm(stream.to(model.dtype)).float()
        margins = (seen @ vector.to(seen)).tolist()
        steps.append(
            Step(
                position=at,
                token=model.token_text(token),
                probability=float(torch.softmax(logits, -1)[token]),
                rival=model.token_text(rival),
                margin=float(logits[token] - logits[rival]),
                margins=margins,
                decided=_decided(margins),
                nodes=[],
                tokens=[],
                unknown=0.0,
            )
        )
    return targets, steps


def _decided(margins: Sequence[float]) -> int | None:
    behind = [layer for layer, margin in enumerate(margins) if margin <= 0]
    first = behind[-1] + 1 if behind else 0
    return first if first < len(margins) else None


def _steps(
    sources: Sources,
    nodes: Sequence[Node],
    edges: Edges,
    steps: Sequence[Step],
    own: Sequence[Sequence[int]],
) -> list[Step]:
    """The steps with what they rest on."""
    total = sources.num_nodes + len(steps)
    start = np.zeros((total, len(steps)))
    start[sources.num_nodes :] = np.eye(len(steps))
    sizes = flow.influence(edges, start)[: sources.num_nodes]
    is_token = np.array([node.kind == "embedding" for node in nodes])
    is_end = np.array([node.kind in ("rest", "error") for node in nodes])
    num_pos = sources.num_positions
    found = []
    for number, step in enumerate(steps):
        size = sizes[:, number]
        ends = max(float(size[is_token | is_end].sum()), 1e-30)
        largest = sorted(own[number], key=lambda n: -size[n])[:NUM_SHOWN]
        every = max(float(size[: sources.num_features].sum()), 1e-30)
        made = {
            **vars(step),
            "nodes": [(n, float(size[n] / every)) for n in largest],
            "tokens": (size[-num_pos:] / ends).tolist(),
            "unknown": float(size[is_end].sum() / ends),
        }
        found.append(Step(**made))
    return found


def _courses(
    reading: Reading, steps: Sequence[Step], nodes: Sequence[Node], places: Sequence[int]
) -> list[Course]:
    """The features of the stream that the steps rest on most, with their activations there."""
    size: dict[tuple[str, int], float] = {}
    for step in steps:
        for n, fraction in step.nodes:
            key = nodes[n].dictionary or "", nodes[n].feature
            size[key] = size.get(key, 0.0) + fraction
    found = []
    for number, basis in enumerate(reading.bases):
        part = reading.active[number]
        if basis.kind != "stream" or part is None:
            continue
        for name, feature in size:
            if name == basis.name:
                here = part.take(part.feature == feature)
                values = dict(zip(here.position.tolist(), here.value.tolist(), strict=True))
                found.append(Course(name, feature, [values.get(p, 0.0) for p in places]))
    return sorted(found, key=lambda one: -size[one.dictionary, one.feature])[:NUM_NODES]


def _leads(
    model: Model, given: Prompt, ids: Sequence[int], candidates: Sequence[str], cue: str
) -> list[float]:
    """Log-probability of the first candidate less that of the second, after 0, 1, ... tokens."""
    if not candidates:
        return []
    prompts = [model.extended(given, ids[:count]) for count in range(len(ids) + 1)]
    if cue:
        more = model.answer(given, cue).ids
        prompts = [model.extended(one, more) for one in prompts]
    pairs = [(one, text) for one in prompts for text in candidates]
    judged = [one.log_probability for one in model.judge(pairs)]
    return [one - two for one, two in zip(judged[::2], judged[1::2], strict=True)]


def _held_from(leads: Sequence[float]) -> int | None:
    if not leads:
        return None
    against = [number for number, lead in enumerate(leads) if lead * leads[-1] <= 0]
    return against[-1] + 1 if against else 0
