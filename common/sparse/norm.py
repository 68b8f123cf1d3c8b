"""Normalisation of 16 images side by side, with an activation, into a plane with or without a margin."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from common.sparse.jit import compiled
from common.sparse.layout import Plane
from common.sparse.machine import Machine
from common.sparse.norm_kernel import NAME, Kind, text
from common.sparse.team import Team, row, shares

__all__ = ["Norm", "Normalise"]


class Norm(NamedTuple):
    """A normalisation of groups of channels, or by fixed numbers a channel, with an activation or none.

    Attributes:
        scale, shift: (channels,).
        groups: of channels; as many as channels if `fixed`.
        epsilon: added to the variance.
        silu, slope, fixed: see `common.sparse.norm_kernel.Kind`.
    """

    scale: Tensor
    shift: Tensor
    groups: int
    epsilon: float = 0.0
    silu: bool = False
    slope: float | None = None
    fixed: bool = False

    @classmethod
    def nothing(cls, channels: int) -> Norm:
        """The one that changes nothing, for the sake of where it writes."""
        return cls(torch.ones(channels), torch.zeros(channels), channels, fixed=True)

    def plain(self, x: Tensor) -> Tensor:
        """By torch, of (images, channels, ...)."""
        if self.fixed:
            scale, shift = (value.view(-1, *[1] * (x.dim() - 2)) for value in (self.scale, self.shift))
            y = x * scale + shift
        else:
            # not functional.group_norm, which refuses a group of one value, as a single image may have
            y = torch.group_norm(x, self.groups, self.scale, self.shift, self.epsilon)
        if self.silu:
            return functional.silu(y)
        if self.slope is None:
            return y
        return functional.leaky_relu(y, self.slope) if self.slope else torch.relu(y)

    def kernel(self, inputs: Plane, outputs: Plane, machine: Machine, *, double: bool = False) -> Normalise:
        """Bound to planes."""
        return Normalise(self, inputs, outputs, machine, double=double)


class Normalise:
    """A normalisation bound to the places of its input and output.

    Args:
        norm: which.
        inputs, outputs: 16 images wide; of the same rows and columns, or twice as many.
        machine: the target.
        double: whether every pixel is written as two by two.
    """

    def __init__(self, norm: Norm, inputs: Plane, outputs: Plane, machine: Machine, *, double: bool = False) -> None:
        self._scale, self._shift = (
            np.ascontiguousarray(value.numpy(), dtype=np.float32) for value in (norm.scale, norm.shift)
        )
        self._groups = norm.groups
        channels = len(self._scale) // norm.groups
        self._numbers = (channels, inputs.rows, inputs.cols, inputs.size, inputs.pitch, outputs.size, outputs.pitch)
        row_of_all = channels * inputs.cols
        self._floats = (norm.epsilon, 1 / (row_of_all * inputs.rows), 1 / row_of_all)
        self._start = outputs.origin
        self._code = compiled(text(Kind(norm.silu, norm.slope, norm.fixed, double)), NAME, machine)

    def run(self, x: int, y: int, team: Team) -> None:
        """Normalise from one address to another; the margin of the output is not touched."""
        where = (x, y + self._start, self._scale.ctypes.data, self._shift.ctypes.data)
        parts = shares(self._groups, team.threads)
        team.run(self._code, [row(*where, *part, *self._numbers, *self._floats) for part in parts])
