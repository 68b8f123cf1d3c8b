"""A pruned weight as bits and kept values: what a converted network holds in the place of the dense tensor."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from torch import Tensor

from common.packing import compress, expand, pack, unpack

__all__ = ["Kept"]


@dataclass(frozen=True)
class Kept:
    """The non-zeros of a tensor.

    Attributes:
        shape: of the dense tensor.
        bits: one a weight, as `common.packing.pack` writes them.
        values: float32, the kept ones in row-major order.

    >>> import torch
    >>> kept = Kept.of(torch.tensor([[0.0, 2.0], [3.0, 0.0]]))
    >>> kept.values.tolist(), kept.density, kept.dense().tolist()
    ([2.0, 3.0], 0.5, [[0.0, 2.0], [3.0, 0.0]])
    """

    shape: tuple[int, ...]
    bits: Tensor
    values: Tensor

    @classmethod
    def of(cls, dense: Tensor) -> Kept:
        """The non-zeros of a dense tensor."""
        dense = dense.detach().float()
        mask = dense != 0
        return cls(tuple(dense.shape), pack(mask), compress({"w": dense}, {"w": mask})["w"])

    @property
    def density(self) -> float:
        """The share of the weights that is kept, in [0, 1]."""
        return len(self.values) / max(1, prod(self.shape))

    def dense(self) -> Tensor:
        """The dense tensor, pruned weights zero."""
        mask = unpack({"w": self.bits}, {"w": self.shape})
        return expand({"w": self.values}, mask)["w"]
