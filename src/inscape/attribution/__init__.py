"""Attribution graphs: which features, tokens and errors made an answer, and by which paths."""

from inscape.attribution.graph import Edges, Graph, Node, Scores
from inscape.attribution.groups import same_feature, same_label
from inscape.attribution.paths import Path, paths, strongest_path, summary
from inscape.attribution.sources import layers_of
from inscape.attribution.trace import trace
from inscape.attribution.viewer import MARK, node_id, to_viewer

__all__ = [
    "MARK",
    "Edges",
    "Graph",
    "Node",
    "Path",
    "Scores",
    "layers_of",
    "node_id",
    "paths",
    "same_feature",
    "same_label",
    "strongest_path",
    "summary",
    "to_viewer",
    "trace",
]
