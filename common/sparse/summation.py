"""A layer's sums over its non-zeros, bound to the places of its input and output: pack once, run many times."""

from __future__ import annotations

import numpy as np

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
        slope: of a leaky ReLU at the end, 0 for ReLU, None for no activation.
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
        slope: float | None = None,
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
        self.lanes, self._machine, self._plane, self._aligned = cut.lanes, machine, outputs.plane.size, images > 1
        self._taps = taps(weight, inputs.plane, groups=groups, dilation=dilation, block=block)
        self._inputs, self._outputs = (
            np.array([grid.at(*start) for start in cut.starts], dtype=np.int32) for grid in (inputs, outputs)
        )
        self._reads = tuple(inputs.at(*step) - inputs.start for step in cut.steps)
        self._writes = tuple(outputs.at(*step) - outputs.start for step in cut.steps)
        self._slope = slope
        self._code: dict[bool, Code] = {}

    def run(self, x: int, y: int, bias: int, residual: int | None, team: Team) -> None:
        """Compute all outputs.

        Args:
            x, y: addresses of input and output.
            bias: address of float32 (channels, lanes).
            residual: address of a tensor of the output's layout to add, which must not be the output; or None.
            team: the threads to use.
        """
        tiles, channels = len(self._inputs), self._taps.channels
        if tiles >= 2 * team.threads or tiles >= channels:
            parts = [(*part, 0, channels) for part in shares(tiles, team.threads)]
        else:
            parts = [(0, tiles, *part) for part in shares(channels, team.threads)]
        rows, scratches = [], []
        for first_tile, last_tile, first, last in parts:
            scratches.append(buffer((last - first) * len(self._reads) * self.lanes))
            fixed = (t.ctypes.data for t in (self._taps.pointers, self._taps.entries, scratches[-1]))
            places = (self._inputs.ctypes.data, self._outputs.ctypes.data)
            sizes = (self._taps.blocks, channels, first, last, self._plane, first_tile, last_tile)
            rows.append(row(x, y, residual or y, bias, *fixed, *places, *sizes))
        team.run(self._compiled(residual is not None), rows)

    def _compiled(self, residual: bool) -> Code:
        if residual not in self._code:
            shape = Shape(
                self.lanes, self._reads, self._writes, aligned=self._aligned, residual=residual, slope=self._slope
            )
            self._code[residual] = compiled(text(shape), NAME, self._machine)
        return self._code[residual]
