"""One epoch of a search: a full-batch step on the training loss and what a method adds to it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from common.runs.errors import DivergedError
from glt.methods.search import Search
from glt.models import GraphModel

__all__ = ["epoch"]


def epoch(search: Search, model: GraphModel, optimizer: torch.optim.Optimizer, extra: Tensor | None = None) -> float:
    """Step once, with dropout, and return the loss; gradients stay until the next epoch.

    Args:
        search: task, and the teacher if there is one.
        model: trained in place.
        optimizer: of all or some of its parameters.
        extra: a scalar to add to the loss.

    Raises:
        DivergedError: the loss is not finite; nothing is stepped then.
    """
    model.train()
    model.zero_grad(set_to_none=True)
    loss = search.task.loss(model, search.teacher)
    if extra is not None:
        loss = loss + extra
    value = loss.item()
    if not math.isfinite(value):
        raise DivergedError(
            f"the search of {search.config.method} diverged: found a loss of {value} with lr "
            f"{search.config.training.lr:g}; expected a finite one. Lower --training.lr."
        )
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return value
