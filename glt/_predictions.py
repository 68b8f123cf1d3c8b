"""What both ways of `glt infer` say of a ticket and its predictions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from torch import Tensor

from common.runs.errors import UsageError
from common.runs.progress import Console
from common.ticket import Ticket
from glt.config import Find
from glt.models import WEIGHTS

__all__ = ["SPLITS", "Hits", "announce", "check_nodes", "edge_counts", "state_of", "weight_counts"]

SPLITS = ("val", "test")


class Hits:
    """Right predictions of every split, added up.

    Attributes:
        counts: split to right ones and all.
    """

    def __init__(self) -> None:
        self.counts = dict.fromkeys(SPLITS, (0, 0))

    def add(self, prediction: np.ndarray, y: np.ndarray, splits: Mapping[str, np.ndarray]) -> None:
        """Count some nodes: their predictions and labels (n,), and which of them are in each split."""
        right = prediction == y
        for split, chosen in splits.items():
            hits, total = self.counts[split]
            self.counts[split] = hits + int(right[chosen].sum()), total + int(chosen.sum())

    def merge(self, counts: Iterable[Mapping[str, tuple[int, int]]]) -> None:
        """Become the sum of what several processes counted."""
        found = list(counts)
        for split in self.counts:
            self.counts[split] = sum(one[split][0] for one in found), sum(one[split][1] for one in found)

    def accuracy(self) -> dict[str, float] | None:
        """Split to the share of right ones; None if nothing was counted."""
        if not any(total for _, total in self.counts.values()):
            return None
        return {split: hits / total if total else float("nan") for split, (hits, total) in self.counts.items()}


def state_of(ticket: Ticket) -> tuple[str, dict[str, Tensor]]:
    """The trained weights of a ticket (`trained`), or the rewound ones (`rewound`) if it has no others."""
    return ("rewound", ticket.weights) if ticket.trained is None else ("trained", ticket.trained)


def check_nodes(found: Find) -> None:
    """Refuse tickets that do not classify nodes.

    Raises:
        UsageError: naming the task of the ticket.
    """
    if found.task.kind != "nodes":
        raise UsageError(
            f"glt infer predicts labels of nodes; found a ticket of --task.kind {found.task.kind}. glt eval measures it"
        )


def announce(
    console: Console, name: str, nodes: int, seconds: float, choices: list[str], state: str, hits: Hits
) -> None:
    """One line of result, and a warning where weights are not trained."""
    if state == "rewound":
        console.warning("the ticket has no trained weights; these are predictions of its rewound ones")
    found = hits.accuracy()
    scores = f", validation {found['val']:.1%}, test {found['test']:.1%}" if found else ""
    ran = ", ".join(dict.fromkeys(choices))
    console.line(f"{name}: {nodes:,} nodes in {seconds:.3f} s on {ran}; {state} weights{scores}")


def weight_counts(ticket: Ticket) -> dict[str, float]:
    """Weights of the network, all and kept."""
    masks = ticket.masks.only(WEIGHTS)
    return {"total": masks.total, "kept": masks.kept, "density": masks.density}


def edge_counts(total: int, kept: int) -> dict[str, float]:
    """Edges, undirected ones once, all and kept."""
    return {"total": total, "kept": kept, "density": kept / total if total else 1.0}
