"""Attribution graphs: which features, tokens and errors made an answer, and by which paths."""

from inscape.attribution.data import Edges, Node, Scores
from inscape.attribution.graph import Graph, Path, paths
from inscape.attribution.sources import layers_of
from inscape.attribution.trace import trace
from inscape.attribution.viewer import MARK, node_id, same_feature, to_viewer

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
    "to_viewer",
    "trace",
]
