r"""Weights projected onto the L0 ball after every step: few are non-zero at any time, and which ones may change.

With `masked` a pruned weight is gone for good; here gradients and optimizer state stay dense, so that a weight which
was zeroed may return at a later step. What is left at the end is a mask found in one training.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook

from common.masks import Masks, prunable
from common.select import kth_largest, top_counts, top_k

__all__ = ["Projection", "projected"]


class Projection:
    """What `projected` yields: how many weights stay, and at the end which.

    Attributes:
        kept: how many entries of all tensors together are not zero after a step.
    """

    def __init__(self, params: Mapping[str, nn.Parameter], density: float) -> None:
        total = sum(p.numel() for p in params.values())
        self.kept = round(density * total)
        if not 0 < density <= 1 or self.kept < 1:
            raise ValueError(
                f"density is {density:g}; it must lie in (0, 1] and keep at least one of {total:,} weights"
            )
        self._params = dict(params)
        self._ids = {id(p) for p in params.values()}

    @property
    def masks(self) -> Masks:
        """The largest weights as they stand: exactly `kept` entries, ties to the first tensor and the lowest index."""
        sizes = {name: p.detach().abs() for name, p in self._params.items()}
        counts = top_counts(list(sizes.values()), self.kept)
        return Masks({name: top_k(size, count) for (name, size), count in zip(sizes.items(), counts, strict=True)})

    @torch.no_grad()
    def project(self) -> None:
        """Zero all but the `kept` largest weights; where several equal the smallest of them, all of those stay."""
        threshold = kth_largest([p.abs() for p in self._params.values()], self.kept)
        for param in self._params.values():
            param.mul_(param.abs() >= threshold)

    def _after(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        if any(id(p) in self._ids for group in optimizer.param_groups for p in group["params"]):
            self.project()


@contextmanager
def projected(
    model: nn.Module, density: float, *, params: Mapping[str, nn.Parameter] | None = None
) -> Iterator[Projection]:
    r"""Project onto $\{w: \|w\|_0 \le k\}$ after every optimizer step inside a block: the k largest weights stay.

    Args:
        model: any module; its weights are left as they are until the first step.
        density: k as a share of all entries, in (0, 1].
        params: the tensors to project, together; by default `prunable(model)`.

    Raises:
        ValueError: the density is out of range, or keeps nothing.

    References:
        Seo, Yun and Yang, TEDDY: Trimming Edges with Degree-based Discrimination Strategy, ICLR 2024.

    >>> model = nn.Linear(4, 1, bias=False)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> with projected(model, 0.5) as projection:
    ...     model(torch.ones(1, 4)).sum().backward()
    ...     optimizer.step()
    >>> int(model.weight.count_nonzero()), projection.masks.kept
    (2, 2)
    """
    projection = Projection(prunable(model) if params is None else params, density)
    handle = register_optimizer_step_post_hook(projection._after)
    try:
        yield projection
    finally:
        handle.remove()
