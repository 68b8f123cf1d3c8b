"""Which task the settings name, and what a network must know of it."""

from __future__ import annotations

from dataclasses import fields

import torch
from torch import Tensor

from common.runs.errors import UsageError
from common.runs.ranges import AT_LEAST_ONE, FIRST_SEED, Range, check_ranges
from glt.config import Task as Settings
from glt.graph import Graph, GraphSet
from glt.tasks.graphs import GraphClassification
from glt.tasks.links import LinkPrediction
from glt.tasks.nodes import NodeClassification
from glt.tasks.pairs import split_links
from glt.tasks.protocol import Task

__all__ = ["check_settings", "make", "message_edges", "node_task", "width"]

_RANGES: dict[str, Range] = {
    "embedding": AT_LEAST_ONE,
    "hits": AT_LEAST_ONE,
    "val_links": (lambda v: 0 < v < 1, "is a share to hold out and must lie in (0, 1)"),
    "test_links": (lambda v: 0 < v < 1, "is a share to hold out and must lie in (0, 1)"),
    "links_seed": FIRST_SEED,
}
_ONLY = {
    "inductive": ("nodes", "graphs"),
    "split": ("nodes",),
    "metric": ("graphs",),
    "embedding": ("links",),
    "hits": ("links",),
    "val_links": ("links",),
    "test_links": ("links",),
    "links_seed": ("links",),
}


def check_settings(settings: Settings) -> None:
    """Refuse a setting that is out of its range, or means nothing to the kind of task.

    Raises:
        UsageError: naming it.

    >>> check_settings(Settings(kind="links", split="full"))
    Traceback (most recent call last):
    common.runs.errors.UsageError: --task.split full means nothing to --task.kind links. Leave it out
    """
    check_ranges(settings, _RANGES, prefix="task.")
    usual = Settings()
    for field in fields(settings):
        value, option = getattr(settings, field.name), f"--task.{field.name.replace('_', '-')}"
        if value != getattr(usual, field.name) and settings.kind not in _ONLY.get(field.name, (settings.kind,)):
            raise UsageError(f"{option} {value} means nothing to --task.kind {settings.kind}. Leave it out")


def make(graph: Graph, settings: Settings, device: str | torch.device = "cpu", *, whole: bool = False) -> Task:
    """The task of some settings on a graph.

    Args:
        graph: for kind `graphs` a `GraphSet`, else one that is none.
        settings: kind and what belongs to it.
        device: where the tensors go.
        whole: see `NodeClassification`; for no other kind.

    Raises:
        UsageError: the data are for another kind, or a setting is.
    """
    check_settings(settings)
    _check_kind(graph, settings)
    if whole and settings.kind != "nodes":
        raise UsageError(
            f"--ugs.exact-rng repeats published code that classifies nodes; found --task.kind {settings.kind}"
        )
    if isinstance(graph, GraphSet):
        return GraphClassification(graph, device, metric=settings.metric or "accuracy", inductive=settings.inductive)
    if settings.kind == "links":
        return LinkPrediction(
            graph, device, val=settings.val_links, test=settings.test_links, k=settings.hits, seed=settings.links_seed
        )
    return NodeClassification(graph, device, whole=whole, inductive=settings.inductive, full=settings.split == "full")


def message_edges(graph: Graph, settings: Settings) -> Tensor:
    """The edges (2, E) along which messages pass and among which a ticket chooses; all but held-out links.

    Raises:
        UsageError: the data are for another kind of task.
    """
    _check_kind(graph, settings)
    if settings.kind != "links":
        return graph.edge_index
    shares = {"val": settings.val_links, "test": settings.test_links}
    return split_links(graph.edge_index, graph.x.size(0), **shares, seed=settings.links_seed).message


def width(graph: Graph, settings: Settings) -> int:
    """How many numbers the network gives a node: a logit a class, or an embedding for link prediction."""
    return settings.embedding if settings.kind == "links" else graph.classes


def node_task(task: Task, what: str) -> NodeClassification:
    """The task as node classification, for what needs the labels or the logits of single nodes.

    Args:
        task: any.
        what: what needs it, such as a method's name.

    Raises:
        UsageError: it is another task.
    """
    if not isinstance(task, NodeClassification):
        raise UsageError(f"{what} needs labels of nodes; found {type(task).__name__}. Use --task.kind nodes")
    return task


def _check_kind(graph: Graph, settings: Settings) -> None:
    of_graphs = isinstance(graph, GraphSet)
    if of_graphs != (settings.kind == "graphs"):
        found, kinds = ("a set of graphs", "graphs") if of_graphs else ("one graph", "nodes or links")
        raise UsageError(f"{graph.name} is {found}; expected --task.kind {kinds}, found --task.kind {settings.kind}")
