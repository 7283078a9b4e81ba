"""The weights that come with the package."""

from __future__ import annotations

from pathlib import Path

from inscape.core import ModelError
from inscape.microworld.corpus import documents
from inscape.microworld.document import Document
from inscape.model import Model
from inscape.storage import atomic_write, read_json

FOLDER = Path(__file__).parent / "weights"
CORPUS_SEED = 1_000_003
"""The seed of the corpus that dictionaries learn from: another stream than the model's own."""


def open_model(*, device: str | None = None) -> Model:
    """The bundled language model.

    Raises:
        ModelError: the installed package lacks its weights.
    """
    if not (FOLDER / "config.json").is_file():
        raise ModelError(
            f"the bundled weights are not at {FOLDER}",
            expected="a package with its data",
            next_step="install inscape again, or train them: python -m inscape.microworld.train",
        )
    return Model.open(FOLDER, device=device)


def card() -> dict[str, object]:
    """What made the bundled weights and what they can do."""
    found: dict[str, object] = read_json(FOLDER / "card.json")
    return found


def corpus(count: int, seed: int = CORPUS_SEED) -> list[Document]:
    """Documents for learning dictionaries."""
    return list(documents(seed, count))


def write_corpus(path: Path, made: list[Document]) -> None:
    """The documents as JSON lines with a field "text"."""
    import json

    lines = "".join(json.dumps({"text": document.text}) + "\n" for document in made)
    atomic_write(path, lines.encode())
