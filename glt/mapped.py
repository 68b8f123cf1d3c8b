"""Graphs on disk, for inference beyond memory: a folder of arrays that are read in parts.

`indptr.npy` (N + 1,) int64 and `indices.npy` (E,) int32 are the edges in CSR by source: both directions of an
undirected one, sorted, without duplicates and self-loops. `x.npy` (N, F) is float32, uint8 or bool; `y.npy`,
`train.npy`, `val.npy` and `test.npy` may be missing. `graph.json` holds their shapes and hashes, and the fingerprint
that tickets know the graph by.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from common.runs.errors import UsageError
from glt._graph_folder import MANIFEST, read, seal
from glt._graph_sources import Source, of_graph, of_npz
from glt._graph_write import edge_parts, write_arrays
from glt._infer_matrix import Piece
from glt._memory import parse_size
from glt._rows import Mapped
from glt.data import Graph, load
from glt.streams import named_stream

__all__ = ["MappedGraph", "Numbers", "is_graph_folder", "open_graph", "source_of", "write_graph"]


class Numbers(Protocol):
    """An array (E,), or what reads like one."""

    def __len__(self) -> int:
        """How many."""

    def __getitem__(self, part: slice, /) -> Any:
        """Some of them."""


@dataclass(frozen=True)
class MappedGraph:
    """A graph whose arrays stay on disk; made by `open_graph`.

    Attributes:
        name: what it is called in reports.
        nodes, features: N and F.
        edges: directed ones.
        undirected: whether every edge has its reverse.
        classes: how many labels there are; None without labels.
        density: the share of features that are not zero.
        fingerprint: see `glt.edges.Edges.fingerprint`.
        arrays: the files.
    """

    name: str
    nodes: int
    features: int
    edges: int
    undirected: bool
    classes: int | None
    density: float
    fingerprint: dict[str, Any]
    arrays: dict[str, Mapped]

    def pieces(
        self, weight: Numbers | None = None, mask: Numbers | None = None, *, mean: bool = False
    ) -> Iterator[Piece]:
        """All edges, some at a time, in the order of `glt.edges.Edges`.

        Args:
            weight, mask: (E,) of the edges, multiplied; ones if None.
            mean: of both directions: every edge, and its reverse, is given half of its value.
        """
        factors = [numbers for numbers in (weight, mask) if numbers is not None]
        for begin, end, source, target in edge_parts(self.arrays["indptr"].read(), self.arrays["indices"]):
            value = np.ones(end - begin, np.float32)
            for numbers in factors:
                value *= np.asarray(numbers[begin:end], np.float32)
            if mean and factors:  # ones are their own mean
                value /= 2
                yield target, source, value
            yield source, target, value

    def like(self, classes: int) -> Graph:
        """A graph of a few nodes with as many features and classes, for code that builds a network for a graph."""
        nodes = max(3, classes)
        chosen = [torch.arange(nodes) == number for number in range(3)]
        labels = torch.arange(nodes) % classes
        return Graph(self.name, torch.zeros(nodes, self.features), torch.tensor([[0], [1]]), labels, *chosen)


def is_graph_folder(dataset: str | None) -> bool:
    """Whether a data set's name is that of a graph's folder; a bare word is one only if the folder holds a graph."""
    if dataset is None or not (folder := Path(dataset).expanduser()).is_dir():
        return False
    return (folder / MANIFEST).is_file() or folder.name != dataset


def open_graph(folder: str | Path, *, verify: bool = True) -> MappedGraph:
    """A graph that `write_graph` has written.

    Args:
        folder: of the graph.
        verify: compare every array with its hash, which reads all of it.

    Raises:
        MissingData: there is no such folder, or a file is missing.
        ValueError: something was altered, cut short, or is no graph.
    """
    body, arrays = read(Path(folder).expanduser(), verify=verify)
    return MappedGraph(**{field.name: body[field.name] for field in fields(MappedGraph)[:-1]}, arrays=arrays)


def source_of(dataset: str, data_root: str | None = None) -> Source:
    """A data set by name or path as a stream: generated ones and an `.npz` never whole in memory.

    Args:
        dataset, data_root: see `glt.data.load`.
    """
    drawn = named_stream(dataset.lower())
    if drawn is not None:
        return drawn
    return (
        of_npz(Path(dataset).expanduser()) if dataset.lower().endswith(".npz") else of_graph(load(dataset, data_root))
    )


def write_graph(graph: Graph | Source | str, folder: str | Path, *, memory: str = "256MB") -> MappedGraph:
    """Write a graph to disk, in parts.

    Args:
        graph: a graph; the name of a data set or the path of an `.npz`; or what `glt.streams` draws.
        folder: a new or an empty one.
        memory: how much may be in memory at once, beside a few numbers a node and what a `Graph` already takes.

    Raises:
        UsageError: the folder holds something, or `memory` is no size.
        ValueError: it is no graph to classify nodes of (see `glt.data.Graph`).

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     graph = write_graph("digits", folder)
    >>> graph.name, graph.nodes, graph.features, graph.classes, graph.undirected
    ('digits', 1797, 64, 10, True)
    """
    folder, most = Path(folder).expanduser(), parse_size(memory, "memory")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"found something in {folder}; expected a new or an empty folder. Name another one")
    source = source_of(graph) if isinstance(graph, str) else of_graph(graph) if isinstance(graph, Graph) else graph
    folder.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        try:
            seal(work, write_arrays(source, work, most))
        except ValueError as error:
            text = str(error)
            raise type(error)(text if text.startswith(source.name) else f"{source.name}: {text}") from error
        work.chmod(0o755)  # a temporary folder is private; a result is not
        work.replace(folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return open_graph(folder, verify=False)
