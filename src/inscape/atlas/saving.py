"""Where results are saved in an atlas, and repairs found again."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from inscape.atlas.concepts import Concepts
from inscape.atlas.quality import Quality
from inscape.atlas.results import Results
from inscape.attribution import AttentionScore, Exchange, Graph, Trajectory
from inscape.circuits import Circuit
from inscape.core import InputError
from inscape.diagnosis import Diagnosis
from inscape.intervention import Repair, SteerResult
from inscape.storage import Result, plain, read_json, write_json
from inscape.validation import ConceptChecks

_FOLDERS = {
    Concepts.SCHEMA: "prompts",
    Graph.SCHEMA: "traces",
    Trajectory.SCHEMA: "trajectories",
    AttentionScore.SCHEMA: "attention",
    Exchange.SCHEMA: "exchanges",
    Circuit.SCHEMA: "circuits",
    Diagnosis.SCHEMA: "diagnoses",
    SteerResult.SCHEMA: "steering",
    Repair.SCHEMA: "repairs",
    Quality.SCHEMA: "quality",
    ConceptChecks.SCHEMA: "checks",
}


def write_result(folder: Path, result: Result) -> Path:
    """Writes a result as JSON into an atlas's folder; see `Atlas.save`."""
    kind, content = _FOLDERS[result.SCHEMA], plain(result)
    about = result.about if isinstance(result, Repair) else vars(result)
    named = (about[key] for key in ("prompt", "dictionary", "source", "about") if key in about)
    title = str(next(named, kind))
    identity = title if kind == "quality" else json.dumps(content)
    words = "-".join(re.findall(r"[A-Za-z0-9]+", title))[:48].strip("-").lower() or "untitled"
    digest = hashlib.blake2b(identity.encode(errors="replace"), digest_size=4).hexdigest()
    path = folder / kind / f"{words}-{digest}.json"
    write_json(path, content)
    return path


def find_repair(name: str | Path, results: Sequence[Results[Any]]) -> Repair:
    """The repair in a result of this name (the first results are repairs themselves), or in a file.

    Raises:
        InputError: there is none.
        DataError, StorageError: the file is something else, or damaged.
    """
    named = [kind.folder / f"{name}.json" for kind in results if str(name) in kind.names]
    if not named and not Path(name).is_file():
        raise InputError(
            f"{results[0].folder.parent} has no repair {str(name)!r}",
            expected=f"a file, or one of {', '.join(results[0].names) or '(none yet)'}",
        )
    content = read_json(named[0] if named else Path(name), given=not named)
    if isinstance(content, dict) and "repair" in content:
        content = content["repair"]
        if content is None:
            raise InputError(
                f"{name} holds no repair",
                expected="a diagnosis that found features whose removal restores an answer",
            )
    return Repair.from_json(content)
