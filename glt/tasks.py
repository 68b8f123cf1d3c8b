"""Tasks: what is minimised and what is measured.

A task turns a graph into an objective for the mask engine and into metrics for a reader. Node classification is the
one this release has; link prediction and graph classification will sit beside it with the same three methods.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from glt.data import Graph
from glt.features import Features

__all__ = ["NodeClassification"]


class NodeClassification:
    """Cross-entropy on the training nodes; accuracy on the validation and test nodes.

    Args:
        graph: features, labels and splits.
        device: where the tensors go.
        whole: compute every node's logits even where few are asked for, so that dropout draws for all of them.
    """

    def __init__(self, graph: Graph, device: str | torch.device = "cpu", *, whole: bool = False) -> None:
        self.whole = whole
        self.features = Features(graph.x.to(device))
        self.y = graph.y.to(device)
        rows = {split: getattr(graph, split).nonzero().squeeze(1).to(device) for split in ("train", "val", "test")}
        self._train, self._held_out = rows["train"], torch.cat([rows["val"], rows["test"]])
        self._val = rows["val"].numel()

    def loss(self, model: nn.Module) -> Tensor:
        """Scalar cross-entropy on the training nodes, in the model's present mode."""
        return nn.functional.cross_entropy(self._logits(model, self._train), self.y[self._train])

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
        model.train(mode)
        if not bool(logits.isfinite().all()):
            return {"val": float("nan"), "test": float("nan")}
        hits = (logits.argmax(1) == self.y[self._held_out]).float()
        return {"val": float(hits[: self._val].mean()), "test": float(hits[self._val :].mean())}

    def _logits(self, model: nn.Module, rows: Tensor) -> Tensor:
        logits: Tensor = model(self.features)[rows] if self.whole else model(self.features, rows)
        return logits
