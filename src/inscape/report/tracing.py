"""Trajectories, circuits, exchanges, scores of attention and of graphs, as tables."""

from __future__ import annotations

from collections.abc import Sequence

from inscape.attribution import AttentionScore, Exchange, GraphScores, Trajectory
from inscape.circuits import Circuit
from inscape.report.markup import Markup, join, tag
from inscape.report.numbers import EN_DASH
from inscape.report.parts import number, share, span, table, visible

NUM_SHOWN = 8


def trajectory_html(found: Trajectory) -> Markup:
    """A row for each token of the answer."""
    rows = []
    for step in found.steps:
        order = sorted(range(len(step.tokens)), key=lambda p: -step.tokens[p])[:3]
        sources = [f"{visible(found.prompt_tokens[p])} {step.tokens[p]:.0%}" for p in order]
        sources.append(f"unknown {step.unknown:.0%}")
        rows.append(
            (
                tag("code", visible(step.token)),
                number(step.probability, "share"),
                number(step.margin),
                tag("code", visible(step.rival)),
                EN_DASH if step.decided is None else step.decided,
                ", ".join(sources),
                _lines([found.title(n) for n, _ in step.nodes[:3]]),
            )
        )
    heads = ["token", "probability", "logits ahead", "of", "from layer on", "rests on", "strongest"]
    caption = f"{found.prompt} {EN_DASH} each token of the answer, and what it rests on"
    lead = None
    if found.candidates is not None and found.leads:
        one, two = found.candidates
        ahead = one if found.leads[-1] > 0 else two
        held = f"from token {found.held_from} of the answer on" if found.held_from else "throughout"
        lead = tag("p", f"Of {one!r} and {two!r}, {ahead!r} is ahead {held}.", class_="note")
    return _card(table(heads, rows, caption=caption, numeric=[1, 2, 4]), lead, *_notes(found.notes))


def circuit_html(found: Circuit) -> Markup:
    """Members, then what was measured."""
    rows = []
    for one in found.members:
        seen = sorted(one.looks.items(), key=lambda pair: -pair[1])[:2]
        looks = ", ".join(f"{role} {weight:.2f}" for role, weight in seen if weight > 0.1)
        rows.append((found.title(one), looks, number(one.alone, "share"), number(one.needed)))
    caption = (
        f"{found.about}: {len(found.members)} members of {found.num_units:,}, chosen on "
        f"{found.num_chosen} prompts, measured on {found.num_held} others"
    )
    members = table(
        ["member", "looks at", "swing alone", "faithfulness lost without it"],
        rows,
        caption=caption,
        numeric=[2, 3],
    )
    most = max((one.value for one in found.controls), default=float("nan"))
    figures: list[tuple[object, object]] = [
        ("exchanged: the other answer leads on", share(found.turned)),
        ("exchanged: the other answer is said on", share(found.named)),
        (f"{len(found.controls)} random circuits: it leads at most on", number(most, "share")),
    ]
    for kind, value in found.faithfulness.items():
        says = "" if value.says else "; says little, since without any of it the answer leads"
        figures.append(
            (
                f"faithfulness, the rest ablated by {kind}",
                join(number(value.value), " (", span(*value.interval), ")", says),
            )
        )
    figures += [
        ("CPR, CMD", join(number(found.cpr), ", ", number(found.cmd))),
        ("overlap of the ranking between resamples", number(found.overlap, "share")),
    ]
    return _card(members, table(["measured", ""], figures), *_notes(found.notes))


def exchange_html(found: Exchange) -> Markup:
    """What the model says before and after, and the first of the neurons."""
    first, second = found.answers
    rows = [
        (name, number(p, "share"), number(q, "share"), tag("code", visible(says)))
        for name, (p, q, says) in (("before", found.before), ("exchanged", found.after))
    ]
    caption = f"{found.prompt} {EN_DASH} {len(found.members)} neurons as in: {found.other}"
    heads = ["", visible(first), visible(second), "says"]
    neurons = []
    for one in found.members[:NUM_SHOWN]:
        name = f"mlp_act.{one.layer}/{one.neuron}"
        label = found.names(f"mlp_act.{one.layer}", one.neuron) or name
        place = visible(found.prompt_tokens[one.position])
        neurons.append((label, tag("code", name), place, number(one.value), number(one.other)))
    return _card(
        table(heads, rows, caption=caption, numeric=[1, 2]),
        tag("p", "Random neurons instead turn ", share(found.controls), ".", class_="note"),
        table(["first of them", "", "at", "is", "becomes"], neurons, numeric=[3, 4]),
    )


def attention_html(found: AttentionScore) -> Markup:
    """The largest pairs."""
    at, to = (visible(found.prompt_tokens[p]) for p in (found.query, found.key))
    against = ""
    if found.against is not None:
        against = f" rather than at {visible(found.prompt_tokens[found.against])}"
    caption = (
        f"Why head {found.head} of layer {found.layer} looks from {at} at {to}{against}: score "
        f"{found.score:+.2f}, attention {found.weight:.2f}"
    )
    rows = [
        (number(pair.value), found.title(pair.query), found.title(pair.key))
        for pair in found.pairs[:NUM_SHOWN]
    ]
    heads = ["gives", "query side", "key side"]
    return _card(table(heads, rows, caption=caption, numeric=[0]), *_notes(found.notes))


def scores_html(found: GraphScores) -> Markup:
    """Means with their intervals."""
    named = {
        "replacement": found.replacement,
        "completeness": found.completeness,
        "unknown": found.unknown,
        "predicted against measured, rank correlation": found.agreement,
    }
    rows: list[tuple[object, object]] = [
        (
            name,
            EN_DASH if one is None else join(number(one.value), " (", span(one.low, one.high), ")"),
        )
        for name, one in named.items()
    ]
    rows.append(("graphs whose predictions hold", share(found.holds)))
    through = ", ".join(found.dictionaries) or "neurons alone"
    caption = f"Graphs of {found.num_prompts} prompts through {through}"
    return _card(table(["score", "mean"], rows, caption=caption))


def _card(*content: object) -> Markup:
    return tag("article", *content, class_="card")


def _notes(notes: Sequence[str]) -> list[Markup]:
    return [tag("p", note, class_="note") for note in notes]


def _lines(names: Sequence[str]) -> Markup:
    return join(*(join(tag("br") if n else None, name) for n, name in enumerate(names)))
