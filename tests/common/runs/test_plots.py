"""Pictures: well-formed, repeatable, showing the numbers they were given."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import matplotlib
import networkx as nx
import numpy as np
import pytest

from common.runs import drawing
from common.runs.plots import Rung, density_curve, graph_drawing, layer_densities
from common.runs.stats import Estimate, estimate


def said(svg: str) -> list[str]:
    """The texts of a picture, which matplotlib leaves as comments beside the glyphs; checks that it is XML."""
    assert svg.startswith("<svg")
    ElementTree.fromstring(svg)
    return re.findall(r"<!-- (.*?) -->", svg)


def rungs(labels: tuple[str, ...] = ("", "", "")) -> list[Rung]:
    return [
        Rung(
            density, {"random": estimate([0.7, 0.72]), "ticket": estimate([0.8, 0.82]), "ours": estimate([0.75])}, label
        )
        for density, label in zip((0.25, 1.0, 0.5), labels, strict=True)
    ]


def test_the_curve_names_its_series_and_shares():
    texts = said(density_curve(rungs(), dense=Estimate(0.81, 0.01, 3), metric="accuracy"))
    assert texts[:3] == ["100", "50.0", "25.0"]
    assert texts[-4:] == ["ticket", "dense network", "random ticket", "ours"]
    assert "share kept (%)" in texts
    assert "accuracy (%)" in texts


def test_labels_of_rounds_replace_the_shares():
    texts = said(density_curve(rungs(("third", "first", "second")), percent=False, metric="FID"))
    assert texts[:3] == ["first", "second", "third"]
    assert "FID" in texts


def test_a_curve_of_one_round_and_one_seed():
    assert "ticket" in said(density_curve([Rung(0.5, {"ticket": estimate([0.8])})]))


@pytest.mark.parametrize(("wrong", "message"), [([], "found no rungs"), ([Rung(0.0, {})], "found 0.0")])
def test_a_curve_needs_rounds_with_densities(wrong: list[Rung], message: str):
    with pytest.raises(ValueError, match=message):
        density_curve(wrong)


def test_the_heat_map_writes_every_number():
    texts = said(layer_densities({"1": {"a": 1.0, "b": 0.8}, "2": {"a": 0.5, "b": 0.001}, "3": {"a": 0.0}}))
    assert [text for text in texts if re.fullmatch(r"[\d.]+", text)][3:] == ["100", "50.0", "0", "80.0", "0.1"]
    assert {"a", "b"} <= set(texts)


def test_a_tall_heat_map_has_a_scale_instead_of_numbers():
    texts = said(layer_densities({"1": {f"layer{i}": 0.1234 for i in range(81)}}))
    assert "12.3" not in texts
    assert "share kept (%)" in texts


def test_a_heat_map_needs_a_tensor():
    with pytest.raises(ValueError, match="found 1 rounds and no tensor"):
        layer_densities({"1": {}})


def test_both_directions_are_one_edge_kept_if_either_is():
    edges = [[0, 1, 1, 2, 2, 2], [1, 0, 2, 1, 2, 0]]
    pairs, alive = drawing._pairs(np.array(edges), np.array([True, False, False, False, True, False]))
    assert pairs.tolist() == [[0, 1], [0, 2], [1, 2]]
    assert alive.tolist() == [True, False, False]


def test_the_drawing_counts_what_it_shows():
    graph = nx.karate_club_graph()
    edges = np.array(graph.edges).T
    kept = np.arange(edges.shape[1]) < 50
    names = ["Mr. Hi", "Officer"]
    labels = [names.index(graph.nodes[node]["club"]) for node in graph]
    texts = said(graph_drawing(edges, kept, labels=labels, label_names=names))
    assert texts == ["all 34 nodes, 78 edges", "pruned edges: 28", "kept edges: 50", "Mr. Hi", "Officer"]


def test_a_large_graph_is_drawn_in_part_and_says_so():
    path = np.stack([np.arange(99), np.arange(1, 100)])
    texts = said(graph_drawing(path, np.ones(99, dtype=bool), max_nodes=10, positions=np.eye(100)[:, :2]))
    assert texts[0] == "10 of 100 nodes, 9 edges"


def test_the_part_is_connected_and_in_the_largest_component():
    graph = nx.disjoint_union(nx.complete_graph(8), nx.path_graph(20))
    part = drawing._subset(np.array(graph.edges), max_nodes=12)
    assert len(part) == 12
    assert nx.is_connected(part)
    assert min(part) >= 8


@pytest.mark.parametrize(
    ("edges", "kept", "extra", "message"),
    [
        ([[0, 1]], [True, True], {}, r"expected edge_index \(2, E\)"),
        ([[0], [1]], [True, True], {}, r"kept \(E,\)"),
        ([[0], [0]], [True], {}, "nothing to draw"),
        ([[0], [3]], [True], {"labels": [0, 1]}, "a label for each of 4 nodes; found 2"),
        ([[0], [3]], [True], {"positions": [[0, 0]]}, r"expected positions \(4, 2\)"),
    ],
)
def test_shapes_that_do_not_fit(edges: list, kept: list, extra: dict, message: str):
    with pytest.raises(ValueError, match=message):
        graph_drawing(edges, kept, **extra)


def test_the_same_data_give_the_same_bytes_whatever_the_callers_style():
    edges, kept = [[0, 1, 2, 0], [1, 2, 3, 3]], [True, True, False, True]
    first = [density_curve(rungs()), layer_densities({"1": {"a": 0.5}}), graph_drawing(edges, kept)]
    with matplotlib.rc_context({"axes.facecolor": "black", "font.size": 30, "svg.hashsalt": "x"}):
        again = [density_curve(rungs()), layer_densities({"1": {"a": 0.5}}), graph_drawing(edges, kept)]
        assert matplotlib.rcParams["font.size"] == 30
    assert first == again
    assert not any("<dc:date>" in svg for svg in first)
