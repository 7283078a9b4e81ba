"""The whole chain on a real model, without training: SmolLM2, its neurons, and a mistake it makes.

1. SmolLM2 writes a text, so that nothing but the model is needed.
2. The neurons of its middle layer are indexed on that text and named.
3. "Paella is a dish from the country of" → Italy: the neurons without which it says Spain.
4. The model goes on from there as it is, and with these neurons removed.
5. One page shows it all.

What is finished is not done again.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from inscape.atlas import Atlas, Found
from inscape.core import InputError, progress
from inscape.diagnosis import Diagnosis
from inscape.intervention import SteerResult
from inscape.model import Model
from inscape.report.atlas_page import write_atlas_report
from inscape.storage import atomic_write, refuse_filled

MODEL = "smollm2"
OPENINGS = (
    "The city of|The recipe calls for|In biology, a cell|The president of|The bridge over|"
    "To sort a list in Python,|The doctor said that|Birds such as the"
).split("|")
ROWS, TOKENS = 24, 64  # of one opening together: large batches are several times faster
PAELLA, CORRECT, WRONG = "<|endoftext|>Paella is a dish from the country of", " Spain", " Italy"
WORD = "city"


@dataclass(frozen=True)
class Demo:
    """What was found: neurons by a word, the verdict on a mistake, what the model writes with the
    repair, and the page."""

    found: list[Found]
    diagnosis: Diagnosis
    steered: SteerResult
    page: Path


def demo(out: Path, *, device: str | None = None) -> Demo:
    """Runs the chain into the folder `out`; run again, it goes on where it stopped.

    Raises:
        InputError: something else lies in `out`.
    """
    folder, text = out / "atlas", out / "text.txt"
    refuse_filled(out, lambda there: (there / "atlas").is_dir())
    if (folder / "atlas.json").is_file():
        atlas = Atlas.open(folder, device=device)
        if atlas.record["model"]["source"] != MODEL:
            raise InputError(
                f"{folder} is an atlas of {atlas.record['model']['name']}",
                expected=f"a new folder, or one of an earlier demo with {MODEL}",
                next_step="choose another --out",
            )
    else:
        atlas = Atlas.create(folder, MODEL, device=device)
    if not text.is_file():
        atomic_write(text, written(atlas.model).encode())
    layer = f"mlp_act.{(atlas.model.num_layers - 1) // 2}"
    atlas.index([layer], text=text)
    atlas.label([layer])
    found = atlas.search(WORD, limit=5)
    diagnosis = atlas.diagnose(PAELLA, CORRECT, wrong=WRONG, num_random=50)
    steered = atlas.steer(PAELLA, diagnosis.repair or [], max_new_tokens=20)
    return Demo(found, diagnosis, steered, write_atlas_report(atlas))


def written(model: Model) -> str:
    """Documents that the model writes from OPENINGS, sampled with fixed seeds."""
    documents = []
    with progress("writing texts", ROWS * len(OPENINGS), "texts") as bar:
        for seed, opening in enumerate(OPENINGS):
            tokens = model.prompt(opening).tokens.repeat(ROWS, 1)
            for row in model.generate(tokens, TOKENS, temperature=1.0, seed=seed):
                documents.append(" ".join(model.decode(row).split()))
            bar.advance(ROWS)
    return "\n\n".join(documents) + "\n"
