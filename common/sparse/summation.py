"""A layer's sums over its non-zeros, bound to the places of its input and output: pack once, run many times."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from torch import Tensor

from common.sparse.jit import Code, compiled
from common.sparse.kernel import NAME, Shape, text
from common.sparse.layout import Grid, tiling
from common.sparse.machine import Machine, host
from common.sparse.taps import depth, taps
from common.sparse.team import Team, row, shares

__all__ = ["Sum", "buffer"]


def buffer(floats: int) -> np.ndarray:
    """Zeroed float32 memory on a boundary of 64 bytes, as the kernels want it."""
    raw = np.zeros(floats + 16, dtype=np.float32)
    start = -raw.ctypes.data // 4 % 16
    return raw[start : start + floats]


class Sum:
    r"""$y_{c,p} = b_c + r_{c,p} + \sum_k w_k x_{p + o_k}$ over the non-zeros of a weight.

    Args:
        weight: float32, (output channels, input channels / groups, kernel rows, kernel columns); zeros are pruned.
        inputs: for every output pixel, the place of the kernel's first tap.
        outputs: the place of every output pixel.
        size: rows and columns of output pixels.
        groups, dilation: of the convolution.
        machine: the target; this machine's if not given.

    Raises:
        ValueError: one image with a stride, which vectors of neighbouring pixels cannot take.
    """

    def __init__(
        self,
        weight: np.ndarray,
        inputs: Grid,
        outputs: Grid,
        size: tuple[int, int],
        *,
        groups: int = 1,
        dilation: tuple[int, int] = (1, 1),
        machine: Machine | None = None,
    ) -> None:
        machine = machine or host()
        images = inputs.plane.lanes
        if images == 1 and (inputs.cols, outputs.cols) != (1, 1):
            raise ValueError("found a stride with one image a vector; expected stride 1, or 16 images. Leave it dense.")
        cut = tiling(*size, images, machine.accumulators)
        high, wide = (1 + max(step[i] for step in cut.steps) for i in (0, 1))
        across = (wide - 1) * inputs.cols + weight.shape[3] + (0 if images > 1 else cut.lanes - 1)
        touched = ((high - 1) * inputs.rows + weight.shape[2]) * across * images * 4
        nonzeros = np.count_nonzero(weight) / max(1, len(weight))
        block = depth(weight.shape[1] * groups, nonzeros, touched)
        self.lanes, self._accumulators, self._plane = cut.lanes, len(cut.steps), outputs.plane.size
        self._taps = taps(weight, inputs.plane, groups=groups, dilation=dilation, block=block)
        self._inputs = np.array([inputs.at(*start) for start in cut.starts], dtype=np.int32)
        self._outputs = np.array([outputs.at(*start) for start in cut.starts], dtype=np.int32)
        displacements = [tuple(grid.at(*step) - grid.start for step in cut.steps) for grid in (inputs, outputs)]
        make = partial(Shape, cut.lanes, *displacements, images > 1)
        self._code: dict[bool, Code] = {}
        self._compile: Callable[[bool], Code] = lambda residual: compiled(text(make(residual)), NAME, machine)

    def run(self, x: int, y: int, bias: int, residual: int | None, team: Team) -> None:
        """Compute all outputs.

        Args:
            x, y: addresses of input and output.
            bias: address of float32 (channels, lanes).
            residual: address of a tensor of the output's layout to add, which must not be the output; or None.
            team: the threads to use.
        """
        code = self._code.get(residual is not None)
        if code is None:
            code = self._code[residual is not None] = self._compile(residual is not None)
        tiles, channels = len(self._inputs), self._taps.channels
        split = tiles >= 2 * team.threads or tiles >= channels
        parts = [(*p, 0, channels) for p in shares(tiles, team.threads)] if split else [
            (0, tiles, *p) for p in shares(channels, team.threads)]  # fmt: skip
        t, size = self._taps, self._accumulators * self.lanes * 4
        rows, scratches = [], []
        for first_tile, last_tile, first, last in parts:
            scratches.append(np.empty((last - first) * size + 64, dtype=np.uint8))
            scratch = scratches[-1].ctypes.data
            rows.append(
                row(
                    x, y, residual or y, bias, t.pointers.ctypes.data, t.entries.ctypes.data, scratch + -scratch % 64,
                    self._inputs.ctypes.data, self._outputs.ctypes.data, t.blocks, channels, first, last, self._plane,
                    first_tile, last_tile,
                )  # fmt: skip
            )
        team.run(code, rows)
