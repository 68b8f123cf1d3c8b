"""Tasks: what is minimised and what is measured.

A task turns a graph into an objective for the mask engine and into metrics for a reader; `make` is the one that the
settings name. `message_edges` and `width` say what a network needs to know of it: which edges it sees, and how many
numbers it gives a node.
"""

from __future__ import annotations

from glt.tasks.choice import check_settings, make, message_edges, node_task, width
from glt.tasks.graphs import GraphClassification
from glt.tasks.links import LinkPrediction
from glt.tasks.nodes import NodeClassification
from glt.tasks.protocol import Task, Teacher, served

__all__ = [
    "GraphClassification", "LinkPrediction", "NodeClassification", "Task", "Teacher", "check_settings", "make",
    "message_edges", "node_task", "served", "width",
]  # fmt: skip
