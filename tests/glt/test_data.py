"""Data sets: the embedded one, files of one's own, the real ones, and refusals."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch_geometric.data import Data

from common.runs.errors import MissingData, UsageError
from glt.data import Graph, from_npz, from_pyg, load
from glt.edges import Edges


def test_digits_is_what_the_documentation_says() -> None:
    graph = load("digits")
    edges = Edges(graph.edge_index, 1797)
    same = (graph.y[edges.edge_index[0]] == graph.y[edges.edge_index[1]]).float().mean()
    assert tuple(graph.x.shape) == (1797, 64)
    assert edges.symmetric
    assert edges.count()["total"] == 9929
    assert float(same) == pytest.approx(0.961, abs=0.001)
    assert str(edges.fingerprint()["sha256"]).startswith("17be8ca0e")  # the same on every machine
    assert [int(m.sum()) for m in (graph.train, graph.val, graph.test)] == [50, 300, 1447]
    assert graph.y[graph.train].bincount().tolist() == [5] * 10


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "nodes", "features", "edges", "loops"),
    [("Cora", 2708, 1433, 10556, 0), ("citeseer", 3327, 3703, 9104, 0), ("PUBMED", 19717, 500, 88648, 0)],
)
def test_planetoid_counts(name: str, nodes: int, features: int, edges: int, loops: int) -> None:
    graph = load(name)
    assert tuple(graph.x.shape) == (nodes, features)
    assert Edges(graph.edge_index, nodes).weight.numel() + loops == edges
    assert int(graph.val.sum()) == 500
    assert int(graph.test.sum()) == 1000


def test_a_planetoid_set_that_is_absent_names_files_and_folder(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GLT_DATA", raising=False)
    monkeypatch.setenv("GLT_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("GLT_OFFLINE", "1")
    with pytest.raises(MissingData, match=r"ind\.cora\.test\.index") as caught:
        load("cora", tmp_path)
    assert str(tmp_path / "cache" / "planetoid" / "Cora" / "raw") in str(caught.value)
    assert not (tmp_path / "cache").exists()


def test_an_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(UsageError, match="Did you mean pubmed"):
        load("pubmd")


def test_a_file_of_ones_own_round_trips(npz: str, graph: Graph) -> None:
    again = from_npz(npz)
    assert torch.equal(again.x, graph.x)
    assert torch.equal(again.edge_index, graph.edge_index)
    assert torch.equal(again.test, graph.test)


def test_a_file_that_lacks_an_array_says_which(tmp_path) -> None:
    np.savez(tmp_path / "half.npz", x=np.ones((2, 1)))
    with pytest.raises(ValueError, match="lacks edge_index, y, train, val, test; it has x"):
        load(str(tmp_path / "half.npz"))
    with pytest.raises(MissingData, match="there is no file"):
        load(str(tmp_path / "none.npz"))


def test_pyg_data_of_ones_own(graph: Graph) -> None:
    data = Data(x=graph.x, edge_index=graph.edge_index, y=graph.y)
    with pytest.raises(ValueError, match="lacks train_mask, val_mask, test_mask"):
        from_pyg(data, "mine")
    data.train_mask, data.val_mask, data.test_mask = graph.train, graph.val, graph.test
    assert from_pyg(data, "mine").classes == 2
    many = Data(x=torch.ones(120, 1), edge_index=torch.tensor([[0], [1]]), y=torch.arange(120) % 2)
    drawn = from_pyg(many, "many", split_seed=0)
    assert [int(split.sum()) for split in (drawn.train, drawn.val, drawn.test)] == [40, 60, 20]
    with pytest.raises(ValueError, match=r"mine: found a class \(0\) of 30; expected at least 50 of each"):
        from_pyg(data, "mine", split_seed=0)


def test_bad_graphs_are_refused(graph: Graph) -> None:
    x = graph.x.clone()
    x[3, 1] = float("nan")
    bad = {
        "1 NaN or infinite": {"x": x},
        r"lie in \[0, 59\]": {"edge_index": graph.edge_index + 1},
        "disjoint": {"val": graph.train},
        "the test split is empty": {"test": torch.zeros_like(graph.test)},
        "labels must be": {"y": graph.y - 1},
        r"y must have shape \(60,\)": {"y": graph.y[:5]},
    }
    for message, change in bad.items():
        with pytest.raises(ValueError, match=message):
            replace(graph, **change)
