"""Mistakes that a first user made: each ends in one line, and nothing of theirs is lost."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.attribution.random_transcoders import TOKENS
from tests.families import tiny
from transformers import AutoModelForCausalLM, BloomConfig

from inscape.attribution import (
    Graph,
    Supernode,
    check_folder,
    check_out,
    exchange,
    explain_attention,
    paths,
    score_graphs,
    trace,
    trajectory,
)
from inscape.cli import main as shell
from inscape.core import InputError, InscapeError, ModelError
from inscape.model import Model


@pytest.fixture(scope="module")
def graph() -> Graph:
    return trace(Model.wrap(tiny("llama")), TOKENS, max_features=40)


def edited(path: Path) -> str:
    view = json.loads(path.read_text())
    view["qParams"]["supernodes"] = [["MY GROUP", view["nodes"][0]["node_id"]]]
    path.write_text(json.dumps(view))
    return path.read_text()


def test_a_graph_that_somebody_has_changed_is_kept(graph: Graph, tmp_path: Path) -> None:
    first = graph.write_viewer(tmp_path)
    text = edited(first)
    second = graph.write_viewer(tmp_path)
    assert second != first
    assert first.read_text() == text
    assert graph.write_viewer(tmp_path) == second  # which nobody has changed
    with pytest.raises(InputError, match="groups, pins or labels that were made since"):
        check_out(first)


def test_what_is_grouped_in_python_is_kept(graph: Graph, tmp_path: Path) -> None:
    first = graph.write_viewer(tmp_path)
    mine = Graph.open(first)
    assert not mine.edited
    mine.supernodes = [*mine.supernodes, Supernode("mine", (3, 8))]
    mine.pins = [3, mine.targets[0]]
    assert "pinned: " in mine.drawing()
    assert "LNone" not in mine.drawing()
    assert mine.write_viewer(tmp_path) == first  # nobody had made anything
    text = first.read_text()
    with pytest.raises(InputError, match="groups, pins or labels"):
        check_out(first)
    second = graph.write_viewer(tmp_path)
    assert second != first
    assert first.read_text() == text
    mine.pins = [*mine.pins, 5]
    assert mine.write_viewer(tmp_path) == first  # with all that was there, and more
    assert len(Graph.open(first).pins) == 3


def test_a_changed_graph_stays_so_wherever_it_is_written(graph: Graph, tmp_path: Path) -> None:
    """Grouped in the viewer, reopened, written elsewhere, reopened: then the trace once more."""
    edited(graph.write_viewer(tmp_path / "one"))
    again = Graph.open(next((tmp_path / "one").glob("*5*.json")))
    assert again.edited
    path = again.write_viewer(tmp_path / "two")
    assert Graph.open(path).edited
    text = path.read_text()
    graph.write_viewer(tmp_path / "two")
    assert path.read_text() == text
    with pytest.raises(InputError, match="groups, pins or labels"):
        check_out(path)
    assert not Graph.open(graph.write_viewer(tmp_path / "three")).edited


def test_a_graph_that_lost_what_is_ours_is_read(graph: Graph) -> None:
    view = graph.to_viewer()
    for own in (None, 5):
        view["metadata"]["inscape"] = own
        found = Graph.from_viewer(view)
        assert len(found.nodes) == len(graph.pruned().nodes)


def test_a_file_is_not_replaced_by_another_prompts_graph(graph: Graph, tmp_path: Path) -> None:
    path = graph.write_viewer(tmp_path)
    check_out(path, graph.prompt)
    check_out(tmp_path / "new.json", "anything")
    with pytest.raises(InputError, match="holds the graph of another prompt"):
        check_out(path, "another prompt")
    with pytest.raises(InputError, match="is a list of graphs"):
        check_out(tmp_path / "graph-metadata.json")
    with pytest.raises(InputError, match="is a file; expected a folder"):
        check_folder(path)


def test_paths_read_the_same_from_a_file(graph: Graph) -> None:
    again = Graph.from_json(graph.to_json())
    for one, two in zip(paths(graph), paths(again), strict=True):
        assert one.strength == pytest.approx(two.strength, rel=1e-6)
    assert graph.drawing() == again.drawing()


def test_numbers_of_nodes_that_are_not_there(graph: Graph) -> None:
    with pytest.raises(InputError, match="node 99999 is pinned or in a supernode"):
        replace(graph, pins=[99999]).to_json()
    with pytest.raises(InputError, match="node 99999 is pinned"):
        replace(graph, supernodes=[Supernode("x", (0, 99999))]).to_viewer()
    content = graph.to_json()
    with pytest.raises(InscapeError, match="no target"):
        Graph.from_json({**content, "nodes": [], "edges": [], "links": [], "supernodes": []})
    content["nodes"][0]["position"] = 999
    with pytest.raises(InscapeError, match="outside the 7 tokens"):
        Graph.from_json(content)


def test_models_without_what_is_asked_for() -> None:
    experts = Model.wrap(tiny("mixtral"))
    with pytest.raises(ModelError, match="no MLPs with neurons"):
        exchange(experts, TOKENS, TOKENS[::-1])
    assert trajectory(experts, TOKENS, max_new_tokens=2, nodes=5).steps
    bloom = BloomConfig(vocab_size=64, hidden_size=32, n_layer=2, n_head=4)
    biased = Model.wrap(AutoModelForCausalLM.from_config(bloom).eval())
    with pytest.raises(ModelError, match="products of queries and keys|no queries with keys"):
        explain_attention(biased, TOKENS, layer=0, head=0)


def test_weights_that_overflow_are_said() -> None:
    model = Model.wrap(tiny("llama"))
    with torch.no_grad():
        model.structure.blocks[1].places["mlp_act"].module.weight.mul_(1e25)
    for heads in (False, True):
        with pytest.raises(ModelError, match="is too large|not finite"):
            trace(model, TOKENS, head_nodes=heads)


def test_options_that_contradict_each_other() -> None:
    model = Model.wrap(tiny("llama"))
    with pytest.raises(InputError, match="key and against are both position 2"):
        explain_attention(model, TOKENS, layer=1, head=0, key=2, against=2)
    with pytest.raises(InputError, match="the other prompt is the same"):
        trace(model, TOKENS, other=TOKENS)
    with pytest.raises(InputError, match="without candidates"):
        trajectory(model, TOKENS, cue=" so")
    with pytest.raises(InputError, match="controls"):
        exchange(model, TOKENS, TOKENS[::-1], controls=-1)
    with pytest.raises(InputError, match="expected a list of prompts"):
        score_graphs(model, "Once upon")


def test_a_score_is_explained_by_what_has_a_name() -> None:
    found = explain_attention(Model.wrap(tiny("llama")), TOKENS, layer=1, head=0, max_features=5)
    sides = [side for pair in found.pairs for side in (pair.query, pair.key)]
    sides += [node for node, _ in (*found.queries, *found.keys)]
    assert sides
    assert "rest" not in [getattr(side, "kind", "") for side in sides]
    assert found.unknown != 0
    assert "pairs with other features" in found.summary()
    assert sum(pair.value for pair in found.pairs) + found.rest == pytest.approx(found.score)


def test_a_stopped_trace_does_not_promise_to_go_on(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Module:
        @staticmethod
        def command() -> None:
            raise KeyboardInterrupt

    monkeypatch.setattr(shell, "import_module", lambda name: Module)
    assert shell.main(["trace"]) == 2
    assert "nothing of it was kept" in capsys.readouterr().err
    assert shell.main(["build"]) == 2
    assert "goes on where it was" in capsys.readouterr().err
