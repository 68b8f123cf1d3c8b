"""Sets of graphs: what is one, what is not, and where they come from."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch_geometric.data import Data

from glt.data import GraphSet, load
from glt.data_file import write_npz
from glt.graph_sets import from_pyg_set, motifs
from glt.splits import per_class, stratified


@pytest.fixture(name="three")
def _three() -> GraphSet:
    """An edge, a path of three nodes, and an edge."""
    edges = torch.tensor([[0, 1, 2, 3, 3, 4, 5, 6], [1, 0, 3, 2, 4, 3, 6, 5]])
    splits = torch.eye(3, dtype=torch.bool)
    batch = torch.tensor([0, 0, 1, 1, 1, 2, 2])
    return GraphSet("three", torch.arange(7.0).unsqueeze(1), edges, torch.tensor([0, 1, 0]), *splits, batch=batch)


def test_a_set_counts_graphs(three: GraphSet) -> None:
    assert (three.graphs, three.classes, three.x.size(0)) == (3, 2, 7)
    assert three.sha256 != replace(three, batch=three.batch, y=torch.tensor([1, 0, 1])).sha256


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch": torch.tensor([0, 0, 1, 1, 2, 2, 2])}, "found 2 edges between graphs"),
        ({"batch": torch.tensor([0, 0, 1, 1, 1, 3, 3])}, "found 3 numbers from 0 to 3"),
        ({"batch": torch.zeros(7)}, "batch must be int64 of shape"),
        ({"y": torch.zeros(7, dtype=torch.int64)}, "train must have shape"),
        ({"y": torch.tensor([0, 2, 0])}, "of which only 2 occur"),
        ({"test": torch.zeros(3, dtype=torch.bool)}, "the test split is empty; give it at least one graph"),
        ({"val": torch.tensor([True, True, False])}, "some graphs are in two"),
    ],
)
def test_what_is_no_set_is_refused(three: GraphSet, change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(three, **change)


def test_motifs_are_told_apart_by_edges_alone() -> None:
    graph = motifs(graphs=200)
    assert (graph.graphs, graph.y.bincount().tolist()) == (200, [100, 100])
    degree = torch.bincount(graph.edge_index[0], minlength=graph.x.size(0))
    assert int(degree.min()) >= 1
    assert torch.equal(torch.bincount(graph.batch), torch.bincount(graph.batch[graph.edge_index[0]]) // 2)  # one cycle
    colours = [graph.x[graph.y[graph.batch] == label].mean(0) for label in (0, 1)]
    assert torch.allclose(*colours, atol=0.02)
    alike = (graph.x[graph.edge_index[0]] * graph.x[graph.edge_index[1]])[:, :2].sum(1)
    per_graph = torch.zeros(200).index_add_(0, graph.batch[graph.edge_index[0]], alike) / 2
    assert per_graph[graph.y == 1].mean() > per_graph[graph.y == 0].mean() + 3  # four edges of AAABBB, none of ABABAB
    assert motifs(200).sha256 == graph.sha256
    assert motifs(200, seed=1).sha256 != graph.sha256


def test_the_embedded_set_is_the_same_on_every_machine() -> None:
    graph = load("MOTIFS")
    assert (graph.name, graph.graphs, graph.x.size(0)) == ("motifs", 1000, 23619)
    assert graph.sha256.startswith("7f2d9080f06e")
    assert [int(split.sum()) for split in (graph.train, graph.val, graph.test)] == [600, 200, 200]


def test_a_set_round_trips_through_a_file(three: GraphSet, tmp_path: Path) -> None:
    again = load(str(write_npz(three, tmp_path / "three.npz")))
    assert isinstance(again, GraphSet)
    assert (again.name, again.sha256) == ("three", three.sha256)
    with np.load(tmp_path / "three.npz") as file:
        arrays = dict(file)
    np.savez(tmp_path / "three.npz", **{**arrays, "batch": arrays["batch"] + 0.5})
    with pytest.raises(ValueError, match=r"three\.npz: batch must hold integers; found float64"):
        load(str(tmp_path / "three.npz"))


def test_graphs_of_torch_geometric_lie_side_by_side() -> None:
    pair, path = torch.tensor([[0, 1], [1, 0]]), torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])
    graphs = [
        Data(x=torch.full((n, 1), float(k)), edge_index=pair if n == 2 else path, y=torch.tensor([k % 2]))
        for k, n in enumerate([2, 3, 2, 2, 3, 2])
    ]
    found = from_pyg_set(graphs, "six")
    assert found.batch.tolist() == [0, 0, 1, 1, 1, 2, 2, 3, 3, 4, 4, 4, 5, 5]
    assert found.x.squeeze(1).long().tolist() == found.batch.tolist()
    assert found.edge_index[:, 2:6].tolist() == [[2, 3, 3, 4], [3, 2, 4, 3]]
    assert found.y.tolist() == [0, 1, 0, 1, 0, 1]
    graphs[3].x = None
    with pytest.raises(ValueError, match="six: graph 3 lacks x"):
        from_pyg_set(graphs, "six")


def test_splits_by_class() -> None:
    y = torch.tensor([0] * 60 + [1] * 70)
    split = per_class(y)
    assert [y[split[name]].bincount().tolist() for name in ("train", "val", "test")] == [[20, 20], [30, 30], [10, 20]]
    assert torch.equal(split["train"] ^ split["val"] ^ split["test"], torch.ones(130, dtype=torch.bool))
    assert torch.equal(split["train"], per_class(y)["train"])
    assert not torch.equal(split["train"], per_class(y, seed=1)["train"])
    with pytest.raises(ValueError, match=r"found a class \(0\) of 60; expected at least 70 of each"):
        per_class(y, train=40)
    shares = stratified(y, val=0.1, test=0.2)
    assert [y[shares[name]].bincount().tolist() for name in ("train", "val", "test")] == [[42, 49], [6, 7], [12, 14]]
