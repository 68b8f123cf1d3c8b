"""Tasks: what is minimised and what is measured.

A task turns a graph into an objective for the mask engine and into metrics for a reader. Node classification is the
one this release has; link prediction and graph classification will sit beside it with the same three methods.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from glt.data import Graph
from glt.features import Features

__all__ = ["NodeClassification", "Teacher"]


@dataclass(frozen=True)
class Teacher:
    r"""What a network is distilled from: $\lambda\, KL(\mathrm{softmax}(z_T) \,\|\, \mathrm{softmax}(z))$ is added.

    Attributes:
        outputs: (N, classes) logits of the teacher, $z_T$.
        weight: $\lambda$.

    References:
        Hinton, Vinyals and Dean, Distilling the Knowledge in a Neural Network, 2015.
    """

    outputs: Tensor
    weight: float

    def loss(self, outputs: Tensor, rows: Tensor | None = None) -> Tensor:
        """The weighted mean divergence of outputs (N, classes), over all nodes or those of `rows`."""
        known = self.outputs if rows is None else self.outputs[rows]
        found = outputs if rows is None else outputs[rows]
        divergence = nn.functional.kl_div(
            found.log_softmax(1), known.log_softmax(1), reduction="batchmean", log_target=True
        )
        return self.weight * divergence


class NodeClassification:
    """Cross-entropy on the training nodes; accuracy on the validation and test nodes.

    Args:
        graph: features, labels and splits.
        device: where the tensors go.
        whole: compute every node's logits even where few are asked for, so that dropout draws for all of them.
        inductive: withhold the test nodes, with their edges, from all training and validation; they are seen only when
            test accuracy is measured.
    """

    def __init__(
        self, graph: Graph, device: str | torch.device = "cpu", *, whole: bool = False, inductive: bool = False
    ) -> None:
        self.whole = whole
        self.features = Features(graph.x.to(device))
        self.y = graph.y.to(device)
        rows = {split: getattr(graph, split).nonzero().squeeze(1).to(device) for split in ("train", "val", "test")}
        self._train, self._held_out = rows["train"], torch.cat([rows["val"], rows["test"]])
        self._val, self._val_rows = rows["val"].numel(), rows["val"]
        self._withheld = graph.test.to(device) if inductive else None
        self._seen = (~graph.test).nonzero().squeeze(1).to(device) if inductive else None

    def loss(self, model: nn.Module, teacher: Teacher | None = None) -> Tensor:
        """Scalar cross-entropy on the training nodes, in the model's present mode, and what a teacher adds."""
        with self._seeing(model):
            if teacher is None:
                return nn.functional.cross_entropy(self._logits(model, self._train), self.y[self._train])
            logits = model(self.features)
        loss = nn.functional.cross_entropy(logits[self._train], self.y[self._train])
        return loss + teacher.loss(logits, self._seen)

    @torch.no_grad()
    def outputs(self, model: nn.Module) -> Tensor:
        """Logits (N, classes) of all nodes, without dropout; what is withheld has no say in those of the others."""
        mode = model.training
        model.eval()
        with self._seeing(model):
            logits: Tensor = model(self.features)
        model.train(mode)
        return logits

    def objective(self, model: nn.Module) -> Iterator[Tensor]:
        """The engine's `Objective`: one full batch."""
        yield self.loss(model)

    @torch.no_grad()
    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Accuracy in [0, 1] on `val` and `test`, without dropout; the model's mode is left as found.

        Both are NaN where a logit is not finite, so that a diverged network is never the best one.
        """
        mode = model.training
        model.eval()
        logits = self._logits(model, self._held_out)
        if self._withheld is not None:
            with self._seeing(model):
                logits[: self._val] = self._logits(model, self._val_rows)
        model.train(mode)
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
