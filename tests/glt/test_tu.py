"""Sets of the TU collection: read from their text files, or named as missing with what to put where."""

from pathlib import Path

import pytest
import torch
from torch_geometric.io import read_tu_data

from common.runs.errors import MissingData, UsageError
from glt._tu import read_tu
from glt.data import GraphSet, load

FILES = {  # three rings of three nodes, and three paths
    "A": "\n".join(
        f"{3 * g + i + 1}, {3 * g + j + 1}"
        for g in range(6)
        for i, j in ([(0, 1), (1, 0), (1, 2), (2, 1)] + ([(0, 2), (2, 0)] if g < 3 else []))
    ),
    "graph_indicator": "\n".join(str(n // 3 + 1) for n in range(18)),
    "graph_labels": "\n".join(["1"] * 3 + ["-1"] * 3),
    "node_labels": "\n".join(str(3 + n % 2) for n in range(18)),
    "node_attributes": "\n".join(f"{n / 2}, {-n}" for n in range(18)),
}


@pytest.fixture(name="root")
def _root(tmp_path: Path) -> Path:
    raw = tmp_path / "data" / "tu" / "MUTAG" / "raw"
    raw.mkdir(parents=True)
    for part, text in FILES.items():
        (raw / f"MUTAG_{part}.txt").write_text(text + "\n")
    return tmp_path / "data"


def test_a_set_is_read_as_torch_geometric_reads_it(root: Path) -> None:
    graph = load("TU-mutag", root)
    assert isinstance(graph, GraphSet)
    assert (graph.name, graph.graphs, graph.classes) == ("tu-mutag", 6, 2)
    assert graph.y.tolist() == [1, 1, 1, 0, 0, 0]
    assert graph.batch.tolist() == [n // 3 for n in range(18)]
    theirs, slices, _ = read_tu_data(str(root / "tu" / "MUTAG" / "raw"), "MUTAG")
    assert torch.equal(graph.x, theirs.x)
    assert torch.equal(graph.y, theirs.y)
    for number in range(6):
        local = theirs.edge_index[:, slices["edge_index"][number] : slices["edge_index"][number + 1]]
        own = graph.edge_index[:, graph.batch[graph.edge_index[0]] == number] - 3 * number
        assert sorted(own.T.tolist()) == sorted(local.T.tolist())
    assert [int(split.sum()) for split in (graph.train, graph.val, graph.test)] == [2, 2, 2]


def test_without_labels_and_attributes_of_nodes_there_is_one_feature(root: Path) -> None:
    for part in ("node_labels", "node_attributes"):
        (root / "tu" / "MUTAG" / "raw" / f"MUTAG_{part}.txt").unlink()
    assert read_tu("MUTAG", root).x.tolist() == [[1.0]] * 18


@pytest.mark.parametrize(
    ("part", "text", "message"),
    [
        ("A", "1, 2\n1, b\n", "MUTAG_A.txt: found damaged data"),
        ("graph_labels", "1\n", "found files that do not fit each other"),
        ("A", "1, 4\n4, 1\n", "found 2 edges between graphs"),
    ],
)
def test_a_damaged_file_is_named(root: Path, part: str, text: str, message: str) -> None:
    raw = root / "tu" / "MUTAG" / "raw"
    (raw / f"MUTAG_{part}.txt").write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        load("tu-mutag", root)
    assert str(caught.value).startswith(str(raw))


def test_an_absent_set_says_what_to_put_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GLT_DATA", raising=False)
    monkeypatch.setenv("GLT_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("GLT_OFFLINE", "1")
    with pytest.raises(MissingData, match=r"Put MUTAG_A\.txt, .* use the embedded data set: motifs") as caught:
        load("tu-mutag", tmp_path)
    assert str(tmp_path / "cache" / "tu" / "MUTAG" / "raw") in str(caught.value)
    assert not (tmp_path / "cache").exists()
    with pytest.raises(UsageError, match="Did you mean tu-mutag"):
        load("tu-mutga")


def test_a_failed_download_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(root: str, name: str) -> None:
        (Path(root) / name / "raw").mkdir(parents=True)
        raise ConnectionError("no network")

    monkeypatch.delenv("GLT_OFFLINE", raising=False)
    monkeypatch.setenv("GLT_DATA", str(tmp_path / "none"))
    monkeypatch.setenv("GLT_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("torch_geometric.datasets.TUDataset", fails)
    with pytest.raises(MissingData, match=r"The download failed: ConnectionError"):
        load("tu-enzymes")
    assert not (tmp_path / "cache").exists()
