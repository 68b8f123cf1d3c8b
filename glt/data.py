"""Graphs behind one function: `load("digits")`, `load("Cora")`, `load("my-graph.npz")`.

`digits` is embedded and needs no file: scikit-learn's digits joined to their 8 nearest neighbours. The Planetoid sets
(Yang, Cohen & Salakhutdinov, ICML 2016) are looked for under `--data-root`, `$GLT_DATA`, then the user's cache, then
downloaded unless `GLT_OFFLINE` is set.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from common.runs.errors import MissingData, UsageError
from common.runs.options import did_you_mean
from glt._own_data import checked, read_npz, warn_of_weights
from glt._planetoid import PLANETOID, planetoid_folder, read
from glt.edges import check_edge_index

__all__ = ["PLANETOID", "Graph", "canonical", "from_npz", "from_pyg", "load", "planetoid_folder"]


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
        ValueError: shapes disagree, there is no feature or no edge, features are not finite, a label is out of range,
            splits overlap or are empty.
    """

    name: str
    x: Tensor
    edge_index: Tensor
    y: Tensor
    train: Tensor
    val: Tensor
    test: Tensor

    def __post_init__(self) -> None:
        try:
            _check_features(self.x)
            _check_edges(self.edge_index, self.x.size(0))
            _check_labels(self)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{self.name}: {error}") from None

    @property
    def classes(self) -> int:
        """How many labels there are."""
        return int(self.y.max()) + 1

    @cached_property
    def sha256(self) -> str:
        """What identifies the data: a sha256 over features, labels, splits and edges.

        Edges count as `glt.edges.Edges` has them: in order, without duplicates and self-loops.
        """
        nodes = self.x.size(0)
        source, target = self.edge_index.long()
        proper = source != target
        edges = torch.unique(source[proper] * nodes + target[proper])
        digest = hashlib.sha256(repr(tuple(self.x.shape)).encode())
        for tensor in (self.x, edges, self.y, self.train, self.val, self.test):
            digest.update(tensor.detach().cpu().contiguous().numpy().data)
        return digest.hexdigest()


def _check_features(x: Tensor) -> None:
    if x.dim() != 2 or 0 in x.shape:
        raise ValueError(
            f"features must be a (N, F) matrix with at least one node and one feature; found shape {tuple(x.shape)}. "
            "Without features, use the identity matrix or node degrees."
        )
    bad = int((~torch.isfinite(x)).sum())
    if bad:
        raise ValueError(
            f"features must be finite (N, F) float32; found {bad} NaN or infinite entries in shape {tuple(x.shape)}. "
            "Clean or impute them first."
        )


def _check_edges(edge_index: Tensor, nodes: int) -> None:
    check_edge_index(edge_index, nodes)
    if not bool((edge_index[0] != edge_index[1]).any()):
        raise ValueError(
            f"edge_index must have an edge between two nodes; found {edge_index.size(1)} self-loops and no other edge. "
            "Self-loops are what a layer adds by itself; without other edges there is nothing to prune."
        )


def _check_labels(graph: Graph) -> None:
    nodes = graph.x.size(0)
    for name in ("y", "train", "val", "test"):
        shape = tuple(getattr(graph, name).shape)
        if shape != (nodes,):
            raise ValueError(f"{name} must have shape ({nodes},), one a node; found {shape}")
    lowest, classes, used = int(graph.y.min()), int(graph.y.max()) + 1, graph.y.unique().numel()
    if lowest < 0 or used != classes:
        found = f"{lowest}" if lowest < 0 else f"labels up to {classes - 1}, of which only {used} occur"
        raise ValueError(
            f"labels must be 0, 1, ..., each of some node; found {found}. Correct a stray label, or renumber, as by "
            "numpy.unique(y, return_inverse=True)[1]"
        )
    for name in ("train", "val", "test"):
        if not bool(getattr(graph, name).any()):
            raise ValueError(f"the {name} split is empty; give it at least one node")
    if bool((graph.train & graph.val | graph.train & graph.test | graph.val & graph.test).any()):
        raise ValueError("the train, val and test splits must be disjoint; some nodes are in two")


def canonical(dataset: str) -> str:
    """A data set as a run folder and a ticket name it: a known name in lower case, a file by its absolute path.

    >>> canonical("CORA"), canonical("my.npz") == canonical("./my.npz")
    ('cora', True)
    """
    from glt.generators import is_generated

    key = dataset.lower()
    if key == "digits" or key in PLANETOID or is_generated(key):
        return key
    return str(Path(dataset).expanduser().resolve()) if key.endswith(".npz") else dataset


def load(dataset: str = "digits", root: str | Path | None = None) -> Graph:
    """A graph by name or path.

    Args:
        dataset: `digits`, `cora`, `citeseer`, `pubmed`, `photo-grid`, `rmat-SCALE` or `sbm-NODES` (any case; see
            `glt.generators`), or a path to an `.npz` (see `from_npz`).
        root: folder with `planetoid/Cora/raw/ind.cora.*` or `Cora/raw/...`; before `$GLT_DATA` and the cache.

    Raises:
        UsageError: the name is unknown.
        MissingData: a set is not on this machine and cannot be downloaded; names the files and the folder.
        ValueError: a file is damaged, or holds no graph to classify nodes of (see `Graph`).

    >>> graph = load("digits")
    >>> tuple(graph.x.shape), graph.classes
    ((1797, 64), 10)
    """
    from glt.generators import NAMES, generated, is_generated

    key = dataset.lower()
    if key == "digits":
        return digits()
    if is_generated(key):
        return generated(key)
    if key in PLANETOID:
        return from_pyg(read(PLANETOID[key], root), PLANETOID[key])
    if key.endswith(".npz"):
        return from_npz(dataset)
    raise UsageError(
        f"unknown data set {dataset!r}.{did_you_mean(key, ['digits', *PLANETOID, *NAMES])} An .npz path works too."
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
    """A graph from an `.npz`.

    Its arrays: `x` (N, F) real numbers, `edge_index` (2, E) and `y` (N,) integers, `train`, `val`, `test` (N,) bool.

    Raises:
        MissingData: there is no such file.
        ValueError: it is damaged, an array is missing or of another type, or see `Graph`.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise MissingData(f"there is no file {path}. Give the path of an .npz with x, edge_index, y, train, val, test.")
    try:
        return Graph(path.stem, **read_npz(path))
    except ValueError as error:
        text = str(error).removeprefix(f"{path.stem}: ")
        raise ValueError(text if text.startswith(str(path)) else f"{path}: {text}") from error


def from_pyg(data: object, name: str = "data") -> Graph:
    """A graph from a torch-geometric `Data` with `x`, `edge_index`, `y` and the three `*_mask`.

    Edge weights are not used, with a warning.

    Raises:
        ValueError: one of them is missing or of another type, or see `Graph`.
    """
    wanted = ("x", "edge_index", "y", "train_mask", "val_mask", "test_mask")
    missing = [field for field in wanted if getattr(data, field, None) is None]
    if missing:
        raise ValueError(f"{name} lacks {', '.join(missing)}; torch_geometric.transforms.RandomNodeSplit adds splits")
    warn_of_weights(name, [f for f in ("edge_weight", "edge_attr") if getattr(data, f, None) is not None])
    try:
        fields = checked({field: getattr(data, field) for field in wanted})
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    return Graph(name, **{field.removesuffix("_mask"): tensor for field, tensor in fields.items()})
