"""Labels of an atlas by others, and whose labels are shown: those that were made last.

While a language model is asked the atlas is not locked, since that may take hours: only the folder
of its answers is. What is written then rests on atlas.json as it is at that moment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from inscape.atlas.container import FILE, Container
from inscape.core import InputError
from inscape.labels import Asked, Estimate, Labels, Limits, Published
from inscape.labels.others import (
    ask_for_texts,
    folder_name,
    published_summary,
    published_texts,
    write_texts,
)
from inscape.storage import write_json


def label_by(
    atlas: Container,
    by: Asked | Published,
    names: Iterable[str] | None = None,
    *,
    seed: int = 0,
    prompt: Path | None = None,
    limits: Limits | None = None,
    before: Callable[[Estimate], bool] | None = None,
) -> list[Labels]:
    """See `Atlas.label`."""
    chosen = atlas.indexed(names)
    if isinstance(by, Published) and len(chosen) != 1:
        raise InputError(
            f"{by.name} explains one dictionary, and {atlas.path} has {len(chosen)} that are "
            f"indexed: {', '.join(chosen[:8])}",
            expected="one",
            next_step="name it with --dictionary",
        )
    found = []
    for name in chosen:
        index, called = atlas.features(name), folder_name(name, by)
        complete = True
        if isinstance(by, Published):
            texts, about = published_texts(index, by), published_summary(by)
        else:
            folder = atlas.place("answers", called)
            answers = ask_for_texts(
                index, by, folder, seed=seed, prompt=prompt, limits=limits, before=before
            )
            if answers is None or not answers[0]:
                continue
            texts, report = answers
            complete = report["num_answered"] == report["num_questions"]
            about = {"asked": report}
        with atlas.writing():
            out = atlas.place("labels", called)
            found.append(write_texts(index, out, texts, by, about, seed=seed))
            if complete:  # some names alone would hide those that the others have
                show(atlas, name, called.partition("@")[2])
    return found


def show(atlas: Container, name: str, writer: str) -> None:
    """From now on the labels by this writer are shown; "" for the offline ones. The caller holds
    the atlas's lock."""
    atlas.forget_labels(name)
    shown = dict(atlas.record.get("labels", {}))
    shown.pop(name, None)
    if writer:
        shown[name] = writer
    if shown != atlas.record.get("labels", {}):
        atlas.record["labels"] = shown
        write_json(atlas.path / FILE, atlas.record)
