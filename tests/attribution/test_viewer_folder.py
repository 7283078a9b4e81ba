"""The folder for the viewer's local page: graphs, their list, and what is shown of each feature."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.attribution.published import circuit_tracer
from tests.features.conftest import NUM_FEATURES, World, make_world
from tests.report.made import PROMPT, graph

from inscape.attribution import Graph, Node, Supernode, local_address, write_viewer
from inscape.attribution.viewer_features import feature_file
from inscape.attribution.viewer_schema import check_feature, check_graph, check_index
from inscape.core import DataError, InputError
from inscape.features import FeatureIndex


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("index") / "toy")


def node(feature: int, dictionary: str = "toy") -> Node:
    return Node("feature", 1, 3, feature, 2.0, token=" x", dictionary=dictionary)


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def test_a_feature_as_the_index_has_it(world: World) -> None:
    index = world.index
    found = json.loads(json.dumps(feature_file(node(5), index), allow_nan=False))
    check_feature(found)
    values = np.sort(world.dense[:, 5][world.dense[:, 5] > 0])
    assert (found["index"], found["name"]) == (5, "toy/5")
    assert (found["act_min"], found["act_max"]) == (0, pytest.approx(values[-1], rel=1e-3))
    assert found["activation_frequency"] == pytest.approx(index.density[5])
    assert found["top_logits"] == [token for token, _ in index.promoted(5)[:10]]
    assert found["bottom_logits"] == [token for token, _ in index.suppressed(5)[:10]]
    assert sum(found["histogram"]) == pytest.approx(values.size, rel=0.01)
    assert len(found["quantile_values"]) == 100
    median = np.quantile(values, 0.5)
    assert found["quantile_values"][49] == pytest.approx(median, rel=0.05)
    assert found["quantile_values"][99] == pytest.approx(values[-1], rel=1e-3)
    names = [group["quantile_name"] for group in found["examples_quantiles"]]
    assert names[:2] == ["Strongest", "From 80% to 100% of the strongest"]
    strongest = found["examples_quantiles"][0]["examples"]
    assert [max(e["tokens_acts_list"]) for e in strongest] == pytest.approx(
        [e.value for e in index.top(5)]
    )
    assert all(e["tokens_acts_list"][e["train_token_ind"]] > 0 for e in strongest)
    every = [e for group in found["examples_quantiles"] for e in group["examples"]]
    assert len(every) == len(index.examples(5))


def test_an_index_of_examples_alone_gives_its_histogram(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = feature_file(node(5), world.index)
    monkeypatch.setattr(FeatureIndex, "has_activations", False)
    found = feature_file(node(5), world.index)
    check_feature(found)
    assert sum(found["histogram"]) == pytest.approx(sum(whole["histogram"]), rel=0.02)
    assert found["quantile_values"][49] == pytest.approx(whole["quantile_values"][49], rel=0.25)
    assert found["quantile_values"][99] == pytest.approx(found["act_max"], rel=1e-3)


@pytest.mark.parametrize("feature", [NUM_FEATURES - 1, NUM_FEATURES, -1])
def test_what_is_not_known_is_a_file_all_the_same(world: World, feature: int) -> None:
    """A feature that never fires, and two that the index does not have."""
    for found in (feature_file(node(feature), world.index), feature_file(node(feature))):
        check_feature(found)
        assert (found["index"], found["examples_quantiles"]) == (feature, [])
        assert "act_max" not in found


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"index": None}, "the feature file has index = None"),
        ({"examples_quantiles": None}, "has examples_quantiles = None"),
        ({"act_max": "3"}, "has act_max = '3'"),
    ],
)
def test_a_wrong_field_is_named(world: World, change: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        check_feature({**feature_file(node(5), world.index), **change})


def test_examples_of_uneven_length_are_no_examples(world: World) -> None:
    found = feature_file(node(5), world.index)
    found["examples_quantiles"][0]["examples"][1]["tokens"].pop()
    with pytest.raises(
        DataError, match=r"tokens_acts_list for .*examples_quantiles\.0\.examples\.1"
    ):
        check_feature(found)
    del found["examples_quantiles"]
    with pytest.raises(DataError, match="the feature file has no examples_quantiles"):
        check_feature(found)


def test_a_folder_has_what_the_page_asks_for(world: World, tmp_path: Path) -> None:
    given = graph(PROMPT)
    path = write_viewer(
        given, tmp_path / "pages", features=lambda name: world.index if name == "mlp1" else None
    )
    view = read(path)
    check_graph(view)
    folder = tmp_path / "pages"
    assert path.parent == folder
    assert path.stem == view["metadata"]["slug"]
    listed = read(folder / "graph-metadata.json")
    check_index(listed)
    assert [one["slug"] for one in listed["graphs"]] == [path.stem]
    assert "inscape" not in listed["graphs"][0]
    scan = view["metadata"]["scan"]
    assert scan == listed["graphs"][0]["scan"] == "./data/features/microworld"
    shown = [n for n in view["nodes"] if n["feature_type"] == "cross layer transcoder"]
    for entry in shown:  # ./data/ is the folder, as the page's server knows it
        found = read(folder / scan.removeprefix("./data/") / f"{entry['feature']}.json")
        check_feature(found)
        assert found["index"] == int(entry["node_id"].split("_")[1])
    assert len(list((folder / "features").rglob("*.json"))) == len({n["feature"] for n in shown})


def test_graphs_are_added_and_the_same_one_is_replaced(tmp_path: Path) -> None:
    one, two = graph(PROMPT), replace(graph(PROMPT, seed=1), settings={"candidates": [" a", " b"]})
    first = one.write_viewer(tmp_path)
    second = two.write_viewer(tmp_path)
    assert first != second
    before = first.read_bytes()
    assert one.write_viewer(tmp_path) == first
    assert first.read_bytes() == before
    listed = read(tmp_path / "graph-metadata.json")["graphs"]
    assert [g["slug"] for g in listed] == [second.stem, first.stem]
    pinned = replace(one, pins=[3])
    assert pinned.write_viewer(tmp_path) == first
    assert Graph.open(first).pins == [3]


@pytest.mark.parametrize("name", ["graph", "graph-metadata.json", "features"])
def test_nothing_of_others_is_written_over(name: str, tmp_path: Path) -> None:
    given = graph(PROMPT)
    made = given.write_viewer(tmp_path / "made")
    folder = tmp_path / "pages"
    place = {
        "graph": folder / made.name,
        "graph-metadata.json": folder / name,
        "features": folder
        / next((tmp_path / "made").rglob("features/*/*")).relative_to(tmp_path / "made"),
    }[name]
    place.parent.mkdir(parents=True)
    text = '{"graphs": []}' if name == "graph-metadata.json" else "mine"
    place.write_text(text)
    with pytest.raises(InputError, match="this command did not write it"):
        given.write_viewer(folder)
    assert [p for p in folder.rglob("*") if p.is_file()] == [place]
    assert place.read_text() == text


def test_a_damaged_list_is_named(tmp_path: Path) -> None:
    given = graph(PROMPT)
    given.write_viewer(tmp_path)
    index = tmp_path / "graph-metadata.json"
    listed = read(index)
    del listed["graphs"][0]["slug"]
    index.write_text(json.dumps(listed))
    with pytest.raises(DataError, match=r"graph-metadata.json has no graphs\.0\.slug"):
        given.write_viewer(tmp_path)


def test_a_graph_of_another_tool_is_written_too(tmp_path: Path) -> None:
    given = Graph.from_viewer(circuit_tracer())
    path = given.write_viewer(tmp_path)
    again = Graph.open(path)
    assert again.to_json() == given.to_json()
    assert "supernodes=%5B%5B%22counting%22" in local_address(given, path)
    alone = replace(given, supernodes=[])
    assert local_address(alone, path) == f"/index.html?slug={path.stem}"


def test_names_of_supernodes_are_escaped_in_the_address(tmp_path: Path) -> None:
    given = replace(graph(PROMPT), supernodes=[Supernode("a&b", (3, 4))])
    path = given.write_viewer(tmp_path)
    assert local_address(given, path).count("%26") == 1


def test_a_name_leads_nowhere_else(tmp_path: Path) -> None:
    given = replace(graph(PROMPT), model="../..", prompt="../../x")
    path = given.write_viewer(tmp_path / "a" / "b")
    assert path.parent == tmp_path / "a" / "b"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a"]
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == ["b"]
    assert all(not p.name.startswith(".") for p in (tmp_path / "a").rglob("*"))
