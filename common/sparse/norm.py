"""Group normalisation of 16 images side by side, with an activation, into a plane with or without a margin."""

from __future__ import annotations

import numpy as np

from common.sparse.jit import compiled
from common.sparse.layout import Plane
from common.sparse.machine import Machine
from common.sparse.norm_kernel import NAME, text
from common.sparse.team import Team, row, shares

__all__ = ["GroupNorm"]


class GroupNorm:
    """Group normalisation bound to the places of its input and output.

    Args:
        scale, shift: float32, (channels,).
        groups: how many groups of channels.
        epsilon: added to the variance.
        inputs, outputs: 16 images wide; of the same rows and columns.
        silu: whether the activation follows.
        machine: the target; this machine's if not given.
    """

    def __init__(
        self,
        scale: np.ndarray,
        shift: np.ndarray,
        groups: int,
        epsilon: float,
        inputs: Plane,
        outputs: Plane,
        *,
        silu: bool,
        machine: Machine | None = None,
    ) -> None:
        self._scale = np.ascontiguousarray(scale, dtype=np.float32)
        self._shift = np.ascontiguousarray(shift, dtype=np.float32)
        self._groups = groups
        channels = len(scale) // groups
        self._numbers = (channels, inputs.rows, inputs.cols, inputs.size, inputs.pitch, outputs.size, outputs.pitch)
        self._floats = (epsilon, 1 / (channels * inputs.rows * inputs.cols))
        self._start = outputs.origin
        self._code = compiled(text(silu), NAME, machine)

    def run(self, x: int, y: int, team: Team) -> None:
        """Normalise from one address to another; the margin of the output is not touched."""
        where = (x, y + self._start, self._scale.ctypes.data, self._shift.ctypes.data)
        parts = shares(self._groups, team.threads)
        team.run(self._code, [row(*where, *part, *self._numbers, *self._floats) for part in parts])
