"""A prompt on the page, token by token: the concepts that are active, and what the answer rests on.

Every sentence is made of what was measured; none is written for a certain prompt.
"""

from __future__ import annotations

from collections.abc import Callable

from inscape.atlas import Concept, Concepts
from inscape.core import with_signs
from inscape.report.markup import Markup, join, tag
from inscape.report.numbers import show
from inscape.report.parts import barred, feature_name, fold, number, snippet, table, visible

SHOWN = 3  # concepts of a token before the rest is folded
CLEAR = 0.2  # nats: effects below that are not marked
More = Callable[[Concept], Markup | None]
"""What else is known of a feature, shown where its concept is opened."""


def nothing_more(concept: Concept) -> Markup | None:
    """Where nothing else is known."""
    return None


def concepts_html(
    given: Concepts,
    more: More = nothing_more,
    remark: tuple[object, ...] = (),
    *,
    folded: bool = False,
) -> Markup:
    """One prompt as an `<article>`.

    Args:
        remark: what follows the sentence on the answer; folded: tokens are shown when asked for.
    """
    tokens = tag("ol", [_token(given, n, more) for n in _shown_positions(given)], class_="reading")
    listed = join(tag("p", _KEY, class_="note"), tokens)
    return tag(
        "article",
        tag("ul", _line(given), class_="snippets reading"),
        explained(given, remark),
        _answers(given),
        fold("Token by token", listed) if folded else listed,
        class_="card",
    )


_KEY = (
    "The concepts that are active on each token: those with a name first, of equal names the "
    "strongest, and then by how strong and how rare they are. A number says how strong, as a share "
    "of the strongest seen in the indexed text. Open one to see more of it."
)


def explained(given: Concepts, remark: tuple[object, ...] = ()) -> Markup:
    """What the model says and what that rests on, in sentences."""
    text, part = given.answers[0]
    said = "The model goes on with ", _quoted(text), " (", number(part, "share"), "). ", *remark
    one = given.deciding
    if one is not None and one.removed is not None:
        after, now, before = one.removed.answers[0]
        return join(
            tag("p", said, " One feature decides that: ", *_named(given, one), class_="lead"),
            tag(
                "p",
                ("Without it the model says ", tag("strong", _quoted(after)), " ("),
                (number(now, "share"), "; before ", number(before, "share"), "), and "),
                (_quoted(text), " falls to ", number(one.removed.kept, "share"), "."),
                class_="lead",
            ),
        )
    if not given.removed:
        return tag("p", said, class_="lead")
    most = given.removed[0]
    assert most.removed is not None
    none = (
        f" None of the {len(given.removed)} features that were removed, one by one, changes that "
        "alone. The one that matters most is "
    )
    kept = " Without it the probability is ", number(most.removed.kept, "share"), "."
    return tag("p", said, none, *_named(given, most), *kept, class_="lead")


def _named(given: Concepts, one: Concept) -> tuple[object, ...]:
    """A feature by its name, and where it is active."""
    where, place = _quoted(given.tokens[one.peak]), whole_word(given, one.peak)
    inside = (" of ", _quoted(place)) if place != given.tokens[one.peak].strip() else ()
    others = len(one.active) - 1
    also = f", and on {others} other token{'s' * (others > 1)}" if others else ""
    piece = "the piece " if inside else ""
    name = (tag("strong", _called(one.label)), " (") if one.label else ("a feature without name (",)
    id = tag("code", one.id, class_="name"), "), active on "
    return (*name, *id, piece, where, *inside, also, ".")


def whole_word(given: Concepts, position: int) -> str:
    """The word that a token is part of."""
    start = end = position
    while start > 0 and _goes_on(given, start):
        start -= 1
    while end + 1 < len(given.tokens) and _goes_on(given, end + 1):
        end += 1
    return "".join(given.tokens[start : end + 1]).strip()


def _goes_on(given: Concepts, position: int) -> bool:
    """Whether a token goes on with the word before it."""
    token, before = given.tokens[position], given.tokens[position - 1]
    return bool(given.counted[position - 1]) and token[:1].isalnum() and before[-1:].isalnum()


def _plain(text: str) -> str:
    """A token as people read it: without the space that it begins with."""
    return visible(text.strip(" ") or text)


def _quoted(text: str) -> Markup:
    return tag("q", with_signs(text.strip(" ") or text))


def _line(given: Concepts) -> Markup:
    """The prompt as a running text, shaded by the feature that the answer rests on most."""
    places = _shown_positions(given)
    one = given.deciding or next(iter(given.removed), None)
    values = [one.activation(n) if one is not None else 0.0 for n in places]
    shaded = join("shaded: where ", _short(one), " is active") if one is not None else ""
    return snippet([given.tokens[n] for n in places], values, shaded)


