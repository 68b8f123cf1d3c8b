"""Graph classification: the mean of its nodes' logits is a graph's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor, nn

from common.runs.errors import UsageError
from glt.features import Features
from glt.graph import GraphSet
from glt.tasks.protocol import Teacher, evaluating, served
from glt.tasks.ranking import auc

__all__ = ["GraphClassification"]


class _Part:
    """Some of the graphs of a set, as a network is asked for them.

    Attributes:
        y: (G,) labels.
    """

    def __init__(self, graph: GraphSet, chosen: Tensor, device: str | torch.device) -> None:
        nodes = chosen[graph.batch].nonzero().squeeze(1)
        of = (chosen.cumsum(0) - 1)[graph.batch[nodes]]
        self.y, self._of = graph.y[chosen].to(device), of.to(device)
        self._nodes = None if bool(chosen.all()) else nodes.to(device)
        self._sizes = torch.bincount(self._of, minlength=self.y.numel()).unsqueeze(1)

    def logits(self, model: nn.Module, features: Features) -> Tensor:
        """(G, classes)."""
        found: Tensor = model(features, self._nodes)
        return found.new_zeros(self.y.numel(), found.size(1)).index_add(0, self._of, found) / self._sizes


class GraphClassification:
    r"""Cross-entropy on the training graphs; accuracy, or AUC of two classes, on those of validation and test.

    The graphs of a set lie side by side as one, whose edges share a budget and are pruned together. A network gives
    every node logits, and a graph has their mean, $z_G = \frac{1}{|G|} \sum_{i \in G} z_i$: where its last map is
    linear, that is the map of the mean of what it reads. Edges of validation and test graphs get no gradient from the
    loss, so a method that scores edges by training alone knows nothing of theirs.

    Args:
        graph: the set.
        device: where the tensors go.
        metric: "accuracy", or "AUC" of the second class.
        inductive: distil on training and validation graphs alone; without distillation, test graphs have no part in
            training anyway, but in the statistics of batch normalisation.

    Raises:
        UsageError: AUC of other than two classes, or of a part that has but one of them.
    """

    def __init__(
        self,
        graph: GraphSet,
        device: str | torch.device = "cpu",
        *,
        metric: Literal["accuracy", "AUC"] = "accuracy",
        inductive: bool = False,
    ) -> None:
        self.metric: str = metric
        self.device, self.features = torch.device(device), Features(graph.x.to(device))
        self.seen = (~graph.test)[graph.batch].nonzero().squeeze(1).to(device) if inductive else None
        if metric == "AUC":
            _check_two(graph)
        held_out, known = graph.val | graph.test, ~graph.test if inductive else torch.ones_like(graph.test)
        self._train, self._held_out = _Part(graph, graph.train, device), _Part(graph, held_out, device)
        self._is_val = graph.val[held_out].to(device)
        self._known, self._known_rows = _Part(graph, known, device), known.nonzero().squeeze(1).to(device)
        self._train_of_known = graph.train[known].to(device)
        self._all = _Part(graph, torch.ones_like(known), device)

    def loss(self, model: nn.Module, teacher: Teacher | None = None) -> Tensor:
        """Scalar cross-entropy on the training graphs, in the model's present mode, and what a teacher adds."""
        if teacher is None:
            return nn.functional.cross_entropy(self._train.logits(model, self.features), self._train.y)
        logits = self._known.logits(model, self.features)
        known = Teacher(teacher.outputs[self._known_rows], teacher.weight)
        return nn.functional.cross_entropy(logits[self._train_of_known], self._train.y) + known.loss(logits)

    def outputs(self, model: nn.Module) -> Tensor:
        """Logits (G, classes) of all graphs, without dropout."""
        with evaluating(model):
            return self._all.logits(model, self.features)

    def node_outputs(self, model: nn.Module) -> Tensor:
        """Logits (N, classes) of all nodes, whose means are those of their graphs; gradients flow where on."""
        return served(self, model)

    def objective(self, model: nn.Module) -> Iterator[Tensor]:
        """The engine's `Objective`: one full batch."""
        yield self.loss(model)

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """The metric in [0, 1] on `val` and `test`, without dropout.

        Both are NaN where a logit is not finite, so that a diverged network is never the best one.
        """
        with evaluating(model):
            logits = self._held_out.logits(model, self.features)
        if not bool(logits.isfinite().all()):
            return {"val": float("nan"), "test": float("nan")}
        y, val = self._held_out.y, self._is_val
        return {"val": self._score(logits[val], y[val]), "test": self._score(logits[~val], y[~val])}

    def _score(self, logits: Tensor, y: Tensor) -> float:
        if self.metric == "accuracy":
            return float((logits.argmax(1) == y).float().mean())
        margin = (logits[:, 1] - logits[:, 0]).cpu()
        return auc(margin[y.cpu() == 1], margin[y.cpu() == 0])


def _check_two(graph: GraphSet) -> None:
    for split in ("val", "test"):
        found = graph.y[getattr(graph, split)].unique().numel()
        if graph.classes != 2 or found != 2:
            raise UsageError(
                f"--task.metric AUC needs two classes, with graphs of both in every split; found {graph.classes} "
                f"classes, {found} of them among the {split} graphs of {graph.name}. Use accuracy"
            )
