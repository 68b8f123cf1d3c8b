"""What every task offers to training, methods and reports, and what a network is distilled from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from glt.features import Features

__all__ = ["Task", "Teacher", "evaluating", "served", "still"]


@dataclass(frozen=True)
class Teacher:
    r"""What a network is distilled from: $\lambda\, KL(\mathrm{softmax}(z_T) \,\|\, \mathrm{softmax}(z))$ is added.

    Attributes:
        outputs: what the task's `outputs` gave of the teacher: for classification logits (N, classes), $z_T$.
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


class Task(Protocol):
    """An objective and a metric.

    Attributes:
        metric: what `evaluate` measures, as reports name it: "accuracy" or "AUC".
        features: of all nodes.
        device: where the tensors are.
        seen: (S,) nodes that training may look at; None for all.
    """

    metric: str
    features: Features
    device: torch.device
    seen: Tensor | None

    def loss(self, model: nn.Module, teacher: Teacher | None = None) -> Tensor:
        """Scalar loss on what is there to train on, in the model's present mode, and what a teacher adds."""

    def outputs(self, model: nn.Module) -> Tensor:
        """What a model is distilled by, without dropout."""

    def node_outputs(self, model: nn.Module) -> Tensor:
        """(N, width): what the network gives every node, without dropout: its logits, or its embedding.

        Gradients flow where they are on.
        """

    def objective(self, model: nn.Module) -> Iterator[Tensor]:
        """The engine's `Objective`."""

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """`val` and `test` in [0, 1], larger is better, and perhaps more; NaN where an output is not finite."""


@contextmanager
def still(model: nn.Module) -> Iterator[None]:
    """A model without dropout inside a block; its mode is left as found."""
    mode = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(mode)


def served(task: Task, model: nn.Module) -> Tensor:
    """(N, width): what a network gives every node where it is used, those among them that training may not see.

    It is for rules that judge edges, those of new nodes as they arrive; training must not ask for it. Without dropout;
    gradients flow where they are on.
    """
    with still(model):
        outputs: Tensor = model(task.features)
    return outputs


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """A model without dropout and gradients inside a block; its mode is left as found."""
    with still(model), torch.no_grad():
        yield
