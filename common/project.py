r"""Weights projected onto the L0 ball after every step: few are non-zero at any time, and which ones may change.

With `masked` a pruned weight is gone for good; here gradients and optimizer state stay dense, so that a weight which
was zeroed may return at a later step. What is left at the end is a mask found in one training.

Tensors whose initial weights are small can lose all of them to the others at the first step, and then never come back:
layer collapse (Tanaka et al., Pruning neural networks without any data by iteratively conserving synaptic flow, NeurIPS
2020). A share that every tensor keeps prevents it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook

from common.masks import Masks, prunable
from common.select import kth_largest, top_counts, top_k

__all__ = ["Projection", "projected"]


class Projection:
    """What `projected` yields: how many weights stay, and at the end which.

    Attributes:
        kept: how many entries of all tensors together are not zero after a step.
    """

    def __init__(self, params: Mapping[str, nn.Parameter], density: float, least: float = 0.0) -> None:
        total = sum(p.numel() for p in params.values())
        self.kept = round(density * total)
        if not 0 < density <= 1 or self.kept < 1:
            raise ValueError(
                f"density is {density:g}; it must lie in (0, 1] and keep at least one of {total:,} weights"
            )
        if not 0 <= least <= 1:
            raise ValueError(f"least is {least:g}; it must lie in [0, 1]")
        self._params = dict(params)
        self._least = {name: int(least * density * p.numel()) for name, p in params.items()}
        self._ids = {id(p) for p in params.values()}

    @property
    def masks(self) -> Masks:
        """The largest weights as they stand: exactly `kept` entries, ties to the first tensor and the lowest index."""
        return self._largest(self._sizes())

    @torch.no_grad()
    def _sizes(self) -> dict[str, Tensor]:
        return {name: p.abs() for name, p in self._params.items()}

    def _largest(self, sizes: Mapping[str, Tensor]) -> Masks:
        counts = self._counts(sizes)
        return Masks({name: top_k(size, counts[name]) for name, size in sizes.items()})

    def _counts(self, sizes: Mapping[str, Tensor]) -> dict[str, int]:
        """How many entries of each tensor stay: the largest of all, but of none fewer than it must keep."""
        free, counts = dict(sizes), dict[str, int]()
        while True:
            found = dict(zip(free, top_counts(list(free.values()), self.kept - sum(counts.values())), strict=True))
            short = [name for name, count in found.items() if count < self._least[name]]
            if not short:
                return counts | found
            for name in short:
                counts[name] = self._least[name]
                del free[name]

    @torch.no_grad()
    def project(self) -> None:
        """Zero all but the `kept` largest weights; where several equal the smallest of them, all of those stay."""
        sizes = self._sizes()
        threshold = kth_largest(list(sizes.values()), self.kept)
        kept = {name: size >= threshold for name, size in sizes.items()}
        if any(int(kept[name].sum()) < few for name, few in self._least.items() if few):
            kept = dict(self._largest(sizes))
        for name, param in self._params.items():
            param.mul_(kept[name])

    def _after(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        if any(id(p) in self._ids for group in optimizer.param_groups for p in group["params"]):
            self.project()


@contextmanager
def projected(
    model: nn.Module, density: float, *, params: Mapping[str, nn.Parameter] | None = None, least: float = 0.0
) -> Iterator[Projection]:
    r"""Project onto $\{w: \|w\|_0 \le k\}$ after every optimizer step inside a block: the k largest weights stay.

    Args:
        model: any module; its weights are left as they are until the first step.
        density: k as a share of all entries, in (0, 1].
        params: the tensors to project, together; by default `prunable(model)`.
        least: what every tensor keeps at least, as a share of what equal densities would leave it, in [0, 1]; 0 as
            published.

    Raises:
        ValueError: the density or `least` is out of range, or the density keeps nothing.

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
    projection = Projection(prunable(model) if params is None else params, density, least)
    handle = register_optimizer_step_post_hook(projection._after)
    try:
        yield projection
    finally:
        handle.remove()
