"""Attribution graphs: which features, tokens and errors made an answer, and by which paths."""

from inscape.attribution.attention import AttentionScore, Pair, explain_attention, num_heads
from inscape.attribution.bases import layers_of, reads_stream
from inscape.attribution.data import Edges, Node, NodeKind, Route, Scores
from inscape.attribution.exchange import Exchange, Member, exchange
from inscape.attribution.graph import Graph, Path, paths
from inscape.attribution.trace import trace
from inscape.attribution.trajectory import Trajectory, trajectory
from inscape.attribution.viewer import MARK, node_id, same_feature, to_viewer

__all__ = [
    "MARK",
    "AttentionScore",
    "Edges",
    "Exchange",
    "Graph",
    "Member",
    "Node",
    "NodeKind",
    "Pair",
    "Path",
    "Route",
    "Scores",
    "Trajectory",
    "exchange",
    "explain_attention",
    "layers_of",
    "node_id",
    "num_heads",
    "paths",
    "reads_stream",
    "same_feature",
    "to_viewer",
    "trace",
    "trajectory",
]
