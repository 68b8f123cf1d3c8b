"""Graphs of any size without a file: a photograph's pixels, R-MAT and stochastic blocks, all from a seed.

`photo-grid` is real data: the 273,280 pixels of scikit-learn's first photograph, each joined to its 8 neighbours. The
other two are drawn: `rmat-18` has 2^18 nodes, `sbm-10000` has 10,000.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from common.runs.errors import UsageError
from glt.data import Graph

__all__ = ["NAMES", "generated", "is_generated", "photo_grid", "rmat", "sbm"]

NAMES = ("photo-grid", "rmat-SCALE", "sbm-NODES")


def is_generated(name: str) -> bool:
    """Whether a data set's name is one of this module.

    >>> is_generated("rmat-10"), is_generated("cora")
    (True, False)
    """
    return name == "photo-grid" or re.fullmatch(r"(rmat|sbm)-\d+", name) is not None


def generated(name: str) -> Graph:
    """The graph of a name: `photo-grid`, `rmat-SCALE` or `sbm-NODES`, with the seed 0.

    Raises:
        UsageError: the size is out of range.
    """
    kind, _, size = name.partition("-")
    if kind == "photo":
        return photo_grid()
    lowest, highest = (4, 26) if kind == "rmat" else (16, 2**26)
    if not lowest <= int(size) <= highest:
        raise UsageError(f"found the data set {name!r}; expected a size from {lowest} to {highest}, as in {kind}-16")
    make: Callable[[int], Graph] = rmat if kind == "rmat" else sbm
    return make(int(size))


def photo_grid(patch: int = 5, classes: int = 40, seed: int = 0) -> Graph:
    """The pixels of scikit-learn's photograph `china.jpg`, each joined to its 8 neighbours: 1,089,921 undirected edges.

    Features are the colours of the patch around a pixel, from -1 to 1. The label is the cluster of the mean colour of
    the 15 x 15 pixels around it, which is more than the patch shows. Clusters are found in whole numbers, so that
    labels are the same on every machine.

    Args:
        patch: its side, odd; F is 3 times its square.
        classes: clusters.
        seed: of clusters and split.
    """
    from sklearn.datasets import load_sample_image

    photo = np.asarray(load_sample_image("china.jpg"))
    rows, columns = photo.shape[:2]
    margin = patch // 2
    padded = np.pad(photo, ((margin, margin), (margin, margin), (0, 0)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (patch, patch), axis=(0, 1))
    x = torch.from_numpy(windows.reshape(rows * columns, -1).astype(np.float32)).div_(127.5).sub_(1)
    y = _clusters(_blurred(photo, 15).reshape(rows * columns, 3), classes, np.random.default_rng(seed))
    number = np.arange(rows * columns).reshape(rows, columns)
    pairs = [
        (number[:, :-1], number[:, 1:]),
        (number[:-1], number[1:]),
        (number[:-1, :-1], number[1:, 1:]),
        (number[:-1, 1:], number[1:, :-1]),
    ]
    ends = np.concatenate([np.stack([a.ravel(), b.ravel()]) for a, b in pairs], axis=1)
    return _graph("photo-grid", x, ends, y, seed)


def rmat(scale: int, degree: int = 16, features: int = 128, classes: int = 40, seed: int = 0) -> Graph:
    """A recursive-matrix graph, whose degrees follow a power law (Chakrabarti, Zhan & Faloutsos, SDM 2004).

    Every edge falls, level by level, into a quarter of the adjacency matrix with the probabilities 0.57, 0.19, 0.19 and
    0.05. Nodes are shuffled; neighbouring ones before that share a label.

    Args:
        scale: there are 2^scale nodes.
        degree: undirected edges drawn a node; repeated ones and self-loops are left out.
        features: F.
        classes: labels, at most as many as nodes over 4.
        seed: of everything.
    """
    rng = np.random.default_rng(seed)
    nodes = 2**scale
    ends = np.zeros((2, nodes * degree), np.int64)
    for _ in range(scale):
        draw = rng.random(nodes * degree, dtype=np.float32)
        ends *= 2
        ends[0] += draw >= 0.76
        ends[1] += ((draw >= 0.57) & (draw < 0.76)) | (draw >= 0.95)
    return _drawn(f"rmat-{scale}", ends, _even(nodes, classes), features, rng, seed)


def sbm(nodes: int, degree: int = 16, features: int = 128, classes: int = 40, seed: int = 0) -> Graph:
    """A stochastic block model of equal blocks (Holland, Laskey & Leinhardt, Social Networks 1983), labels the blocks.

    Three edges of four are drawn within a block, the others between any two nodes.

    Args:
        nodes: how many.
        degree, features, classes, seed: see `rmat`.
    """
    rng = np.random.default_rng(seed)
    y = _even(nodes, classes)
    edges = max(1, nodes * degree // 2)
    source, target = rng.integers(0, nodes, (2, edges))
    starts = np.searchsorted(y, np.arange(int(y[-1]) + 2))
    block, inside = y[source], rng.random(edges) < 0.75
    place = starts[block] + rng.integers(0, 2**31, edges) % (starts[block + 1] - starts[block])
    return _drawn(f"sbm-{nodes}", np.stack([source, np.where(inside, place, target)]), y, features, rng, seed)


def _drawn(name: str, ends: np.ndarray, y: np.ndarray, features: int, rng: np.random.Generator, seed: int) -> Graph:
    """Shuffled nodes with features around their label's centre."""
    order = rng.permutation(len(y))
    labels = np.empty_like(y)
    labels[order] = y
    centres = rng.standard_normal((int(y[-1]) + 1, features), dtype=np.float32)
    x = rng.standard_normal((len(y), features), dtype=np.float32) + centres[labels]
    ends = order[ends]
    low, high = np.sort(ends[:, ends[0] != ends[1]], axis=0)
    unique = np.unique(low * len(y) + high)
    return _graph(name, torch.from_numpy(x), np.stack([unique // len(y), unique % len(y)]), labels, seed)


def _even(nodes: int, classes: int) -> np.ndarray:
    """Labels 0 to classes - 1 in blocks of nearly one size, of at least 4 nodes."""
    return np.arange(nodes) * max(1, min(classes, nodes // 4)) // nodes


def _blurred(photo: np.ndarray, side: int) -> np.ndarray:
    """Means over squares in whole numbers; the photograph's rim is repeated outwards."""
    margin = side // 2
    sums = np.pad(photo.astype(np.int64), ((margin, margin), (margin, margin), (0, 0)), mode="edge")
    for axis in (0, 1):
        sums = np.lib.stride_tricks.sliding_window_view(sums, side, axis=axis).sum(-1)
    return sums // side**2


def _clusters(points: np.ndarray, classes: int, rng: np.random.Generator, rounds: int = 15) -> np.ndarray:
    """k-means in whole numbers on a sample of the points (N, D), then the nearest centre of all: labels (N,)."""
    sample = points[rng.permutation(len(points))[:20_000]]
    centres = rng.permutation(np.unique(sample, axis=0))[:classes]
    for _ in range(rounds):
        nearest = _nearest(sample, centres)
        for label in np.unique(nearest):
            members = sample[nearest == label]
            centres[label] = members.sum(0) // len(members)
    labels: np.ndarray = np.unique(_nearest(points, centres), return_inverse=True)[1]
    return labels


def _nearest(points: np.ndarray, centres: np.ndarray) -> np.ndarray:
    far = centres.astype(np.float64)  # whole numbers below 2^53 are exact in it, and have a quick product
    return ((far**2).sum(1) - 2 * points.astype(np.float64) @ far.T).argmin(1)


def _graph(name: str, x: Tensor, ends: np.ndarray, y: np.ndarray, seed: int) -> Graph:
    """The graph of undirected edges given once, with 20 training nodes a class, a tenth of the rest to validate."""
    rng = np.random.default_rng([seed, 1])
    shuffled = rng.permutation(len(y))
    grouped = shuffled[np.argsort(y[shuffled], kind="stable")]
    first = np.searchsorted(y[grouped], np.arange(int(y.max()) + 1))
    rank = np.arange(len(y)) - first[y[grouped]]
    train = np.zeros(len(y), dtype=bool)
    train[grouped[rank < min(20, max(1, len(y) // (4 * len(first))))]] = True
    rest = shuffled[~train[shuffled]]
    val, test = np.zeros_like(train), np.zeros_like(train)
    val[rest[: max(1, len(rest) // 10)]] = True
    test[rest[max(1, len(rest) // 10) :]] = True
    edge_index = torch.from_numpy(np.concatenate([ends, ends[::-1]], axis=1))
    splits = (torch.from_numpy(split) for split in (train, val, test))
    return Graph(name, x, edge_index, torch.from_numpy(y.astype(np.int64)), *splits)
