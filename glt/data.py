"""Graphs behind one function: `load("digits")`, `load("Cora")`, `load("my-graph.npz")`.

`digits` is embedded and needs no file: scikit-learn's digits joined to their 8 nearest neighbours. The Planetoid sets
(Yang, Cohen & Salakhutdinov, ICML 2016) are looked for under `--data-root`, `$GLT_DATA`, then the user's cache, then
downloaded unless `GLT_OFFLINE` is set.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from common.runs.errors import MissingData, UsageError
from common.runs.options import did_you_mean
from glt.edges import check_edge_index

__all__ = ["PLANETOID", "Graph", "from_npz", "from_pyg", "load", "planetoid_folder"]

PLANETOID = {"cora": "Cora", "citeseer": "CiteSeer", "pubmed": "PubMed"}
_PARTS = ("x", "tx", "allx", "y", "ty", "ally", "graph", "test.index")


@dataclass(frozen=True)
class Graph:
    """A graph for node classification.

    Attributes:
        name: what it is called in reports.
        x: (N, F) float32 features.
        edge_index: (2, E) source and target.
        y: (N,) int64 labels.
        train, val, test: (N,) bool, disjoint.

    Raises:
        ValueError: shapes disagree, features are not finite, a label is out of range, splits overlap or are empty.
    """

    name: str
    x: Tensor
    edge_index: Tensor
    y: Tensor
    train: Tensor
    val: Tensor
    test: Tensor

    def __post_init__(self) -> None:
        nodes = self.x.size(0)
        check_edge_index(self.edge_index, nodes)
        if self.x.dim() != 2 or not bool(torch.isfinite(self.x).all()):
            bad = int((~torch.isfinite(self.x)).sum())
            raise ValueError(
                f"{self.name}: features must be a finite (N, F) matrix; found shape {tuple(self.x.shape)} with {bad} "
                "NaN or infinite entries. Clean or impute them first."
            )
        for name in ("y", "train", "val", "test"):
            if getattr(self, name).shape != (nodes,):
                found = tuple(getattr(self, name).shape)
                raise ValueError(f"{self.name}: {name} must have shape ({nodes},), one a node; found {found}")
        if int(self.y.min()) < 0:
            raise ValueError(f"{self.name}: labels must be 0, 1, ...; found {int(self.y.min())}")
        for name in ("train", "val", "test"):
            if not bool(getattr(self, name).any()):
                raise ValueError(f"{self.name}: the {name} split is empty; give it at least one node")
        if bool((self.train & self.val | self.train & self.test | self.val & self.test).any()):
            raise ValueError(f"{self.name}: the train, val and test splits must be disjoint; some nodes are in two")

    @property
    def classes(self) -> int:
        """How many labels there are."""
        return int(self.y.max()) + 1


def load(dataset: str = "digits", root: str | Path | None = None) -> Graph:
    """A graph by name or path.

    Args:
        dataset: `digits`, `cora`, `citeseer`, `pubmed` (any case), or a path to an `.npz` (see `from_npz`).
        root: folder with `planetoid/Cora/raw/ind.cora.*` or `Cora/raw/...`; before `$GLT_DATA` and the cache.

    Raises:
        UsageError: the name is unknown.
        MissingData: a set is not on this machine and cannot be downloaded; names the files and the folder.

    >>> graph = load("digits")
    >>> tuple(graph.x.shape), graph.classes
    ((1797, 64), 10)
    """
    key = dataset.lower()
    if key == "digits":
        return digits()
    if key in PLANETOID:
        return _planetoid(PLANETOID[key], root)
    if key.endswith(".npz"):
        return from_npz(dataset)
    raise UsageError(
        f"unknown data set {dataset!r}.{did_you_mean(key, ['digits', *PLANETOID])} An .npz path works too."
    )


def digits(neighbours: int = 8, labelled: int = 5, seed: int = 0) -> Graph:
    """scikit-learn's 1,797 digits (8x8) as a graph: each image joined to its nearest, made undirected.

    Distances are whole numbers and ties go to the lower index, so that the graph is the same on every machine.

    Args:
        neighbours: how many each image is joined to.
        labelled: training labels a class; 300 nodes validate, the rest test.
        seed: of the split.
    """
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    squares = (images**2).sum(1)
    distance = squares[:, None] - 2 * images @ images.T + squares[None]  # whole numbers, so exact on any machine
    np.fill_diagonal(distance, np.inf)
    nearest = np.argsort(distance, axis=1, kind="stable")[:, :neighbours]
    near = np.zeros(distance.shape, dtype=bool)
    np.put_along_axis(near, nearest, True, axis=1)
    near |= near.T
    y = torch.from_numpy(labels).long()
    shuffled = torch.from_numpy(np.random.default_rng(seed).permutation(y.numel()))
    train = torch.zeros(y.numel(), dtype=torch.bool)
    for label in range(10):
        train[shuffled[y[shuffled] == label][:labelled]] = True
    rest = shuffled[~train[shuffled]]
    val, test = torch.zeros_like(train), torch.zeros_like(train)
    val[rest[:300]], test[rest[300:]] = True, True
    edge_index = torch.from_numpy(np.stack(near.nonzero()))
    return Graph("digits", torch.from_numpy(images / 16.0).float(), edge_index, y, train, val, test)


def from_npz(path: str | Path) -> Graph:
    """A graph from an `.npz` with arrays `x` (N, F), `edge_index` (2, E), `y` (N,), `train`, `val`, `test` (N,) bool.

    Raises:
        MissingData: there is no such file.
        ValueError: an array is missing, or see `Graph`.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingData(f"there is no file {path}. Give the path of an .npz with x, edge_index, y, train, val, test.")
    with np.load(path, allow_pickle=False) as arrays:
        wanted = ("x", "edge_index", "y", "train", "val", "test")
        missing = [name for name in wanted if name not in arrays]
        if missing:
            raise ValueError(f"{path} lacks {', '.join(missing)}; it has {', '.join(arrays.files)}")
        x, edge_index, y, *splits = (torch.from_numpy(arrays[name]) for name in wanted)
    return Graph(path.stem, x.float(), edge_index.long(), y.long(), *(split.bool() for split in splits))


