"""What a user may set of the task, as a dataclass without heavy imports."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Task", "metric_of", "units_of"]


@dataclass(frozen=True)
class Task:
    """What the network learns."""

    kind: Literal["nodes", "links", "graphs"] = "nodes"
    """Classify nodes, predict the links that a graph lacks, or classify the graphs of a set."""
    inductive: bool = False
    """Withhold test nodes and their edges from every training; they are seen in the test, and by rules that judge edges
    as they arrive."""
    split: Literal["public", "full"] = "public"
    """Training nodes: those of the data set, or all but validation and test (full-supervised, for deep networks)."""
    metric: Literal["accuracy", "AUC"] | None = None
    """What is measured of graphs: accuracy; AUC for ogbg-molhiv."""
    embedding: int = 64
    """Of links: numbers that the network gives a node; the inner product of two of them is the score of their link."""
    val_links: float = 0.05
    """Share of undirected edges held out for validation, with as many pairs that are none."""
    test_links: float = 0.1
    """The same for the test."""
    hits: int = 20
    """K of Hits@K, which is measured of links beside AUC."""
    links_seed: int = 0
    """Of the choice of held-out edges and of the pairs that are none; the same for all seeds of a run."""


def metric_of(task: Task) -> str:
    """What is measured, as reports name it.

    >>> metric_of(Task()), metric_of(Task(kind="links"))
    ('accuracy', 'AUC')
    """
    return "AUC" if task.kind == "links" else task.metric or "accuracy"


def units_of(task: Task) -> str:
    """What it is measured of, as reports name them.

    >>> units_of(Task(kind="links"))
    'edges'
    """
    return {"nodes": "nodes", "links": "edges", "graphs": "graphs"}[task.kind]
