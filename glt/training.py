"""Full-batch training of a `GraphModel`, as the engine's `Train`: in place, over epochs [start, stop)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import nn

from common.runs.errors import DivergedError
from common.scoped import seeded
from glt.config import Training
from glt.tasks import Task, Teacher

__all__ = ["adam", "trainer"]


def adam(groups: list[dict[str, object]], training: Training) -> torch.optim.Adam:
    """Adam over parameter groups, which may override the weight decay."""
    lr, decay = training.lr, training.weight_decay
    if lr is None or decay is None:
        raise ValueError("training.lr and training.weight_decay are not set; call glt.config.preset() first")
    return torch.optim.Adam(groups, lr=lr, weight_decay=decay)


def trainer(
    task: Task,
    training: Training,
    seed: int,
    *,
    teacher: Teacher | None = None,
    draw_first: Callable[[], object] | None = None,
) -> Callable[[nn.Module, int, int], Mapping[str, float]]:
    """A `Train` that leaves the model at its epoch of best validation accuracy, the first one on ties.

    Args:
        task: objective and metric.
        training: epochs, learning rate, weight decay.
        seed: of dropout.
        teacher: outputs to distil from beside the labels.
        draw_first: called after seeding; the published UGS draws, and drops, a set of weights there.

    Returns:
        Accuracies `val` and `test` in [0, 1] at that epoch, and `epoch`, counted from 1. The trainer raises
        `DivergedError` at the first epoch whose outputs are not finite.
    """

    def train(model: nn.Module, start: int, stop: int) -> Mapping[str, float]:
        optimizer = adam([{"params": [p for p in model.parameters() if p.requires_grad]}], training)
        best: dict[str, float] = {}
        state: dict[str, torch.Tensor] = {}
        with seeded(seed + start):
            if draw_first is not None:
                draw_first()
            for epoch in range(start, stop):
                model.train()
                optimizer.zero_grad()
                task.loss(model, teacher).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                metrics = task.evaluate(model)
                if not math.isfinite(metrics["val"]):
                    raise DivergedError(
                        f"training diverged: found outputs that are not finite after epoch {epoch + 1} with lr "
                        f"{training.lr:g}; expected finite ones. Lower --training.lr."
                    )
                if not best or metrics["val"] > best["val"]:
                    best = {**metrics, "epoch": float(epoch + 1)}
                    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        if state:
            model.load_state_dict(state)
        return best

    return train
