"""Node classification: cross-entropy on the training nodes, accuracy on the others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from glt.features import Features
from glt.graph import Graph
from glt.tasks.protocol import Teacher, evaluating, served

__all__ = ["NodeClassification"]


class NodeClassification:
    """Cross-entropy on the training nodes; accuracy on the validation and test nodes.

    Args:
        graph: features, labels and splits.
        device: where the tensors go.
        whole: compute every node's logits even where few are asked for, so that dropout draws for all of them.
        inductive: withhold the test nodes, with their edges, from all training and validation; they are seen only when
            test accuracy is measured.
        full: train on all nodes but those of validation and test, instead of the data set's own training nodes: the
            full-supervised split of deep networks (1,208 training nodes of Cora in place of 140).

    References:
        Chen, Ma and Xiao, FastGCN: Fast Learning with Graph Convolutional Networks via Importance Sampling, ICLR 2018,
        and Rong et al., DropEdge: Towards Deep Graph Convolutional Networks on Node Classification, ICLR 2020 (full).
    """

    metric: str = "accuracy"

    def __init__(
        self,
        graph: Graph,
        device: str | torch.device = "cpu",
        *,
        whole: bool = False,
        inductive: bool = False,
        full: bool = False,
    ) -> None:
        self.whole, self.device = whole, torch.device(device)
        self.features = Features(graph.x.to(device))
        self.y = graph.y.to(device)
        splits = {"train": ~(graph.val | graph.test) if full else graph.train, "val": graph.val, "test": graph.test}
        rows = {split: mask.nonzero().squeeze(1).to(device) for split, mask in splits.items()}
        self._train, self._held_out = rows["train"], torch.cat([rows["val"], rows["test"]])
        self._val, self._val_rows = rows["val"].numel(), rows["val"]
        self._withheld = graph.test.to(device) if inductive else None
        self.seen = (~graph.test).nonzero().squeeze(1).to(device) if inductive else None

    def loss(self, model: nn.Module, teacher: Teacher | None = None) -> Tensor:
        """Scalar cross-entropy on the training nodes, in the model's present mode, and what a teacher adds."""
        with self._seeing(model):
            if teacher is None:
                return nn.functional.cross_entropy(self._logits(model, self._train), self.y[self._train])
            logits = model(self.features)
        loss = nn.functional.cross_entropy(logits[self._train], self.y[self._train])
        return loss + teacher.loss(logits, self.seen)

    def outputs(self, model: nn.Module) -> Tensor:
        """Logits (N, classes) of all nodes, without dropout; what is withheld has no say in those of the others."""
        with torch.no_grad():
            return self.node_outputs(model)

    def node_outputs(self, model: nn.Module) -> Tensor:
        """The same as `outputs`, with gradients where they are on."""
        with self._seeing(model):
            return served(self, model)

    def objective(self, model: nn.Module) -> Iterator[Tensor]:
        """The engine's `Objective`: one full batch."""
        yield self.loss(model)

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Accuracy in [0, 1] on `val` and `test`, without dropout; the model's mode is left as found.

        Both are NaN where a logit is not finite, so that a diverged network is never the best one.
        """
        with evaluating(model):
            logits = self._logits(model, self._held_out)
            if self._withheld is not None:
                with self._seeing(model):
                    logits[: self._val] = self._logits(model, self._val_rows)
        if not bool(logits.isfinite().all()):
            return {"val": float("nan"), "test": float("nan")}
        hits = (logits.argmax(1) == self.y[self._held_out]).float()
        return {"val": float(hits[: self._val].mean()), "test": float(hits[self._val :].mean())}

    def _seeing(self, model: nn.Module) -> AbstractContextManager[None]:
        """The graph as training may see it."""
        return nullcontext() if self._withheld is None else model.edges.without(self._withheld)  # type: ignore[operator,union-attr,return-value]

    def _logits(self, model: nn.Module, rows: Tensor) -> Tensor:
        logits: Tensor = model(self.features)[rows] if self.whole else model(self.features, rows)
        return logits
