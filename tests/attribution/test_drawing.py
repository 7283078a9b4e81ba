"""A graph as text: what is drawn, in which words, in how much room."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from tests.attribution.published import circuit_tracer
from tests.report.made import PROMPT, SUM, graph

from inscape.attribution import Graph, Supernode
from inscape.attribution.drawing import columns
from inscape.core import no_label


@pytest.mark.parametrize("width", [60, 80, 100, 140])
@pytest.mark.parametrize("given", [graph(PROMPT), graph(SUM, seed=3, answer="89")])
def test_it_fits_and_names_come_first(given: Graph, width: int) -> None:
    lines = given.drawing(width).splitlines()
    assert all(columns(line) <= width for line in lines)
    entries = [line for line in lines if re.match(r" \[\d+\]", line)]
    assert len(entries) == 10
    for line in entries:
        label = re.match(r" \[\d+\] +(.*?) at '", line)
        assert label is not None
        if "error" not in line:
            assert re.search(r"%  mlp\d/\d+$", line)
            assert label[1].rstrip("…")[:8] in "".join(_labels(given))


def _labels(given: Graph) -> list[str]:
    return [given.label(node) or "" for node in given.nodes]


def test_it_goes_down_from_the_answer_to_the_tokens() -> None:
    text = graph(PROMPT).drawing()
    lines = [line for line in text.splitlines() if re.match("answer|layer|tokens", line)]
    assert lines[0] == "answer  ' Mary' (p=0.973)"
    layers = [int(line.split()[1]) for line in lines[1:-1]]
    assert layers == sorted(layers, reverse=True)
    assert len(set(layers)) == len(layers)
    assert lines[-1].startswith("tokens  '<s>'@0 'When'@1")


def test_inputs_are_the_strongest_with_their_share() -> None:
    given = Graph.from_viewer(circuit_tracer())
    lines = given.drawing().splitlines()
    after = lines[lines.index("answer  ' four' (p=0.233)") + 1]
    assert after.split("  ")[-2:] == [
        f"+{100 * 2.7 / 4.2:.1f}% [2] mlp.20/93988",
        f"-{100 * 1.5 / 4.2:.1f}% [1] error of its MLP",
    ]
    assert " [2]  mlp.20/93988 at '3'@3" in given.drawing()
    assert "mlp.20/93988  " not in lines[lines.index("layer 20") + 1].rstrip()[30:]


def test_pinned_nodes_are_drawn_and_groups_named() -> None:
    given = graph(PROMPT)
    least = min(
        (n for n, node in enumerate(given.nodes) if node.kind == "feature"),
        key=lambda n: given.nodes[n].influence,
    )
    assert f"mlp{given.nodes[least].layer}/{given.nodes[least].feature}" not in given.drawing()
    shown = replace(given, pins=[least], supernodes=[Supernode("a group", (least, 0))])
    text = shown.drawing()
    assert f"mlp{given.nodes[least].layer}/{given.nodes[least].feature}" in text
    assert re.search(r"group 'a group': \[\d+\] .*; '<s>'@0", text)
    assert re.search(r"pinned: \[\d+\] ", text)


def test_a_difference_and_a_graph_with_nothing_in_it() -> None:
    given = graph(PROMPT)
    given.nodes[-1] = replace(given.nodes[-1], against=3, against_token=" John")
    assert "answer  ' Mary' rather than ' John'" in given.drawing()
    none = replace(given, kept_edges=np.zeros_like(given.kept_edges))
    assert "+" not in "".join(none.drawing().splitlines()[2:])
    kinds = np.array([n.kind in ("embedding", "logit") for n in given.nodes])
    assert "layer" not in replace(none, kept_nodes=kinds).drawing()


def test_a_long_prompt_shows_its_ends() -> None:
    given = graph([*(f" word{n}" for n in range(200)), " end"])
    lines = given.drawing(80).splitlines()
    tokens = lines[next(i for i, line in enumerate(lines) if line.startswith("tokens")) :]
    assert len(tokens) == 4
    assert "' word0'@0" in tokens[0]
    assert tokens[1].strip() == "..."
    assert tokens[-1].endswith("' end'@200")


def test_wide_characters_count_twice() -> None:
    given = replace(graph(["日本", "の首都は", *PROMPT]), names=no_label)
    given.names = lambda name, feature: "名前" * 60
    assert all(columns(line) <= 80 for line in given.drawing(80).splitlines())
