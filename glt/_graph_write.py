"""Writing a graph to disk in bounded memory: features row after row, edges sorted by runs on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from glt._graph_folder import NpyWriter
from glt._graph_sources import Source
from glt._infer_matrix import limited
from glt._rows import Mapped
from glt._sorted_keys import SortedKeys
from glt.data import Graph
from glt.edges import check_edge_index

__all__ = ["CHUNK", "edge_parts", "write_arrays"]

CHUNK = 1 << 17
"""Edges that are read at once."""


def write_arrays(source: Source, folder: Path, most: int) -> dict[str, Any]:
    """Write all arrays of a graph into a folder; what its json says of them.

    Args:
        source: the graph.
        folder: an empty one.
        most: bytes that may be in memory at once, beside some numbers a node.

    Raises:
        ValueError: it is no graph to classify nodes of.
    """
    labels = source.labels()
    if labels:
        _check_labels(source, labels)
    for name, array in labels.items():
        with NpyWriter(folder / f"{name}.npy", array.dtype, array.shape[1:]) as out:
            out.write(array)
    nonzeros = _write_features(source, folder, most)
    return {
        "name": source.name,
        "nodes": source.nodes,
        "features": source.features,
        "classes": int(labels["y"].max()) + 1 if labels else None,
        "density": nonzeros / (source.nodes * source.features),
        **_write_edges(source, folder, most),
    }


def edge_parts(pointers: np.ndarray, indices: Mapped) -> Iterator[tuple[int, int, np.ndarray, np.ndarray]]:
    """All edges in order, some at a time: where they begin and end, their sources and their targets, int32.

    Args:
        pointers: (N + 1,) where the edges of every source begin.
        indices: (E,) the targets.
    """
    nodes = len(pointers) - 1
    for first, last in limited(pointers, 0, nodes, nodes, CHUNK):
        begin, end = int(pointers[first]), int(pointers[last])
        sources = np.repeat(np.arange(first, last, dtype=np.int32), np.diff(pointers[first : last + 1]))
        yield begin, end, sources, indices.read(begin, end)


def _check_labels(source: Source, labels: dict[str, np.ndarray]) -> None:
    """As `Graph` does it, by one without features."""
    tensors = {name: torch.from_numpy(array) for name, array in labels.items()}
    Graph(source.name, torch.zeros(source.nodes, 1), torch.tensor([[0], [1]]), **tensors)


def _write_features(source: Source, folder: Path, most: int) -> int:
    if 0 in (source.nodes, source.features):
        raise ValueError(f"features must be (N, F) with a node and a feature; found {(source.nodes, source.features)}")
    nonzeros, count = 0, 0
    with NpyWriter(folder / "x.npy", source.dtype, (source.features,)) as out:
        for rows in source.rows(max(1, most // (32 * source.features))):
            if bad := int((~np.isfinite(rows)).sum()):
                raise ValueError(
                    f"features must be finite (N, F); found {bad} NaN or infinite entries. Clean them first"
                )
            nonzeros, count = nonzeros + int(np.count_nonzero(rows)), count + len(rows)
            out.write(rows)
    if count != source.nodes:
        raise ValueError(f"found the features of {count} nodes; expected {source.nodes}")
    return nonzeros


def _write_edges(source: Source, folder: Path, most: int) -> dict[str, Any]:
    nodes = source.nodes
    if nodes > np.iinfo(np.int32).max:
        raise ValueError(f"found {nodes} nodes; expected fewer than 2^31, as int32 numbers them")
    forth, back = _keys(source, folder, max(1, most // 256))
    counts, digest = np.zeros(nodes + 1, np.int64), hashlib.sha256()
    with NpyWriter(folder / "indices.npy", np.dtype(np.int32)) as out:
        for keys in forth.parts(most // 64):
            counts[1:] += np.bincount(keys // nodes, minlength=nodes)
            out.write((keys % nodes).astype(np.int32))
            digest.update(keys.data)
    pointers = np.cumsum(counts)
    if not pointers[-1]:
        raise ValueError("edge_index must have an edge between two nodes; found none")
    with NpyWriter(folder / "indptr.npy", np.dtype(np.int64)) as out:
        out.write(pointers)
    undirected = source.undirected or _digest(back.parts(most // 64)) == digest.digest()
    indices = Mapped.npy(folder / "indices.npy")
    return {"edges": int(pointers[-1]), "undirected": undirected, "fingerprint": _fingerprint(pointers, indices)}


def _keys(source: Source, folder: Path, most: int) -> tuple[SortedKeys, SortedKeys]:
    """Every edge as source * nodes + target, and as target * nodes + source; all in the first if undirected."""
    nodes, forth, back = source.nodes, SortedKeys(folder), SortedKeys(folder)
    for sources, targets in source.pairs(most):
        check_edge_index(torch.from_numpy(np.stack([sources, targets])), nodes)
        proper = sources != targets
        a, b = sources[proper].astype(np.int64), targets[proper].astype(np.int64)
        forth.add(a * nodes + b)
        (forth if source.undirected else back).add(b * nodes + a)
    return forth, back


def _digest(parts: Iterable[np.ndarray]) -> bytes:
    digest = hashlib.sha256()
    for keys in parts:
        digest.update(keys.data)
    return digest.digest()


def _fingerprint(pointers: np.ndarray, indices: Mapped) -> dict[str, object]:
    """What `glt.edges.Edges.fingerprint` says of the same graph."""
    nodes = len(pointers) - 1
    digest = hashlib.sha256(f"{nodes}".encode())
    for which in (2, 3):  # all sources, then all targets
        for part in edge_parts(pointers, indices):
            digest.update(np.asarray(part[which], np.int64).data)
    return {"nodes": nodes, "edges": int(pointers[-1]), "sha256": digest.hexdigest()}
