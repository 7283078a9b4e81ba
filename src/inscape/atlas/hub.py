"""An atlas as a folder for the Hugging Face hub, which is an atlas itself.

1. Dictionaries are saved anew, in as many bits as asked for; indexes and labels are copied, indexes
   without the activations beyond their examples unless these are asked for. A compact copy has
   fewer examples, those of neurons fewest, and neither search files nor embeddings.
2. What names folders of this machine (the model's place, the text's) keeps its last name alone.
3. Figures of the last `validate` go along; traces, diagnoses and what people wrote do not, as they
   hold their prompts; nor do stored activations.
4. The card (card.py) is README.md.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from inscape.atlas.card import card, measured, public
from inscape.atlas.container import FILE, Container
from inscape.core import InputError, track
from inscape.dictionary import Dictionary
from inscape.dictionary.rounding import Stored, check_stored
from inscape.features import Compact, FeatureIndex, compact_index
from inscape.features.index import ARRAYS
from inscape.labels.store import EMBEDDINGS
from inscape.model.opening import hub_name
from inscape.storage import MANIFEST, atomic_folder, is_temporary, plain, read_json, write_json
from inscape.storage.lock import LOCK

NEURONS = Compact(1, 0, num_promoted=3, num_suppressed=0, num_neighbours=0, histogram=False)


def to_hub(
    atlas: Container,
    out: Path,
    names: Iterable[str] | None = None,
    *,
    weights: Stored = "bfloat16",
    activations: bool = False,
    compact: bool = False,
    examples: Container | None = None,
    licence: str | None = None,
    base_model: str | None = None,
) -> Path:
    """Writes the folder; `hf upload OWNER/NAME OUT` shares it.

    Args:
        names: dictionaries, by default all that are stored or indexed.
        weights: what they are stored in.
        activations: where every feature is active, beyond its examples; labels are made from that.
        compact: with fewer examples, no search files and no embeddings: 2 MB for the index of
            10,000 features.
        examples: an atlas of the same dictionaries indexed over another text, which may be passed
            on: the examples of the compact copy come from there.
        licence: an identifier of the hub, such as apache-2.0.
        base_model: the model's name on the hub, by default where the atlas has it from, if that is
            no path.

    Raises:
        InputError: there is no such dictionary, `out` holds something, or a name is none.
    """
    check_stored(weights)
    if (compact and activations) or (examples is not None and not compact):
        raise InputError(
            "a compact copy with every activation" if compact else "examples of another atlas",
            expected="compact=True (--compact), without activations",
        )
    _check_name(
        "licence", licence, r"[a-z0-9][a-z0-9.-]{0,60}", "as on the hub, such as apache-2.0"
    )
    _check_name("model", base_model, r"[\w.-]{1,96}/[\w.-]{1,96}", "owner/name of the hub")
    if base_model is None:
        base_model = hub_name(atlas.record["model"]["source"])
    chosen = shared_names(atlas, names)
    with atomic_folder(out) as folder:
        for name in track(chosen, "copying dictionaries", unit="dictionaries"):
            if name in atlas.dictionary_names:
                found = Dictionary.open(atlas.place("dictionaries", name))
                made = Dictionary(
                    found.config,
                    found.weights,
                    name=name,
                    input_scale=found.input_scale,
                    output_scale=found.output_scale,
                    made_from=public(found.made_from),
                )
                made.save(folder / "dictionaries" / name, dtype=weights)
            if atlas.is_indexed(name) and compact:
                shown = None if examples is None else examples.features(name)
                _compact(atlas.features(name), folder / "features", shown)
            elif atlas.is_indexed(name):
                _copy_index(atlas.features(name), folder / "features", activations)
            for kind in ("labels", "map") if compact else ("labels", "meaning", "map"):
                for place in _places(atlas.path / kind, name):
                    without = (EMBEDDINGS,) if compact and kind == "labels" else ()
                    _copy(place, folder / kind / place.name, without)
        _figures(atlas, chosen, folder)
        record = public(atlas.record)
        if hub_name(record["model"]["source"]) is None:
            record["model"]["source"] = base_model or record["model"]["source"]
        write_json(folder / FILE, record)
        text = card(
            atlas,
            chosen,
            title=f"Features of {atlas.record['model']['name']}",
            licence=licence,
            base_model=base_model,
            weights=weights,
        )
        (folder / "README.md").write_text(text, encoding="utf-8")
    return out


def shared_names(atlas: Container, names: Iterable[str] | None) -> list[str]:
    """The dictionaries that are shared: those named, or all that are stored or indexed."""
    if names is not None:
        return atlas.some(names)
    found = list(dict.fromkeys([*atlas.dictionary_names, *atlas.indexed_names]))
    return found or atlas.some(None)


def _check_name(what: str, given: str | None, pattern: str, expected: str) -> None:
    if given is not None and not re.fullmatch(pattern, given):
        raise InputError(f"{what} {given!r}", expected=expected)


def _places(folder: Path, name: str) -> list[Path]:
    """The folders of a dictionary: NAME, and NAME@WRITER of labels by others."""
    found = folder.iterdir() if folder.is_dir() else ()
    return sorted(p for p in found if p.is_dir() and p.name.partition("@")[0] == name)


def _copy_index(index: FeatureIndex, to: Path, activations: bool) -> None:
    """Copies an index, and the tokens that it rests on unless they are there."""
    tokens = str(index.manifest["tokens"])
    if not (to / tokens).exists():
        _copy(index.folder.parent / tokens, to / tokens)
    _copy(index.folder, to / index.folder.name, () if activations else ARRAYS)


def _compact(index: FeatureIndex, to: Path, examples: FeatureIndex | None) -> None:
    """A small copy of an index, and the tokens that its examples lie in."""
    kind = index.manifest["made_from"]["dictionary_config"]["kind"]
    keep = NEURONS if kind == "neurons" else Compact()
    made = compact_index(index, to / index.folder.name, keep, examples=examples)
    write_json(made.folder / MANIFEST, public(made.manifest))


def _copy(source: Path, to: Path, without: Sequence[str] = ()) -> None:
    """Copies what a manifest describes, less some files; the copy's names no folder of here."""

    def left_out(folder: str, names: list[str]) -> set[str]:
        return {n for n in names if n == LOCK or n in without or is_temporary(n)}

    shutil.copytree(source, to, ignore=left_out)
    manifest = public(read_json(to / MANIFEST))
    files = manifest.get("files", {})
    manifest["files"] = {name: kept for name, kept in files.items() if name not in without}
    if EMBEDDINGS in without:
        manifest.pop("embedder", None)  # which says that they are there
    write_json(to / MANIFEST, manifest)


def _figures(atlas: Container, names: list[str], folder: Path) -> None:
    for name, found in measured(atlas).items():
        if name in names:
            kept = replace(found, text=public(found.text))
            write_json(folder / "quality" / f"{name}.json", plain(kept))
