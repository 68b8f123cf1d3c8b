"""Sets of the Open Graph Benchmark, by a stand-in for its package, which is an extra."""

import os
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch_geometric.data import Data

from common.runs.errors import MissingData, UsageError
from glt.cli import main
from glt.data import GraphSet, load
from glt.edges import Edges


class _Dataset:
    """What both readers of ogb have in common; noisy, as they are."""

    graphs: list[Data]
    splits: dict[str, list[int]]

    def __init__(self, name: str, root: str) -> None:
        print(f"reading {name}")  # noqa: T201
        assert os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] == "1"
        if not (Path(root) / name.replace("-", "_")).is_dir():
            raise RuntimeError("no network")

    def __len__(self) -> int:
        return len(self.graphs)

    def __getitem__(self, number: int) -> Data:
        return self.graphs[number]

    def get_idx_split(self) -> dict[str, torch.Tensor]:
        return {name: torch.tensor(rows) for name, rows in self.splits.items()}


class _Nodes(_Dataset):
    graphs = [  # noqa: RUF012
        Data(x=torch.eye(4), edge_index=torch.tensor([[0, 1, 2], [1, 2, 3]]), y=torch.tensor([[0], [1], [0], [1]]))
    ]
    splits = {"train": [0, 1], "valid": [2], "test": [3]}  # noqa: RUF012


class _Molecules(_Dataset):
    graphs = [  # noqa: RUF012
        Data(
            x=torch.tensor([[6, 0], [8, 0], [6, 3]])[: 2 + k % 2],
            edge_index=torch.tensor([[0, 1], [1, 0]]),
            edge_attr=torch.ones(2, 3),
            y=torch.tensor([[k % 2]]),
        )
        for k in range(6)
    ]
    splits = {"train": [0, 1], "valid": [2, 3], "test": [4, 5]}  # noqa: RUF012


@pytest.fixture(name="root")
def _root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data root with both sets, and the stand-in."""
    for name in ("ogbn_arxiv", "ogbg_molhiv"):
        (tmp_path / "ogb" / name / "split").mkdir(parents=True)
    package = ModuleType("ogb")
    for part, name, reader in (
        ("nodeproppred", "PygNodePropPredDataset", _Nodes),
        ("graphproppred", "PygGraphPropPredDataset", _Molecules),
    ):
        module = ModuleType(f"ogb.{part}")
        setattr(module, name, reader)
        setattr(package, part, module)
        monkeypatch.setitem(sys.modules, f"ogb.{part}", module)
    monkeypatch.setitem(sys.modules, "ogb", package)
    monkeypatch.setenv("GLT_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("GLT_DATA", raising=False)
    monkeypatch.delenv("GLT_OFFLINE", raising=False)
    return tmp_path


def test_arxiv_becomes_undirected_and_keeps_its_split(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    graph = load("OGBN-arxiv", root)
    assert (graph.name, graph.y.tolist()) == ("ogbn-arxiv", [0, 1, 0, 1])
    assert Edges(graph.edge_index, 4).count()["total"] == 3
    assert Edges(graph.edge_index, 4).symmetric
    assert [split.tolist() for split in (graph.train, graph.val)] == [
        [True, True, False, False],
        [False, False, True, False],
    ]
    assert capsys.readouterr().out == ""  # standard output is for --json
    assert "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD" not in os.environ


def test_atoms_of_molecules_become_one_hot(root: Path) -> None:
    graph = load("ogbg-molhiv", root)
    assert isinstance(graph, GraphSet)
    assert (graph.graphs, graph.classes) == (6, 2)
    assert graph.x[:5].tolist() == [[1, 0, 1, 0], [0, 1, 1, 0], [1, 0, 1, 0], [0, 1, 1, 0], [1, 0, 0, 1]]
    assert graph.batch[:5].tolist() == [0, 0, 1, 1, 1]
    assert graph.test.tolist() == [False] * 4 + [True] * 2


def test_without_the_package_its_extra_is_named(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ogb.nodeproppred", None)
    with pytest.raises(UsageError, match=r"pip install 'lottery-tickets\[ogb\]' brings it; .* digits"):
        load("ogbn-arxiv", root)


@pytest.mark.parametrize("offline", [True, False])
def test_an_absent_set_says_what_to_put_where(
    root: Path, offline: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if offline:
        monkeypatch.setenv("GLT_OFFLINE", "1")
    (root / "ogb" / "ogbg_molhiv" / "split").rmdir()
    with pytest.raises(
        MissingData, match=r"Put the folder ogbg_molhiv, .* use the embedded data set: motifs"
    ) as caught:
        load("ogbg-molhiv", root)
    assert str(root / "cache" / "ogb") in str(caught.value)
    assert ("no network" in str(caught.value)) is not offline
    assert main(["data", "ogbg-molhiv", "--data-root", str(root)]) == 3
    assert "Put the folder" in capsys.readouterr().err
