"""What the domains of facts share: how a subject goes into a wording, and which hops never meet."""

from __future__ import annotations

from collections.abc import Iterable

from inscape_microworld.document import Document, Writer
from inscape_microworld.splits import held_out

UNSEEN_PERCENT = 15


def in_country(country: str) -> str:
    """The name of the concept of being in a country, or from it."""
    return "in_" + country.lower().replace(" ", "_")


def fill(
    writer: Writer,
    wording: str,
    subject: str,
    concepts: str | Iterable[str],
    decides: str | None = None,
    *,
    form: str = "",
) -> Writer:
    """Write a wording with the subject at its "{x}", beginning with a capital."""
    before, after = wording.split("{x}")
    if before:
        before = before[0].upper() + before[1:]
    else:
        subject = subject[0].upper() + subject[1:]
    return writer.say(before).mention(concepts, subject, decides, form=form).say(after)


def by_held(documents: Iterable[tuple[bool, Document]]) -> dict[bool, tuple[Document, ...]]:
    """The documents that are held out (True) and those that training shows (False)."""
    found: dict[bool, list[Document]] = {False: [], True: []}
    for held, document in documents:
        found[held].append(document)
    return {held: tuple(those) for held, those in found.items()}


def composition_unseen(entity: str, relation: str) -> bool:
    """Whether training never composes the entity with this relation of its country.

    Each of the two hops is taught by itself. A domain that names an entity and then says something
    of its country has to leave such a pair out.
    """
    return held_out("composition", entity, relation, percent=UNSEEN_PERCENT)