def _shown_positions(given: Concepts) -> list[int]:
    """All but the special token that a text begins with."""
    return [n for n, counts in enumerate(given.counted) if counts or n]


def _answers(given: Concepts) -> Markup:
    """The likeliest next tokens, with the feature that decides and without it."""
    one, heads = given.deciding, ["next token", "probability"]
    rows: list[tuple[str, tuple[float, ...]]] = [(token, (part,)) for token, part in given.answers]
    if one is not None and one.removed is not None:
        heads = ["next token", "as it is", "without it"]
        found = sorted(one.removed.answers, key=lambda answer: -answer[2])
        rows = [(token, (before, now)) for token, now, before in found]
    body = [
        (
            tag("code", _plain(token)),
            *(barred(p, "share", s) for p, s in zip(parts, ("plain", "for-right"), strict=False)),
        )
        for token, parts in rows
    ]
    return table(heads, body, what="next tokens", class_="bars answers")


def _short(one: Concept) -> Markup:
    return _called(one.label) if one.label else join(one.id)


def _called(label: str) -> Markup:
    """A name in quotation marks, unless it brings its own."""
    return join(label) if '"' in label else tag("q", label)


def _token(given: Concepts, position: int, more: More) -> Markup:
    """A token and its concepts."""
    goes_on = position > 0 and _goes_on(given, position)
    here = given.at(position)
    apart = [one for one in here if _stands_out(given, one, position)]
    distinct = {one.label: one for one in reversed(here)}  # of equal names the strongest
    named = [one for one in here if one.label and distinct[one.label] is one and one not in apart]
    first = (apart + named)[: max(SHOWN, len(apart))] or here[:1]
    rest = [one for one in here if one not in first]
    chips = [
        _chip(given, one, position, more if one.peak == position else nothing_more) for one in first
    ]
    if rest:
        inside = tag(
            "div", [_chip(given, one, position, nothing_more) for one in rest], class_="chips"
        )
        chips.append(tag("details", tag("summary", f"{len(rest)} more"), inside, class_="rest"))
    none = (
        tag("span", "nothing is read here", class_="none") if not given.counted[position] else None
    )
    return tag(
        "li",
        tag("code", _plain(given.tokens[position]), class_="at"),
        tag("div", chips, none, class_="chips"),
        class_="goes-on" if goes_on else None,
    )


def _stands_out(given: Concepts, one: Concept, position: int) -> bool:
    """Whether it is the feature that decides, on the token where it is strongest."""
    return given.deciding is not None and one.id == given.deciding.id and one.peak == position


def _chip(given: Concepts, one: Concept, position: int, more: More) -> Markup:
    """A concept on a token, which opens to what is known of it."""
    strength, decides = one.strength(position), given.deciding == one
    how = show(one.activation(position)) if strength is None else show(round(100 * strength)) + " %"
    width = 100 * (strength or 0.0)
    name = one.label or _unnamed(one)
    title = "decides the answer" if decides else None
    return tag(
        "details",
        tag(
            "summary",
            tag("span", name, class_="label" if one.label else "label none"),
            tag("span", "decides the answer", class_="decides") if decides else None,
            tag("data", how, value=repr(one.activation(position))),
            style=f"--strength:{width:.0f}%",
            title=title,
        ),
        _opened(given, one, position, more),
        class_="chip deciding" if decides else "chip",
    )


def _unnamed(one: Concept) -> str:
    words = ", ".join(f"“{with_signs(word.strip(' ') or word)}”" for word in one.words[:3])
    return f"no name; active on {words}" if words else "no name"


def _opened(given: Concepts, one: Concept, position: int, more: More) -> Markup:
    """What is known of a concept on a token."""
    share = None if one.density is None else join(number(one.density, "share"), " of tokens")
    facts: list[tuple[str, object]] = [("activation here", number(one.activation(position)))]
    if one.largest is not None:
        facts.append(("largest in the indexed text", number(one.largest)))
    if share is not None:
        facts.append(("active on", share))
    if one.auroc is not None and one.label:
        facts.append(("its name is right in", join(number(one.auroc, "share"), " of pairs")))
    if one.removed is not None:
        token, now, _ = one.removed.answers[0]
        facts.append(("without it", join(_quoted(token), " ", number(now, "share"))))
    words = [(", " if i else "", _quoted(word)) for i, word in enumerate(one.words)]
    return tag(
        "div",
        tag("p", feature_name(one.id, one.label)),
        tag("p", "Most active on ", words, ".") if words else None,
        tag("dl", [tag("div", tag("dt", k), tag("dd", v)) for k, v in facts], class_="cards"),
        more(one),
        class_="opened",
    )
