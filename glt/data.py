"""Graphs behind one function: `load("digits")`, `load("Cora")`, `load("motifs")`, `load("my-graph.npz")`.

`digits` is embedded and needs no file: scikit-learn's digits joined to their 8 nearest neighbours. The Planetoid sets
(Yang, Cohen & Salakhutdinov, ICML 2016), the TU collection and OGB's are looked for under `--data-root`, `$GLT_DATA`,
then the user's cache, then downloaded unless `GLT_OFFLINE` is set.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from common.runs.errors import MissingData, UsageError
from common.runs.options import did_you_mean
from glt._gnn_benchmark import from_arrays, is_benchmark, wanted
from glt._ogb import OGB, read_ogb
from glt._own_data import checked, own_fields, read_arrays, warn_of_weights
from glt._planetoid import PLANETOID, planetoid_folder, read
from glt._tu import TU, read_tu
from glt.graph import Graph, GraphSet
from glt.graph_sets import motifs
from glt.splits import per_class

__all__ = ["NAMED", "PLANETOID", "Graph", "GraphSet", "canonical", "from_npz", "from_pyg", "load", "planetoid_folder"]

NAMED = ("digits", "motifs", *PLANETOID, *TU, *OGB)
"""Data sets of one size by name; those of `glt.generators` are of any."""


def canonical(dataset: str) -> str:
    """A data set as a run folder and a ticket name it: a known name in lower case, a file by its absolute path.

    >>> canonical("CORA"), canonical("my.npz") == canonical("./my.npz")
    ('cora', True)
    """
    from glt.generators import is_generated

    key = dataset.lower()
    if key in NAMED or is_generated(key):
        return key
    return str(Path(dataset).expanduser().resolve()) if key.endswith(".npz") else dataset


def load(dataset: str = "digits", root: str | Path | None = None) -> Graph:
    """A graph by name or path.

    Args:
        dataset: one of `NAMED`, `photo-grid`, `rmat-SCALE` or `sbm-NODES` (any case; see `glt.generators`), or a path
            to an `.npz` (see `from_npz`).
        root: folder with `planetoid/Cora/raw/ind.cora.*` or `Cora/raw/...`, `tu/MUTAG/raw/MUTAG_A.txt`,
            `ogb/ogbn_arxiv`; before `$GLT_DATA` and the cache.

    Raises:
        UsageError: the name is unknown.
        MissingData: a set is not on this machine and cannot be downloaded; names the files and the folder.
        ValueError: a file is damaged, or holds no graph to learn from (see `Graph`).

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
    if key == "motifs":
        return motifs()
    if key in PLANETOID:
        return from_pyg(read(PLANETOID[key], root), PLANETOID[key])
    if key in TU:
        return read_tu(TU[key], root)
    if key in OGB:
        return read_ogb(key, root)
    if key.endswith(".npz"):
        return from_npz(dataset)
    raise UsageError(f"unknown data set {dataset!r}.{did_you_mean(key, [*NAMED, *NAMES])} An .npz path works too.")


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


def from_npz(path: str | Path, *, largest: bool = False, seed: int = 0) -> Graph:
    """A graph from an `.npz`.

    Its arrays: `x` (N, F) real numbers, `edge_index` (2, E) and `y` (N,) integers, `train`, `val`, `test` (N,) bool.
    With `batch` (N,) integers, the graph of every node, it is a `GraphSet`, and `y` and the splits have an entry a
    graph. Or the arrays of the GNN benchmark, `adj_data` and so on (see `glt._gnn_benchmark`): then 20 nodes a class
    train, 30 validate, and the rest test.

    Args:
        path: of the file.
        largest: of the benchmark's format, keep the largest connected component alone.
        seed: of that format's split.

    Raises:
        MissingData: there is no such file.
        ValueError: it is damaged, an array is missing or of another type, or see `Graph`.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise MissingData(f"there is no file {path}. Give the path of an .npz with x, edge_index, y, train, val, test.")
    try:
        arrays = read_arrays(path, wanted)
        if is_benchmark(arrays):
            return from_arrays(path.stem, arrays, largest=largest, seed=seed)
        if largest or seed:
            raise ValueError("largest and seed are for the format of the GNN benchmark; this has a split of its own")
        fields = own_fields(path, arrays)
        return GraphSet(path.stem, **fields) if "batch" in fields else Graph(path.stem, **fields)
    except ValueError as error:
        text = str(error).removeprefix(f"{path.stem}: ")
        raise ValueError(text if text.startswith(str(path)) else f"{path}: {text}") from error


def from_pyg(data: object, name: str = "data", *, split_seed: int | None = None) -> Graph:
    """A graph from a torch-geometric `Data` with `x`, `edge_index`, `y` and the three `*_mask`.

    Edge weights are not used, with a warning.

    Args:
        data: any object with these attributes.
        name: what the graph is called.
        split_seed: draw a split, of 20 nodes a class to train and 30 to validate, and look at no mask.

    Raises:
        ValueError: one of them is missing or of another type, or see `Graph`.
    """
    masks = ("train_mask", "val_mask", "test_mask") if split_seed is None else ()
    needed = ("x", "edge_index", "y", *masks)
    missing = [field for field in needed if getattr(data, field, None) is None]
    if missing:
        raise ValueError(
            f"{name} lacks {', '.join(missing)}; torch_geometric.transforms.RandomNodeSplit adds splits, and "
            "split_seed draws one of 20 nodes a class to train and 30 to validate"
        )
    warn_of_weights(name, [f for f in ("edge_weight", "edge_attr") if getattr(data, f, None) is not None])
    try:
        fields = checked({field: getattr(data, field) for field in needed})
        split = {} if split_seed is None else per_class(fields["y"], seed=split_seed)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    return Graph(name, **{field.removesuffix("_mask"): tensor for field, tensor in fields.items()}, **split)
