"""The `.npz` format of the GNN benchmark: recognised, read as the benchmark reads it, or refused."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import sparse

from glt._gnn_benchmark import from_arrays
from glt.data import Graph, from_npz, load
from glt.data_file import write_npz
from glt.edges import Edges
from glt.mapped import source_of


def arrays(adjacency: np.ndarray, words: np.ndarray, labels: list[int]) -> dict[str, np.ndarray]:
    found = {}
    for name, matrix in (("adj", adjacency), ("attr", words)):
        csr = sparse.csr_array(matrix)
        parts = {"data": csr.data, "indices": csr.indices, "indptr": csr.indptr, "shape": np.array(csr.shape)}
        found |= {f"{name}_{part}": array for part, array in parts.items()}
    return {**found, "labels": np.array(labels)}


@pytest.fixture(name="small")
def _small() -> dict[str, np.ndarray]:
    """A path of six nodes given in one direction, with a self-loop, and a pair on its own."""
    adjacency = np.zeros((8, 8))
    adjacency[[0, 1, 2, 3, 4, 6], [1, 2, 3, 4, 5, 7]] = 1
    adjacency[2, 2] = 1
    words = np.zeros((8, 3))
    words[range(8), [0, 1, 2, 0, 1, 2, 0, 1]] = [1, 5, 2, 1, 1, 1, 1, 1]
    return arrays(adjacency, words, [4, 9, 4, 9, 4, 9, 4, 9])


@pytest.fixture(name="file")
def _file(tmp_path: Path) -> Path:
    """200 nodes of three classes, with names that are objects."""
    rng = np.random.default_rng(0)
    adjacency, words = rng.random((200, 200)) < 0.02, rng.random((200, 10)) < 0.3
    fields = arrays(adjacency, words, [k % 3 for k in range(200)])
    np.savez(tmp_path / "mine.npz", **fields, node_names=np.array([{}] * 200, dtype=object))
    return tmp_path / "mine.npz"


def test_edges_become_undirected_and_words_are_there_or_not(small: dict[str, np.ndarray]) -> None:
    graph = from_arrays("small", small, train=1, val=1)
    assert Edges(graph.edge_index, 8).symmetric
    kept = sorted({tuple(sorted(pair)) for pair in graph.edge_index.T.tolist()})
    assert kept == [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (6, 7)]
    assert graph.edge_index.size(1) == 12
    assert graph.x.argmax(1).tolist() == [0, 1, 2, 0, 1, 2, 0, 1]
    assert graph.x.sum(1).tolist() == [1] * 8
    assert graph.y.tolist() == [0, 1] * 4
    assert [int(split.sum()) for split in (graph.train, graph.val, graph.test)] == [2, 2, 4]


def test_the_largest_component_if_asked_for(small: dict[str, np.ndarray]) -> None:
    graph = from_arrays("small", small, train=1, val=1, largest=True)
    assert graph.x.size(0) == 6
    assert int(graph.edge_index.max()) == 5
    assert graph.edge_index.size(1) == 10


def test_classes_too_small_for_the_split_go_with_a_warning(small: dict[str, np.ndarray]) -> None:
    small["labels"] = np.array([4, 9, 4, 9, 4, 9, 7, 7])
    with pytest.warns(UserWarning, match="small: 1 classes of at most 2 nodes are left out, with their nodes"):
        graph = from_arrays("small", small, train=1, val=1)
    assert (graph.x.size(0), graph.y.tolist()) == (6, [0, 1] * 3)
    with pytest.raises(ValueError, match="found no class of more than 50 nodes"):
        from_arrays("small", small)


def test_dense_attributes_stay_what_they_are(small: dict[str, np.ndarray]) -> None:
    dense = np.linspace(-1, 1, 16).reshape(8, 2)
    rest = {name: array for name, array in small.items() if not name.startswith("attr")}
    graph = from_arrays("small", {**rest, "attr_matrix": dense}, train=1, val=1)
    assert torch.equal(graph.x, torch.from_numpy(dense).float())


def test_a_file_is_recognised_by_its_keys_and_split_as_published(file: Path) -> None:
    graph = load(str(file))
    assert (graph.name, graph.classes) == ("mine", 3)
    for split, each in ((graph.train, 20), (graph.val, 30)):
        assert graph.y[split].bincount().tolist() == [each] * 3
    assert torch.equal(graph.train ^ graph.val ^ graph.test, torch.ones(200, dtype=torch.bool))
    assert load(str(file)).sha256 == graph.sha256
    assert from_npz(file, seed=1).sha256 != graph.sha256
    assert source_of(str(file)).nodes == 200


def test_it_agrees_with_torch_geometric(file: Path) -> None:
    from torch_geometric.io import read_npz

    plain = {name: array for name, array in np.load(file, allow_pickle=True).items() if name != "node_names"}
    np.savez(file, **plain)
    theirs, ours = read_npz(str(file)), load(str(file))
    assert torch.equal(ours.x, theirs.x)
    assert torch.equal(ours.y, theirs.y)
    assert Edges(ours.edge_index, 200).fingerprint() == Edges(theirs.edge_index, 200).fingerprint()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"attr_data": None}, "lacks attr_data"),
        ({"labels": None}, "lacks labels, one a node"),
        ({"labels": np.ones(8)}, "labels must be integers, one a node; found float64"),
        ({"labels": np.ones(5, int)}, "expected one number of nodes"),
        ({"adj_indices": np.full(7, 99)}, "adj_data, adj_indices, adj_indptr, adj_shape are no CSR matrix"),
        ({"attr_matrix": np.array([["a"]] * 8)}, "attr_matrix must be .* real numbers; found <U1"),
    ],
)
def test_what_does_not_fit_is_refused(small: dict[str, np.ndarray], tmp_path: Path, change: dict, message: str) -> None:
    fields = {name: array for name, array in {**small, **change}.items() if array is not None}
    np.savez(tmp_path / "bad.npz", **fields)
    with pytest.raises(ValueError, match=message) as caught:
        load(str(tmp_path / "bad.npz"))
    assert str(caught.value).startswith(f"{tmp_path / 'bad.npz'}: ")


def test_weights_are_not_dropped_without_a_word(small: dict[str, np.ndarray]) -> None:
    plain = from_arrays("small", small, train=1, val=1)
    small["adj_data"] = small["adj_data"] * 3
    with pytest.warns(UserWarning, match="adj_data is not used; every edge starts with weight 1"):
        assert from_arrays("small", small, train=1, val=1).sha256 == plain.sha256


def test_a_component_is_for_this_format_alone(graph: Graph, tmp_path: Path) -> None:
    path = write_npz(graph, tmp_path / "own.npz")
    with pytest.raises(ValueError, match="largest and seed are for the format of the GNN benchmark"):
        from_npz(path, largest=True)
