"""Graphs as streams, to be written to disk in bounded memory: of a `Graph`, of an `.npz`, of the generators."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from common.runs.errors import MissingData
from glt._gnn_benchmark import is_benchmark
from glt._own_data import WANTED, checked, warn_of_weights
from glt.data import Graph, GraphSet, from_npz

__all__ = ["Source", "of_graph", "of_npz"]

_LABELS = ("y", "train", "val", "test")


@dataclass(frozen=True)
class Source:
    """A graph that is read from its beginning to its end, as often as asked.

    Attributes:
        name, nodes, features: as in `Graph`; features are columns.
        dtype: of the features: float32, uint8 or bool.
        pairs: from a number of edges to all sources and targets (E,) each, at most so many at once.
        rows: from a number of rows to the features (N, F) in order, at most so many at once.
        labels: `y` and the splits `train`, `val`, `test`; or nothing.
        undirected: every pair stands for both directions, and is given once.
    """

    name: str
    nodes: int
    features: int
    dtype: np.dtype
    pairs: Callable[[int], Iterator[tuple[np.ndarray, np.ndarray]]]
    rows: Callable[[int], Iterator[np.ndarray]]
    labels: Callable[[], dict[str, np.ndarray]]
    undirected: bool = False


def of_graph(graph: Graph) -> Source:
    """A graph in memory; the nodes of a set of graphs have no labels."""
    x, ends = graph.x.numpy(), graph.edge_index

    def pairs(most: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for part in ends.split(most, dim=1):
            source, target = part.numpy()
            yield source, target

    def rows(most: int) -> Iterator[np.ndarray]:
        yield from (part.numpy() for part in graph.x.split(most))

    def labels() -> dict[str, np.ndarray]:
        return {} if isinstance(graph, GraphSet) else {name: getattr(graph, name).numpy() for name in _LABELS}

    return Source(graph.name, x.shape[0], x.shape[1], x.dtype, pairs, rows, labels)


def of_npz(path: Path) -> Source:
    """An `.npz` as `glt.data.from_npz` takes it, never unpacked as a whole; uint8 and bool features stay what they are.

    Sets of graphs and the format of the GNN benchmark are read into memory.

    Raises:
        MissingData: there is no such file.
        ValueError: it is damaged, an array is missing or of another type.
    """
    if not path.is_file():
        raise MissingData(f"there is no file {path}. Give the path of an .npz with {', '.join(WANTED)}.")
    with _archive(path) as archive:
        names = {name.removesuffix(".npy") for name in archive.namelist()}
        if is_benchmark(names) or "batch" in names:
            return of_graph(from_npz(path))
        if missing := [name for name in WANTED if name not in names]:
            raise ValueError(f"lacks {', '.join(missing)}; it has {', '.join(sorted(names)) or 'no arrays'}")
        warn_of_weights(str(path), names)
        x, edges = _Member(archive, "x"), _Member(archive, "edge_index")
        if len(x.shape) != 2 or len(edges.shape) != 2 or edges.shape[0] != 2:
            raise ValueError(f"found x {x.shape} and edge_index {edges.shape}; expected (N, F) and (2, E)")
        dtype = x.dtype if x.dtype in (np.uint8, np.bool_) else np.dtype(np.float32)

    def pairs(most: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        with _archive(path) as archive:
            yield from _ends(archive, most)

    def rows(most: int) -> Iterator[np.ndarray]:
        with _archive(path) as archive:
            yield from _features(_Member(archive, "x"), most)

    def labels() -> dict[str, np.ndarray]:
        with _archive(path) as archive:
            members = {name: _Member(archive, name) for name in _LABELS}
            found = {name: torch.from_numpy(m.take(m.shape[0])) for name, m in members.items()}
            return {name: tensor.numpy() for name, tensor in checked(found).items()}

    return Source(path.stem, *x.shape, dtype, pairs, rows, labels)


class _Member:
    """One array of an archive, read in order.

    Attributes:
        shape, dtype, fortran: as stored; the last says that columns follow one after the other.
    """

    def __init__(self, archive: zipfile.ZipFile, name: str) -> None:
        self._file = archive.open(f"{name}.npy")
        version = np.lib.format.read_magic(self._file)
        reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        self.shape, self.fortran, self.dtype = reader(self._file)
        if self.dtype.hasobject or len(self.shape) == 0:
            raise ValueError(f"{name} must hold numbers; found {self.dtype} {self.shape}. Save it as a numeric array")

    def take(self, count: int) -> np.ndarray:
        """The next so many numbers."""
        text = self._file.read(count * self.dtype.itemsize)
        if len(text) != count * self.dtype.itemsize:
            raise ValueError("found an array that ends before its shape does")
        return np.frombuffer(text, self.dtype).astype(self.dtype.newbyteorder("="))


def _ends(archive: zipfile.ZipFile, most: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    first, second = _Member(archive, "edge_index"), _Member(archive, "edge_index")
    count = first.shape[1]
    checked({"edge_index": torch.from_numpy(np.empty((2, 0), first.dtype.newbyteorder("=")))})
    if not first.fortran:
        for size in _sizes(count, most):
            second.take(size)
    for size in _sizes(count, most):
        if first.fortran:
            source, target = first.take(2 * size).reshape(size, 2).T
            yield source, target
        else:
            yield first.take(size), second.take(size)


def _features(member: _Member, most: int) -> Iterator[np.ndarray]:
    nodes, width = member.shape
    if member.fortran:
        raise ValueError(
            "found features x column after column (Fortran order); expected row after row. Save "
            "numpy.ascontiguousarray(x)"
        )
    for size in _sizes(nodes, most):
        yield checked({"x": torch.from_numpy(member.take(size * width))})["x"].numpy().reshape(size, width)


def _sizes(count: int, most: int) -> Iterator[int]:
    for start in range(0, count, most):
        yield min(most, count - start)


@contextmanager
def _archive(path: Path) -> Iterator[zipfile.ZipFile]:
    """An open `.npz`; whatever a damaged one raises becomes one error that names it."""
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, NotImplementedError) as error:
        raise ValueError(f"{path}: found damaged data ({error}); expected an .npz with {', '.join(WANTED)}") from error
    except ValueError as error:
        text = str(error)
        raise ValueError(text if text.startswith(str(path)) else f"{path}: {text}") from error
