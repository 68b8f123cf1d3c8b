"""What is learned from: a graph whose nodes have labels, and a set of graphs that have one each."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from glt.edges import check_edge_index

__all__ = ["Graph", "GraphSet"]

_SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Graph:
    """A graph for node classification, or for link prediction, which takes its features and edges alone.

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
            _check_labels(self, *self._labelled())
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
        for tensor in (self.x, edges, self.y, self.train, self.val, self.test, *self._more()):
            digest.update(tensor.detach().cpu().contiguous().numpy().data)
        return digest.hexdigest()

    def _labelled(self) -> tuple[int, str]:
        """How many things have a label, and what one of them is called."""
        return self.x.size(0), "node"

    def _more(self) -> tuple[Tensor, ...]:
        """What else identifies the data."""
        return ()


@dataclass(frozen=True)
class GraphSet(Graph):
    """Graphs for graph classification, side by side as one graph without an edge between them.

    Attributes:
        x, edge_index: of the nodes of all G graphs.
        y: (G,) int64 labels.
        train, val, test: (G,) bool, disjoint.
        batch: (N,) int64, the graph of every node, from 0 to G-1.

    Raises:
        ValueError: see `Graph`; also for an edge between two graphs, and a graph without nodes.

    >>> one, two = torch.tensor([True, False, False]), torch.tensor([False, True, False])
    >>> pairs = torch.tensor([[0, 1], [2, 3], [4, 5]]).T
    >>> found = GraphSet("pairs", torch.ones(6, 1), pairs, torch.tensor([0, 1, 1]), one, two, ~(one | two),
    ...                  torch.tensor([0, 0, 1, 1, 2, 2]))
    >>> found.classes, found.graphs
    (2, 3)
    """

    batch: Tensor

    def __post_init__(self) -> None:
        super().__post_init__()
        try:
            _check_batch(self)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{self.name}: {error}") from None

    @property
    def graphs(self) -> int:
        """How many graphs there are."""
        return self.y.numel()

    def _labelled(self) -> tuple[int, str]:
        return self.y.numel(), "graph"

    def _more(self) -> tuple[Tensor, ...]:
        return (self.batch,)


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


def _check_labels(graph: Graph, count: int, of: str) -> None:
    for name in ("y", *_SPLITS):
        shape = tuple(getattr(graph, name).shape)
        if shape != (count,):
            raise ValueError(f"{name} must have shape ({count},), one a {of}; found {shape}")
    if not count:
        raise ValueError("y must have an entry a graph; found none")
    lowest, classes, used = int(graph.y.min()), int(graph.y.max()) + 1, graph.y.unique().numel()
    if lowest < 0 or used != classes:
        found = f"{lowest}" if lowest < 0 else f"labels up to {classes - 1}, of which only {used} occur"
        raise ValueError(
            f"labels must be 0, 1, ..., each of some {of}; found {found}. Correct a stray label, or renumber, as by "
            "numpy.unique(y, return_inverse=True)[1]"
        )
    for name in _SPLITS:
        if not bool(getattr(graph, name).any()):
            raise ValueError(f"the {name} split is empty; give it at least one {of}")
    if bool((graph.train & graph.val | graph.train & graph.test | graph.val & graph.test).any()):
        raise ValueError(f"the train, val and test splits must be disjoint; some {of}s are in two")


def _check_batch(graph: GraphSet) -> None:
    nodes, batch = graph.x.size(0), graph.batch
    if tuple(batch.shape) != (nodes,) or batch.dtype != torch.int64:
        raise ValueError(
            f"batch must be int64 of shape ({nodes},), the graph of every node; found {batch.dtype} of shape "
            f"{tuple(batch.shape)}"
        )
    if int(batch.min()) < 0 or int(batch.max()) >= graph.graphs or batch.unique().numel() != graph.graphs:
        raise ValueError(
            f"batch must number the {graph.graphs} graphs from 0, each with a node; found {batch.unique().numel()} "
            f"numbers from {int(batch.min())} to {int(batch.max())}"
        )
    across = int((batch[graph.edge_index[0]] != batch[graph.edge_index[1]]).sum())
    if across:
        raise ValueError(f"an edge joins two nodes of one graph; found {across} edges between graphs. Correct batch")
