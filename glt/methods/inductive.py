r"""ICPG (Sui et al., "Inductive Lottery Ticket Learning for Graph Neural Networks", JCST 2023): a masker of edges.

Masks of a graph's own edges say nothing of another graph. Here a masker, an encoder of nodes and a perceptron of both
ends of an edge, gives every edge the weight $\sigma(s_{ij})$ with which the network computes, and both are trained by
the network's loss. A round ends with the edges of lowest score and the network's smallest weights gone; the network is
rewound, and the masker starts anew. A trained masker is a thing of its own, kept beside its ticket: `Masker.scores`
ranks the edges of any graph with the same features, and so `glt infer TICKET --dataset OTHER` serves graphs that the
search has not seen.

Reimplemented from the paper and the description of its code, not validated against the authors' code. What differs:
the published masks multiply attention after its softmax, here a pruned edge is gone from the denominator too. In
inductive mode the masker learns from, and scores, the seen part of the graph as if there were no other, and the
withheld edges as those of a new graph.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import cast

import torch
from torch import Tensor

from common.apply import gated, masked
from common.masks import Masks, prunable
from common.scoped import seeded
from common.scores import magnitude
from glt.config import Training
from glt.edges import Edges
from glt.link_scores import Given
from glt.masker import Masker, save
from glt.method_settings import Inductive
from glt.methods.search import Choice, Round, Search, diverged_at_once
from glt.models import EDGES, WEIGHTS, GraphModel
from glt.tasks import Task
from glt.training import adam

__all__ = ["Trained", "inductive", "train_masker"]


@dataclass
class Trained(Round):
    """A round, and the masker it leaves; without edges to score there is none."""

    masker: Masker | None = None
    state: dict[str, Tensor] = field(default_factory=dict)


def inductive(search: Search) -> Iterator[Choice]:
    """One training of network and masker a density, each from the initial weights under the masks of the round before.

    References:
        Sui et al., Inductive Lottery Ticket Learning for Graph Neural Networks, JCST 2023.
    """
    config = search.config
    return search.rounds(
        lambda model, live: train_masker(model, live, search.task, config.training, config.inductive, search.seed)
    )


inductive.reference = (  # type: ignore[attr-defined]
    "Sui et al., Inductive Lottery Ticket Learning for Graph Neural Networks, JCST 2023"
)


def train_masker(
    model: GraphModel, masks: Masks, task: Task, training: Training, settings: Inductive, seed: int
) -> Trained:
    """Train network and masker together, from the model's weights, and score edges by masker and weights by size.

    Args:
        model: holds the rewound weights; its weights are trained in place.
        masks: what is still alive; without the edges, the network is trained alone.
        task: objective and metric; only its validation metric can choose the epoch.
        training: weight decay of the network; the masker has none.
        settings: of the method.
        seed: of the masker's weights and of dropout.

    Raises:
        DivergedError: not even the first epoch is finite.
    """
    result, weights = Trained(), masks.only(WEIGHTS)
    with seeded(seed):
        masker = Masker(task.features.shape[1], settings.hidden, settings.encoder).to(task.device)
        view = _View(model.edges, masks.get(EDGES), getattr(task, "seen", None))
        groups: list[dict[str, object]] = [
            {"params": [p for p in model.parameters() if p.requires_grad]},
            {"params": list(masker.parameters()), "lr": settings.masker_lr, "weight_decay": 0.0},
        ]
        optimizer = adam(groups, replace(training, lr=settings.lr))
        with masked(model, weights), gated(model, masks.only(EDGES) if EDGES in masks else {}, Given) as gates:
            for epoch in range(settings.epochs + 1):
                for gate in gates.values():
                    with view.seen():
                        cast(Given, gate).value = torch.sigmoid(masker(task.features, view.edges))
                if epoch and not _keep(result, model, masker, weights, task, last=settings.mask_at == "last"):
                    break
                if epoch < settings.epochs:
                    model.train()
                    optimizer.zero_grad()
                    task.loss(model).backward()  # type: ignore[no-untyped-call]
                    optimizer.step()
    if not result.history:
        raise diverged_at_once("--inductive.lr", settings.lr)
    if EDGES in masks:
        masker.load_state_dict(result.state)
        result.masker, result.scores[EDGES] = masker, view.scores(masker, task)
        result.save = partial(save, masker)
    return result


def _keep(result: Trained, model: GraphModel, masker: Masker, weights: Masks, task: Task, *, last: bool) -> bool:
    """Note the epoch, and what it left if that is asked for or it is the best one yet; False if it is not finite."""
    accuracy = task.evaluate(model)
    if not math.isfinite(accuracy["val"]):
        return False
    if last or accuracy["val"] >= max((h["val"] for h in result.history), default=-1.0):
        result.epoch = len(result.history) + 1
        result.scores = magnitude(model, {name: p for name, p in prunable(model).items() if name in weights})
        result.state = {name: tensor.clone() for name, tensor in masker.state_dict().items()}
    result.history.append(accuracy)
    return True


class _View:
    """The live edges as the masker sees them, with and without the nodes that training must not see."""

    def __init__(self, edges: Edges, mask: Tensor | None, seen: Tensor | None) -> None:
        self.edges = Edges(edges.edge_index.cpu(), edges.num_nodes, symmetric=edges.symmetric).to(edges.weight.device)
        if mask is not None:
            with torch.no_grad():
                self.edges.weight.mul_(mask)
        self.hidden: Tensor | None = None
        if seen is not None:
            self.hidden = torch.ones(edges.num_nodes, dtype=torch.bool, device=seen.device).index_fill_(0, seen, False)

    def seen(self) -> AbstractContextManager[None]:
        return nullcontext() if self.hidden is None else self.edges.without(self.hidden)

    def scores(self, masker: Masker, task: Task) -> Tensor:
        """Seen edges as if there were no others, the others as those of a graph that is new."""
        with self.seen():
            scores = masker.scores(task.features, self.edges)
        if self.hidden is None:
            return scores
        new = self.hidden[self.edges.edge_index].any(0)
        return torch.where(new, masker.scores(task.features, self.edges), scores)
