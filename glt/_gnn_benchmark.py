"""Graphs in the `.npz` format of the GNN benchmark (Shchur et al., Pitfalls of GNN Evaluation, 2018): Amazon, Coauthor.

CSR matrices by their arrays: `adj_data`, `adj_indices`, `adj_indptr`, `adj_shape`; `attr_data` and so on, or a dense
`attr_matrix`; and `labels`. Edges become undirected, weights and self-loops go, as in the benchmark. Sparse attributes
are words, and count as there or not; dense ones stay what they are.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import torch

from glt._own_data import checked
from glt.graph import Graph
from glt.splits import per_class

__all__ = ["from_arrays", "is_benchmark", "wanted"]

_CSR = ("data", "indices", "indptr", "shape")
_ADJ, _ATTR = tuple(f"adj_{part}" for part in _CSR), tuple(f"attr_{part}" for part in _CSR)


def is_benchmark(names: Collection[str]) -> bool:
    """Whether arrays of these names are in the benchmark's format.

    >>> is_benchmark(["adj_data", "adj_indices", "adj_indptr", "adj_shape", "labels"]), is_benchmark(["x", "y"])
    (True, False)
    """
    return set(_ADJ) <= set(names)


def wanted(names: Collection[str]) -> list[str]:
    """Those that are read: of the benchmark's format neither names of nodes nor of classes, which may be objects.

    >>> wanted(["x", "y"])
    ['x', 'y']
    """
    if not is_benchmark(names):
        return list(names)
    return [name for name in names if name in (*_ADJ, *_ATTR, "attr_matrix", "labels")]


def from_arrays(
    name: str,
    arrays: Mapping[str, np.ndarray],
    *,
    largest: bool = False,
    train: int = 20,
    val: int = 30,
    seed: int = 0,
) -> Graph:
    """A graph from the benchmark's arrays, with its split: so many nodes a class to train and to validate.

    Args:
        name: what the graph is called.
        arrays: by name.
        largest: keep the largest connected component alone, as the benchmark does.
        train, val: nodes of each class; the rest test. Classes without one more than that go, with a warning, as the
            benchmark has it for CoraFull.
        seed: of the split.

    Raises:
        ValueError: an array is missing or does not fit, or see `Graph`.
    """
    adjacency, x, y = _adjacency(arrays), _features(arrays), _labels(arrays)
    if not adjacency.shape[0] == adjacency.shape[1] == len(x) == len(y):
        raise ValueError(f"found {adjacency.shape} edges, {x.shape} attributes and {len(y)} labels of nodes; expected "
                         "one number of nodes")  # fmt: skip
    kept = _kept(adjacency, y, largest, train + val)
    lost = len(np.unique(y)) - len(np.unique(y[kept]))
    if lost:
        warnings.warn(
            f"{name}: {lost} classes of at most {train + val} nodes are left out, with their nodes", UserWarning, 2
        )
    edges = np.stack(adjacency[kept][:, kept].tocoo().coords).astype(np.int64)
    labels = np.unique(y[kept], return_inverse=True)[1]
    fields = checked({"x": torch.from_numpy(x[kept]), "edge_index": torch.from_numpy(edges),
                      "y": torch.from_numpy(labels)})  # fmt: skip
    return Graph(name, **fields, **per_class(fields["y"], train=train, val=val, seed=seed))


def _adjacency(arrays: Mapping[str, np.ndarray]) -> Any:
    """Symmetric, of ones, without self-loops."""
    found = _csr(arrays, _ADJ)
    if len(np.setdiff1d(arrays["adj_data"], [0, 1])):
        warnings.warn("adj_data is not used; every edge starts with weight 1", UserWarning, 3)
    source, target = found.nonzero()
    proper = source != target
    ends = np.concatenate([np.stack([source, target]), np.stack([target, source])], 1)[:, np.tile(proper, 2)]
    both = type(found)((np.ones(ends.shape[1], np.int8), tuple(ends)), shape=found.shape)
    both.sum_duplicates()
    return both


def _features(arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    if "attr_matrix" in arrays:
        dense = np.asarray(arrays["attr_matrix"])
        if dense.ndim != 2 or dense.dtype.kind not in "fiub":
            raise ValueError(f"attr_matrix must be (N, F) real numbers; found {dense.dtype} of shape {dense.shape}")
        return dense
    return (_csr(arrays, _ATTR).toarray() != 0).astype(np.float32)


def _labels(arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    if "labels" not in arrays:
        raise ValueError("lacks labels, one a node; several labels a node (labels_data) are no classes")
    labels = np.asarray(arrays["labels"])
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise ValueError(f"labels must be integers, one a node; found {labels.dtype} of shape {labels.shape}")
    return labels


def _csr(arrays: Mapping[str, np.ndarray], names: tuple[str, ...]) -> Any:
    from scipy import sparse

    missing = [name for name in names if name not in arrays]
    if missing:
        raise ValueError(f"lacks {', '.join(missing)}")
    data, indices, indptr, shape = (arrays[name] for name in names)
    try:
        found = sparse.csr_array((data, indices, indptr), shape=tuple(shape.tolist()))
        found.check_format()
    except (TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{', '.join(names)} are no CSR matrix: {error}") from None
    found.sum_duplicates()
    found.eliminate_zeros()
    return found


def _kept(adjacency: Any, y: np.ndarray, largest: bool, least: int) -> np.ndarray:
    """The nodes that stay: of classes of more than `least` nodes, of the largest component, until both hold."""
    from scipy.sparse.csgraph import connected_components

    kept = np.arange(len(y))
    while True:
        classes, counts = np.unique(y[kept], return_counts=True)
        inside = kept[np.isin(y[kept], classes[counts > least])]
        if largest and len(inside):
            part = connected_components(adjacency[inside][:, inside], directed=False)[1]
            inside = inside[part == np.bincount(part).argmax()]
        if len(inside) == 0:
            raise ValueError(f"found no class of more than {least} nodes; expected some, to train, validate and test")
        if len(inside) == len(kept):
            return kept
        kept = inside
