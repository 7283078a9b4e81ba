"""Attribution graphs: which features, tokens and errors made an answer, and by which paths."""

from inscape.attribution.attention import AttentionScore, Pair, explain_attention, patterns
from inscape.attribution.bases import layers_of, reads_stream
from inscape.attribution.data import Edges, Node, NodeKind, Route, Scores, Supernode
from inscape.attribution.exchange import Exchange, Member, exchange
from inscape.attribution.graph import Graph, Path, paths
from inscape.attribution.scoring import GraphScores, score_graphs
from inscape.attribution.trace import trace
from inscape.attribution.trajectory import Trajectory, trajectory
from inscape.attribution.viewer import MARK, same_feature, to_viewer
from inscape.attribution.viewer_folder import check_folder, check_out, local_address, write_viewer

__all__ = [
    "MARK",
    "AttentionScore",
    "Edges",
    "Exchange",
    "Graph",
    "GraphScores",
    "Member",
    "Node",
    "NodeKind",
    "Pair",
    "Path",
    "Route",
    "Scores",
    "Supernode",
    "Trajectory",
    "check_folder",
    "check_out",
    "exchange",
    "explain_attention",
    "layers_of",
    "local_address",
    "paths",
    "patterns",
    "reads_stream",
    "same_feature",
    "score_graphs",
    "to_viewer",
    "trace",
    "trajectory",
    "write_viewer",
]
