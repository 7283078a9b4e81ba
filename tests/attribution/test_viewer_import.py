"""Graph files of other tools as graphs, and what is no such file."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from tests.attribution.published import circuit_tracer, feature, neuronpedia, other
from tests.attribution.test_graph import FIXTURE

from inscape.attribution import Graph, Supernode, paths
from inscape.core import DataError, StorageError
from inscape.intervention import Repair


def ids(graph: Graph) -> list[str]:
    return [node["node_id"] for node in graph.to_viewer()["nodes"]]


def test_a_graph_of_circuit_tracer() -> None:
    graph = Graph.from_viewer(circuit_tracer())
    assert graph.prompt == "<bos>123"
    assert graph.prompt_tokens == ["<bos>", "1", "2", "3"]
    assert graph.token_ids == [20, 21, 22, 23]
    assert (graph.model, graph.num_layers) == ("gemma-2-2b", 26)
    one = graph.nodes[0]
    assert (one.kind, one.layer, one.position, one.feature) == ("feature", 0, 3, 18753)
    assert (one.activation, one.rank, one.dictionary) == (5.5, 0.4, "mlp.0")
    kinds = [node.kind for node in graph.nodes]
    assert kinds == ["feature"] * 3 + ["error"] + ["embedding"] * 4 + ["logit"] * 2
    logits = [graph.nodes[t] for t in graph.targets]
    assert [(n.feature, n.token, n.probability) for n in logits] == [
        (704, " four", 0.233),
        (706, '"six"', 0.142),
    ]
    assert math.isnan(graph.nodes[3].activation)
    assert len(graph.edges) == 9
    assert graph.pins == [1, 8]
    assert graph.supernodes == [Supernode("counting", (1, 2))]
    assert graph.label(graph.nodes[1]) == "numbers�[31m in order"  # nothing that a terminal obeys
    assert graph.label(graph.nodes[0]) is None
    assert graph.settings == {"max_n_logits": 5, "node_share": 0.5, "edge_share": 0.8}
    assert graph.notes == [
        "made by circuit-tracer; influence and scores are of the links in its file"
    ]


def test_influence_and_scores_are_of_the_links() -> None:
    graph = Graph.from_viewer(circuit_tracer())
    assert sum(node.influence for node in graph.nodes) == pytest.approx(1)
    # 20_93988 gives 2.7 of 4.2 to the first answer, 0.5 of 16.5 to the second
    first = 0.233 / 0.375
    direct = first * 2.7 / 4.2 + (1 - first) * 0.5 / 16.5
    error = graph.nodes[3].influence / graph.nodes[2].influence
    assert error == pytest.approx(first * 1.5 / 4.2 / direct)
    assert 0 < graph.scores.replacement < 1
    assert paths(graph, num_paths=9)[0].nodes[-1] in graph.targets
    assert "' four' (p=0.233)" in graph.summary()


def test_it_is_saved_and_written_again() -> None:
    graph = Graph.from_viewer(circuit_tracer())
    saved = Graph.from_json(json.loads(json.dumps(graph.to_json(), allow_nan=False)))
    assert saved.to_json() == graph.to_json()
    assert math.isnan(saved.nodes[3].activation)
    assert ids(graph) == [node["node_id"] for node in circuit_tracer()["nodes"]]
    view = json.loads(json.dumps(graph.to_viewer(), allow_nan=False))
    assert view["qParams"]["supernodes"] == circuit_tracer()["qParams"]["supernodes"]
    assert Graph.from_viewer(view).to_json() == graph.to_json()


def test_the_newest_fields_and_types() -> None:
    graph = Graph.from_viewer(neuronpedia())
    features = [n for n in graph.nodes if n.kind == "feature"]
    assert [n.dictionary for n in features] == ["2-scope-lorsa", "2-scope-tc"]  # in their order
    assert [graph.label(n) for n in features] == ["looks back", None]
    assert [n.kind for n in graph.nodes].count("error") == 2
    assert [n.kind for n in graph.nodes].count("rest") == 1
    assert (graph.nodes[graph.targets[0]].probability, graph.num_layers) == (0.25, 4)
    assert len(graph.edges) == 6
    (note,) = [n for n in graph.notes if n.startswith("left out")]
    assert "nodes of type bias (1)" in note
    assert "that take none (2)" in note
    assert "how queries and keys are explained (1)" in note
    assert "ids in pinnedIds or supernodes that name no node (4)" in note
    assert len(set(ids(graph))) == len(graph.nodes)
    again = Graph.from_viewer(json.loads(json.dumps(graph.to_viewer())))
    assert again.to_json() == graph.to_json()
    assert graph.drawing()


def test_what_the_local_page_saves() -> None:
    """It saves each part of qParams as text, and what nobody has touched as null."""
    data = circuit_tracer()
    data["qParams"] = {
        "pinnedIds": "20_93988_3,E_21_1",
        "supernodes": json.dumps([["supernode", "0_18753_3", "E_22_2"]]),
        "clerps": json.dumps([[str(data["nodes"][2]["feature"]), "by hand"]]),
        "clickedId": None,
        "linkType": None,
    }
    graph = Graph.from_viewer(data)
    assert graph.pins == [2, 5]
    assert graph.supernodes == [Supernode("supernode", (0, 6))]
    assert graph.label(graph.nodes[2]) == "by hand"
    data["qParams"] = {"pinnedIds": None, "supernodes": None}
    assert Graph.from_viewer(data).pins == []


def test_ids_that_stand_for_two_nodes() -> None:
    data = circuit_tracer()
    data["nodes"].append(other("0_18753_3", "mlp reconstruction error", 3))
    data["links"].append({"source": "0_18753_3", "target": "27_704_3", "weight": 1.0})
    graph = Graph.from_viewer(data)
    assert graph.nodes[int(graph.edges.source[-1])].kind == "error"
    assert any("stand for several nodes: 0_18753_3" in note for note in graph.notes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("links"), "has no links; expected a graph"),
        (lambda d: d["metadata"].pop("prompt"), "has no metadata.prompt"),
        (lambda d: d["nodes"][2].update(ctx_idx="3"), r"has nodes.2.ctx_idx = '3' \(.*integer"),
        (lambda d: d["nodes"][2].update(ctx_idx=4), "nodes.2.ctx_idx is 4 with 4 prompt_tokens"),
        (lambda d: d["nodes"][1].pop("clerp"), "has no nodes.1.clerp"),
        (lambda d: d["nodes"][1].update(layer=None), "has nodes.1.layer = None"),
        (lambda d: d["links"][3].update(weight="x"), "has links.3.weight = 'x'"),
        (lambda d: d["links"][3].update(weight=math.nan), "has links.3.weight = nan"),
        (lambda d: d["qParams"].update(pinnedIds=3), "has qParams.pinnedIds = 3"),
        (lambda d: d["qParams"].update(supernodes="[["), r"has qParams.supernodes = '\[\['"),
        (
            lambda d: d["links"].append(
                {"source": "20_93988_3", "target": "13_82873_3", "weight": 1}
            ),
            "has links in a circle, through node 13_82873_3",
        ),
        (
            lambda d: d["metadata"].update(inscape={"schema": "inscape.graph", "version": 99}),
            "version 99 of inscape.graph.*upgrade",
        ),
        (
            lambda d: d["metadata"].update(
                inscape={"schema": "inscape.graph", "version": 2, "num_layers": 3}
            ),
            "the inscape.graph is damaged",
        ),
    ],
)
def test_what_is_no_graph_is_named(change: Any, message: str) -> None:
    data = circuit_tracer()
    change(data)
    with pytest.raises(DataError, match=message) as raised:
        Graph.from_viewer(data)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("data", [None, [], "text", {}, {"graphs": []}])
def test_other_json_is_no_graph(data: Any) -> None:
    with pytest.raises(DataError, match="the graph file (has no metadata|is .*dictionary)"):
        Graph.from_viewer(data)


def test_a_graph_is_opened_whichever_it_is(tmp_path: Path) -> None:
    path = tmp_path / "graph.json"
    path.write_text(json.dumps(circuit_tracer()))
    assert Graph.open(path).prompt == "<bos>123"
    assert Graph.open(str(FIXTURE)).prompt == " the cat"
    path.write_text("{")
    with pytest.raises(StorageError, match="not readable as JSON"):
        Graph.open(path)
    path.write_text("{}")
    with pytest.raises(DataError, match="graph.json has no metadata"):
        Graph.open(path)


def test_a_graph_of_one_scheme_older() -> None:
    """Without a schema version the number of a feature is its own."""
    data = circuit_tracer()
    del data["metadata"]["schema_version"]
    data["nodes"].append(feature(3, 7, 3, node_id="odd", feature=7))
    assert Graph.from_viewer(data).nodes[-1].feature == 7


def test_nobody_is_told_to_remove_a_file_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("# mine")
    for read in (Graph.open, Repair.open):
        with pytest.raises(StorageError, match="give another file") as raised:
            read(tmp_path / "README.md")
        assert "remove it" not in str(raised.value)
