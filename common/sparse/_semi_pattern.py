"""The compressed form of a 2:4 weight: two values of every four, and where they stood."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["GROUP", "KEPT", "TwoOfFour", "fault"]

KEPT, GROUP = 2, 4


@dataclass(frozen=True, eq=False)
class TwoOfFour:
    """A matrix of which at most two in every four consecutive entries of a row are non-zero.

    Attributes:
        values: (rows, columns / 2), two a group of four, in the order of their columns.
        positions: uint8 (rows, columns / 8, rounded up), four bits a group, the first group of two in the low ones: the
            place 0 to 3 of the first value in their lower half, that of the second in their upper half.

    References:
        Mishra et al., Accelerating Sparse Deep Neural Networks, 2021.

    >>> weight = torch.tensor([[0.0, 5.0, 0.0, 6.0]])
    >>> small = TwoOfFour.of(weight, weight != 0)
    >>> small.values.tolist(), small.positions.tolist(), small.dense().tolist()
    ([[5.0, 6.0]], [[13]], [[0.0, 5.0, 0.0, 6.0]])
    """

    values: Tensor
    positions: Tensor

    @classmethod
    def of(cls, weight: Tensor, mask: Tensor) -> TwoOfFour:
        """A weight of two or more dimensions, as the matrix (first, all others), under a bool mask without `fault`."""
        kept = mask.reshape(len(mask), -1, GROUP)
        groups = weight.detach().reshape(kept.shape).masked_fill(~kept, 0)
        order = kept.to(torch.uint8).argsort(dim=2, descending=True, stable=True)
        place = order[..., :KEPT].sort(dim=2).values  # of a group that keeps fewer, some zero's
        nibbles = (place[..., 0] | place[..., 1] << 2).to(torch.uint8)
        pairs = torch.nn.functional.pad(nibbles, (0, nibbles.shape[1] % 2)).unflatten(1, (-1, 2))
        return cls(groups.gather(2, place).flatten(1), pairs[..., 0] | pairs[..., 1] << 4)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the matrix."""
        return self.values.shape[0], self.values.shape[1] // KEPT * GROUP

    def dense(self) -> Tensor:
        """The matrix (rows, columns) with its zeros."""
        rows, columns = self.shape
        nibbles = torch.stack((self.positions & 15, self.positions >> 4), 2).flatten(1)[:, : columns // GROUP]
        place = torch.stack((nibbles & 3, nibbles >> 2), 2).long()
        groups = self.values.new_zeros(rows, columns // GROUP, GROUP)
        return groups.scatter(2, place, self.values.unflatten(1, (-1, KEPT))).flatten(1)


def fault(mask: Tensor) -> str:
    """Why a mask is not 2:4 along its rows (all dimensions but the first), as `n_of_m` counts; nothing if it is.

    >>> fault(torch.tensor([[True, True, True, False]]))
    'its mask keeps 3 of 4 consecutive entries; at most 2 can stay'
    """
    if mask.dim() < 2 or not mask.numel():
        return f"its shape {tuple(mask.shape)} is no matrix"
    row = mask[0].numel()
    if row % GROUP:
        return f"its rows of {row} entries are no multiple of {GROUP}"
    most = int(mask.reshape(-1, GROUP).sum(1).max())
    return "" if most <= KEPT else f"its mask keeps {most} of {GROUP} consecutive entries; at most {KEPT} can stay"
