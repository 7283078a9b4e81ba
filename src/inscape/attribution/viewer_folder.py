"""A folder for the published viewer's local page.

FOLDER/<slug>.json                      a graph
FOLDER/graph-metadata.json              the list of all graphs in it
FOLDER/features/<scan>/<number>.json    what the page shows of a feature

1. The page asks for a feature's file under the graph's scan, which is therefore its folder as the
   page's server knows it: ./data/features/<scan>.
2. Several graphs go into one folder; the same trace again replaces its file, or where somebody has
   grouped, pinned or named something there, which would be lost, stands beside it. Nothing that
   inscape did not make is written over, and is looked for before anything is written.
3. Features are written first, the list last: what it names is there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import quote, urlencode

from inscape.attribution.data import GraphData
from inscape.attribution.viewer import (
    MARK,
    OWN,
    WRITTEN,
    digest,
    feature_number,
    plain_name,
    shown_part,
    to_viewer,
)
from inscape.attribution.viewer_features import feature_file
from inscape.attribution.viewer_schema import check_index
from inscape.core import InputError, short, track
from inscape.features import FeatureIndex
from inscape.storage import plain, read_json, refuse_file, write_json

INDEX = "graph-metadata.json"
SERVED = "./data/features"
IndexOf: TypeAlias = Callable[[str], FeatureIndex | None]
"""From a dictionary's name to its feature index, None without one."""


def not_indexed(name: str) -> FeatureIndex | None:
    """Where there is no index."""
    return None


def check_folder(folder: str | Path) -> None:
    """InputError where graphs cannot be added to a folder: its list of graphs is of another tool.

    To be asked before a long trace; `write_viewer` asks for every file.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file", expected="a folder, or the name of a new one")
    refuse_file(folder / INDEX, MARK)


def check_out(path: str | Path, prompt: str | None = None) -> None:
    """InputError where a graph cannot be written to a file, or would replace what is not to be
    lost: a file that is no graph of inscape, the graph of another prompt, or one in which somebody
    has made groups, pins or labels since.

    To be asked before a long trace, and once the prompt is known.
    """
    path = Path(path)
    refuse_file(path, MARK)
    if not path.is_file() or not path.stat().st_size:
        return
    found = read_json(path)
    other = "choose another name, or move that file away"
    if "nodes" not in found:
        raise InputError(f"{path} is a list of graphs", expected="a new file", next_step=other)
    if _edited(found):
        raise InputError(
            f"{path} has groups, pins or labels that were made since it was written",
            expected="a graph as inscape wrote it, or a new file",
            next_step=other,
        )
    if prompt is not None and found["metadata"].get("prompt") != prompt:
        raise InputError(
            f"{path} holds the graph of another prompt, {short(found['metadata'].get('prompt'))}",
            expected="a graph of the same prompt, or a new file",
            next_step=other,
        )


def _edited(found: Any) -> bool:
    """Whether somebody has grouped, pinned or named something in a graph of inscape: in the viewer
    since it was written, or before."""
    written = (found.get("metadata", {}).get(OWN) or {}).get(WRITTEN)
    return written is not None and "qParams" in found and written != digest(found)


def write_viewer(
    graph: GraphData,
    folder: str | Path,
    *,
    features: IndexOf = not_indexed,
    scan: str | None = None,
) -> Path:
    """Writes a graph with the files of its features; returns the graph's file.

    Args:
        features: where the features are looked up.
        scan: what tells these features from those of other graphs in the folder; the model's name
            by default.

    Raises:
        InputError: a file is in the way that inscape did not write.
        DataError: the list of graphs is damaged.
        StorageError: the folder may not be written to.
    """
    folder = Path(folder)
    scan = plain_name(scan or graph.model, "model")
    part = shown_part(graph)
    slug = _free(folder, _slug(graph), to_viewer(part))
    view = to_viewer(part, slug=slug, scan=f"{SERVED}/{scan}")
    graph_file = folder / f"{slug}.json"
    place = folder / "features" / scan
    nodes = {
        place / f"{feature_number(node, part)}.json": node
        for node in part.nodes
        if node.kind == "feature"
    }
    for path in (graph_file, folder / INDEX, *nodes):
        refuse_file(path, MARK)
    listed = _listed(folder / INDEX, view["metadata"])
    for path, node in track(nodes.items(), "writing features", unit="features"):
        name = node.dictionary
        write_json(path, feature_file(node, None if name is None else features(name)))
    write_json(graph_file, view)
    write_json(folder / INDEX, listed)
    return graph_file


def local_address(graph: GraphData, graph_file: Path) -> str:
    """Where the local page shows a graph of the folder, behind the address of its server. The page
    takes supernodes from there alone."""
    asked = {"slug": graph_file.stem}
    if graph.supernodes:
        asked["supernodes"] = json.dumps(to_viewer(graph)["qParams"]["supernodes"])
    return f"/index.html?{urlencode(asked, quote_via=quote)}"


def _slug(graph: GraphData) -> str:
    """A graph's name in the folder: the same for the same question asked of the same model."""
    asked = [graph.model, graph.token_ids, graph.dictionaries, graph.settings]
    text = json.dumps(plain(asked)).encode(errors="replace")
    digest = hashlib.blake2b(text, digest_size=4).hexdigest()
    return f"{plain_name(graph.prompt[:60], 'graph')}-{digest}"


def _free(folder: Path, slug: str, view: Any) -> str:
    """The name, or one behind it where the graph of that name has what somebody made and `view`
    has not."""
    for number in count(1):
        name = slug if number == 1 else f"{slug}-{number}"
        path = folder / f"{name}.json"
        if not path.exists():
            return name
        refuse_file(path, MARK)
        if not path.stat().st_size:
            return name
        found = read_json(path)
        if not _edited(found) or _holds(view, found):
            return name
    raise AssertionError("numbers do not end")


def _holds(view: Any, old: Any) -> bool:
    """Whether all that somebody made in an old graph is in a new one; labels are not compared."""
    if old["qParams"].get("clerps") or old["metadata"][OWN].get("edited"):
        return False
    return all(
        one in view["qParams"][name]
        for name in ("supernodes", "pinnedIds")
        for one in old["qParams"].get(name) or []
    )


def _listed(path: Path, metadata: dict[str, Any]) -> dict[str, Any]:
    """The list of graphs with this one in it, in the place of one of the same name."""
    graphs: list[dict[str, Any]] = []
    if path.is_file() and path.stat().st_size:
        found = read_json(path)
        check_index(found, str(path))
        graphs = [one for one in found["graphs"] if one["slug"] != metadata["slug"]]
    return {"graphs": [*graphs, {key: value for key, value in metadata.items() if key != OWN}]}
