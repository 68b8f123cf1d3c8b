"""Graphs on disk are the graphs in memory, and damaged ones are refused."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from common.runs.errors import MissingData, UsageError
from glt._graph_sources import Source, of_graph
from glt._memory import parse_size, shown
from glt.data import Graph, load
from glt.edges import Edges
from glt.generators import rmat, sbm
from glt.mapped import MappedGraph, is_graph_folder, open_graph, source_of, write_graph
from glt.streams import rmat_stream, sbm_stream


def check(found: MappedGraph, graph: Graph) -> None:
    """The files hold the graph."""
    edges = Edges(graph.edge_index, graph.x.size(0))
    assert found.fingerprint == edges.fingerprint()
    assert (found.undirected, found.edges) == (edges.symmetric, edges.edge_index.size(1))
    assert (found.nodes, found.features, found.classes) == (*graph.x.shape, graph.classes)
    x = np.empty(graph.x.shape, np.float32)
    found.arrays["x"].load(x, slice(0, found.nodes), slice(0, found.features))
    np.testing.assert_array_equal(x, graph.x.numpy())
    assert found.density == pytest.approx(float((graph.x != 0).float().mean()))
    for name in ("y", "train", "val", "test"):
        np.testing.assert_array_equal(found.arrays[name].read(), getattr(graph, name).numpy())
    source, target, value = (np.concatenate(parts) for parts in zip(*found.pieces(), strict=True))
    np.testing.assert_array_equal(np.stack([source, target]), edges.edge_index.numpy())
    assert set(value) == {1.0}


def test_a_graph_in_memory(graph: Graph, tmp_path: Path) -> None:
    check(write_graph(graph, tmp_path / "a"), graph)
    messy = torch.cat([graph.edge_index, torch.tensor([[0, 5, 5], [0, 5, 9]]), graph.edge_index[:, :9]], 1)
    one_way = replace(graph, edge_index=messy[:, messy[0] <= messy[1]])
    written = write_graph(one_way, tmp_path / "b")
    assert not written.undirected
    check(open_graph(tmp_path / "b"), one_way)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


@pytest.mark.parametrize("memory", ["20KB", "256MB"])
def test_generators_draw_the_same_graphs(memory: str, tmp_path: Path) -> None:
    check(write_graph(rmat_stream(10, degree=7, features=9, seed=3), tmp_path / "a", memory=memory),
          rmat(10, degree=7, features=9, seed=3))  # fmt: skip
    check(write_graph(sbm_stream(1000, degree=5, features=9), tmp_path / "b", memory=memory),
          sbm(1000, degree=5, features=9))  # fmt: skip


def test_names_lead_to_streams() -> None:
    assert (source_of("RMAT-7").nodes, source_of("sbm-64").nodes, source_of("digits").nodes) == (128, 64, 1797)
    with pytest.raises(UsageError, match=r"found the data set 'rmat-60'; expected a size from 4 to 30"):
        source_of("rmat-60")
    with pytest.raises(UsageError, match="unknown data set"):
        source_of("rmat")


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("fortran", [True, False])
def test_an_npz_of_ones_own(compressed: bool, fortran: bool, graph: Graph, tmp_path: Path) -> None:
    fields = {name: getattr(graph, name).numpy() for name in ("x", "edge_index", "y", "train", "val", "test")}
    fields["x"] = (fields["x"] > 0).astype(np.uint8)
    fields["edge_index"] = np.asarray(fields["edge_index"], np.int32, order="F" if fortran else "C")
    path = tmp_path / "mine.npz"
    (np.savez_compressed if compressed else np.savez)(path, **fields)
    found = write_graph(str(path), tmp_path / "a", memory="3KB")
    assert found.arrays["x"].dtype == np.uint8
    check(found, load(str(path)))


def damaged(path: Path, **changed: object) -> str:
    with np.load(path) as file:
        fields = dict(file)
    fields |= changed
    np.savez(path, **{name: value for name, value in fields.items() if value is not None})
    return str(path)


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"y": None}, r"blocks.npz: lacks y; it has"),
        ({"x": np.full((60, 6), np.nan)}, r"features must be finite \(N, F\); found 360 NaN or infinite entries"),
        ({"x": np.asfortranarray(np.ones((60, 6)))}, r"found features x column after column"),
        ({"x": np.ones((60, 6), complex)}, r"x must hold real numbers; found complex128"),
        ({"edge_index": np.ones((2, 9))}, r"edge_index must hold integers; found float64"),
        ({"edge_index": np.ones((3, 9), int)}, r"expected \(N, F\) and \(2, E\)"),
        ({"edge_index": np.full((2, 9), 60)}, r"edge_index must lie in \[0, 59\]"),
        ({"edge_index": np.ones((2, 9), int)}, r"must have an edge between two nodes; found none"),
        ({"y": np.arange(60) * 2}, r"labels must be 0, 1, ..., each of some node"),
        ({"val": np.zeros(60, bool)}, r"the val split is empty"),
        ({"test": np.zeros(59, bool)}, r"test must have shape \(60,\), one a node; found \(59,\)"),
        ({"train": np.zeros(60)}, r"train must hold a bool a node"),
    ],
)
def test_what_is_no_graph_is_refused(changed: dict, text: str, npz: str, tmp_path: Path) -> None:
    with pytest.raises((ValueError, TypeError), match=text):
        write_graph(damaged(Path(npz), **changed), tmp_path / "a")
    assert [path.name for path in tmp_path.iterdir()] == ["blocks.npz"]


def test_cut_and_missing_archives(npz: str, tmp_path: Path) -> None:
    whole = Path(npz).read_bytes()
    for text in (whole[:400], whole[:300] + b"\0\0\0\0" + whole[304:], b""):
        Path(npz).write_bytes(text)
        with pytest.raises(ValueError, match=r"blocks.npz: found damaged data"):
            write_graph(npz, tmp_path / "a")
    with pytest.raises(MissingData, match="there is no file"):
        write_graph(str(tmp_path / "none.npz"), tmp_path / "a")


def test_a_flipped_byte_is_refused(graph: Graph, tmp_path: Path) -> None:
    folder = tmp_path / "a"
    write_graph(graph, folder)
    for path in sorted(folder.iterdir()):
        whole = path.read_bytes()
        middle = len(whole) // 2
        path.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
        with pytest.raises(ValueError, match=path.name):
            open_graph(folder)
        path.write_bytes(whole)
    open_graph(folder)
    (folder / "x.npy").unlink()
    with pytest.raises(MissingData, match=r"x.npy: found no such file"):
        open_graph(folder)
    with pytest.raises(MissingData, match=r"found no graph.json; expected the folder of a graph"):
        open_graph(tmp_path)
    (folder / "graph.json").write_text(json.dumps({"kind": "lottery-graph", "version": 2}))
    with pytest.raises(ValueError, match=r"It is of another release, or no graph"):
        open_graph(folder)


def test_only_a_new_folder_is_written(graph: Graph, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="expected a new or an empty folder"):
        write_graph(graph, tmp_path.parent)
    (tmp_path / "empty").mkdir()
    write_graph(graph, tmp_path / "empty")
    short = replace(of_graph(graph), rows=lambda most: iter([graph.x[:5].numpy()]))
    with pytest.raises(ValueError, match="blocks: found the features of 5 nodes; expected 60"):
        write_graph(short, tmp_path / "b")
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def test_a_bare_word_is_a_folder_only_with_a_graph(
    graph: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("cora").mkdir()
    assert [is_graph_folder(name) for name in ("cora", "./cora", str(tmp_path), "none", None)] == [
        False, True, True, False, False,
    ]  # fmt: skip
    write_graph(graph, "cora")
    assert is_graph_folder("cora")


def test_labels_may_be_missing(graph: Graph, tmp_path: Path) -> None:
    bare: Source = replace(of_graph(graph), labels=dict)
    found = write_graph(bare, tmp_path / "a")
    assert found.classes is None
    assert sorted(found.arrays) == ["indices", "indptr", "x"]


def test_weights_are_given_to_both_directions(graph: Graph, tmp_path: Path) -> None:
    found = write_graph(graph, tmp_path / "a")
    weight = np.random.default_rng(0).random(found.edges, dtype=np.float32)
    dense = np.zeros((2, 60, 60))
    for kind, mean in enumerate((False, True)):
        for source, target, value in found.pieces(weight, np.arange(found.edges) % 3 > 0, mean=mean):
            np.add.at(dense[kind], (source, target), value)
    np.testing.assert_allclose(dense[1], (dense[0] + dense[0].T) / 2, rtol=1e-6)
    assert np.count_nonzero(dense[0]) == sum(np.arange(found.edges) % 3 > 0)


WRITE = """
import sys
from common.runs.manifest import peak_rss_mb
from glt.streams import rmat_stream
from glt.mapped import write_graph
write_graph(rmat_stream(6, degree=8), sys.argv[1] + "/small", memory="20MB")
before = peak_rss_mb()
write_graph(rmat_stream(15, degree=40), sys.argv[1] + "/large", memory="20MB")
print(peak_rss_mb() - before)
"""


def test_writing_takes_no_more_memory_than_allowed(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", WRITE, str(tmp_path)], capture_output=True, text=True, check=True)
    edges = open_graph(tmp_path / "large").edges
    assert edges > 1_500_000  # 25 MB as one array of pairs of int64
    assert float(done.stdout) < 20 + 150 * 2**15 / 1e6  # and some numbers a node


def test_sizes() -> None:
    assert [parse_size(text) for text in ("2GB", " 3 kb", "1.5GiB", ".5MiB", "7B")] == [
        2 * 10**9, 3000, 1610612736, 524288, 7,
    ]  # fmt: skip
    for text in ("", "2", "GB", "-1GB", "0MB", "2 XB", "1e9B", "2GB2", "nan GB"):
        with pytest.raises(UsageError, match=r"--memory must be a positive number with a unit .* found "):
            parse_size(text)
    for size in (1, 999, 1001, 9_999_999, 10_000_001, 10**12 + 1):
        assert size <= parse_size(shown(size)) <= 1.2 * size + 1000