def from_pyg(data: object, name: str = "data") -> Graph:
    """A graph from a torch-geometric `Data` with `x`, `edge_index`, `y` and the three `*_mask`.

    Raises:
        ValueError: one of them is missing.
    """
    wanted = ("x", "edge_index", "y", "train_mask", "val_mask", "test_mask")
    missing = [field for field in wanted if getattr(data, field, None) is None]
    if missing:
        raise ValueError(f"{name} lacks {', '.join(missing)}; torch_geometric.transforms.RandomNodeSplit adds splits")
    x, edge_index, y, train, val, test = (getattr(data, field) for field in wanted)
    return Graph(name, x.float(), edge_index, y.long(), train, val, test)


def planetoid_folder(name: str, root: str | Path | None = None) -> Path | None:
    """The first of `root`, `$GLT_DATA` and the cache that holds all eight raw files of a Planetoid set, or None."""
    for place in _places(root):
        for parent in (place / "planetoid", place):
            if not _missing(parent / name / "raw", name):
                return parent
    return None


def _places(root: str | Path | None) -> list[Path]:
    given = [root, os.environ.get("GLT_DATA"), os.environ.get("GLT_HOME", "~/.cache/glt")]
    return [Path(place).expanduser() for place in given if place]


def _missing(raw: Path, name: str) -> list[str]:
    files = [f"ind.{name.lower()}.{part}" for part in _PARTS]
    return [file for file in files if not (raw / file).is_file()]


def _planetoid(name: str, root: str | Path | None) -> Graph:
    from torch_geometric.io import read_planetoid_data
    from torch_geometric.transforms import NormalizeFeatures

    folder = planetoid_folder(name, root) or _download(name, root)
    data = read_planetoid_data(str(folder / name / "raw"), name)
    return from_pyg(NormalizeFeatures()(data), name)


def _download(name: str, root: str | Path | None) -> Path:
    cache = _places(None)[-1] / "planetoid"
    raw = cache / name / "raw"
    wanted = ", ".join(f"ind.{name.lower()}.{part}" for part in _PARTS)
    looked = ", ".join(str(place) for place in _places(root))
    absent = (
        f"{name} is not on this machine (looked in {looked}). Put the 8 files {wanted} into {raw}, or name their "
        f"folder by --data-root or GLT_DATA (as planetoid/{name}/raw there), or use the embedded data set: digits."
    )
    if os.environ.get("GLT_OFFLINE"):
        raise MissingData(absent)
    from torch_geometric.datasets import Planetoid

    try:
        Planetoid(str(cache), name)
    except Exception as error:  # PyG's downloaders raise whatever their transport raises
        for folder in (raw.parent / "processed", raw, raw.parent, cache, cache.parent):
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
        raise MissingData(f"{absent} (The download failed: {type(error).__name__}.)") from error
    return cache
