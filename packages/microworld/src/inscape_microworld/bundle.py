"""The weights that come with the package."""

from __future__ import annotations

from pathlib import Path

from inscape.core import DataError, ModelError, StorageError
from inscape.model import Model
from inscape.storage import atomic_write, file_hash, read_json
from inscape_microworld.corpus import documents
from inscape_microworld.document import Document

FOLDER = Path(__file__).parent / "weights"
IMAGES = Path(__file__).parent / "weights_images"
WEIGHTS, CARD = "model.safetensors", "card.json"
CORPUS_SEED = 1_000_003
"""The seed of the corpus that dictionaries learn from: another stream than the model's own."""


def open_model(*, device: str | None = None) -> Model:
    """The bundled language model.

    Raises:
        ModelError: the installed package lacks its weights.
        DataError: they are not those that the card speaks of.
    """
    return _open(FOLDER, "inscape_microworld.train", device)


def open_image_model(*, device: str | None = None) -> Model:
    """The bundled language model with eyes: `model.prompt(text, picture)` asks about a picture.

    Raises:
        ModelError: the installed package lacks its weights.
        DataError: they are not those that the card speaks of.
    """
    return _open(IMAGES, "inscape_microworld.pictures.train", device)


def _open(folder: Path, module: str, device: str | None) -> Model:
    if not (folder / "config.json").is_file():
        raise ModelError(
            f"the bundled weights are not at {folder}",
            expected="a package with its data",
            next_step=f"install inscape again, or train them: python -m {module}",
        )
    check_weights(folder)
    return Model.open(folder, device=device)


def check_weights(folder: Path) -> None:
    """Hold the weights in `folder` against the checksum on their card.

    Raises:
        DataError: they differ, or the card has none.
    """
    written = read_json(folder / CARD).get("sha256")
    found = file_hash(folder / WEIGHTS)
    if found != written:
        raise DataError(
            f"{folder / WEIGHTS} has the checksum {found[:12]}…",
            expected=f"{written[:12]}…, as on its card" if written else "a checksum on its card",
            next_step="install inscape again: figures of other weights do not apply",
        )


def is_model(folder: Path) -> bool:
    """Whether a folder is one that a training of ours wrote, and holds nothing else: it may be
    replaced."""
    kinds = {".json", ".jinja", ".safetensors", ".md"}
    try:
        command = str(read_json(folder / CARD)["command"])
    except (StorageError, KeyError, TypeError):
        return False
    parts = list(folder.iterdir())
    inner = all(path.is_file() and path.suffix in kinds for path in parts)
    return inner and command.startswith("python -m inscape_microworld.")


def is_checkpoint(folder: Path) -> bool:
    """Whether a folder holds the state of a training of ours, and nothing else."""
    return [path.name for path in folder.iterdir()] == ["state.pt"]


def card() -> dict[str, object]:
    """What made the bundled weights and what they can do."""
    found: dict[str, object] = read_json(FOLDER / CARD)
    return found


def corpus(count: int, seed: int = CORPUS_SEED) -> list[Document]:
    """Documents for learning dictionaries."""
    return list(documents(seed, count))


def write_corpus(path: Path, made: list[Document]) -> None:
    """The documents as JSON lines with a field "text"."""
    import json

    lines = "".join(json.dumps({"text": document.text}) + "\n" for document in made)
    atomic_write(path, lines.encode())
