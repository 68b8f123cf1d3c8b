"""Convolutions as sums over offsets: where their input is staged, and which sums make their output.

A convolution reads a padded plane. With one image a vector, a stride along the rows would take every other pixel of a
vector, so such an input is staged as one plane for each remainder of the column. A transposed convolution is one small
convolution for every remainder of the output's row and column (with one image: a convolution over pixels spread out
with zeros).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from common.sparse.layout import Grid, Plane
from common.sparse.memory import over

__all__ = ["Part", "Stage", "output_size", "parts", "stage"]


@dataclass(frozen=True)
class Part:
    """Sums for one grid of output pixels; `weight` is (outputs, inputs / groups, rows, columns)."""

    weight: np.ndarray
    inputs: Grid
    outputs: Grid
    size: tuple[int, int]
    dilation: tuple[int, int] = (1, 1)


@dataclass(frozen=True)
class Stage:
    """A padded copy of a layer's input.

    Attributes:
        plane: of one staged channel, without margins in its columns where there are `phases`.
        phases: staged channels for an input channel, by the column's remainder.
        left: zero columns before the first, where there are `phases`.
        spread: rows and columns from an input pixel to the next, zeros between.
        double: whether every pixel is written twice in both directions.
    """

    plane: Plane
    phases: int = 1
    left: int = 0
    spread: tuple[int, int] = (1, 1)
    double: bool = False

    def write(self, floats: Tensor, x: Tensor, copy: Callable[[Tensor, Tensor], None]) -> None:
        """Bring (images, channels, rows, columns) into flat memory, whose margins are zero and stay so.

        Args:
            floats: the memory.
            x: the layer's input.
            copy: copies its first argument to its second, of the same shape.
        """
        images, channels, rows, cols = x.shape
        staged = over(floats, images, channels * self.phases, self.plane)
        if self.phases > 1:
            x = x.repeat_interleave(2, 2).repeat_interleave(2, 3) if self.double else x
            for phase in range(self.phases):
                first = (phase - self.left) % self.phases
                start = (first + self.left) // self.phases
                found = x[..., first :: self.phases]
                copy(found, staged[:, phase :: self.phases, :, start : start + found.shape[3]])
        elif self.double:
            pairs = staged.unflatten(2, (rows, 2)).unflatten(4, (cols, 2))
            pairs.copy_(x[:, :, :, None, :, None].expand_as(pairs))
        else:
            copy(x, staged[:, :, :: self.spread[0], :: self.spread[1]])


def output_size(options: Mapping[str, Any], kernel: tuple[int, int], rows: int, cols: int) -> tuple[int, int]:
    """Rows and columns that a `sparse.conv` with these options makes of an input.

    >>> options = {"stride": [2, 2], "padding": [1, 1, 1, 1], "dilation": [1, 1]}
    >>> output_size(options, (3, 3), 8, 9)
    (4, 5)
    """
    (a, b), pad = options["stride"], options["padding"]
    if options.get("transposed"):
        extra = options["extra"]
        return (rows - 1) * a - 2 * pad[0] + kernel[0] + extra[0], (cols - 1) * b - 2 * pad[1] + kernel[1] + extra[1]
    scale = 2 if options.get("double") else 1
    high = rows * scale + pad[0] + pad[1] - options["dilation"][0] * (kernel[0] - 1) - 1
    wide = cols * scale + pad[2] + pad[3] - options["dilation"][1] * (kernel[1] - 1) - 1
    return high // a + 1, wide // b + 1


def stage(options: Mapping[str, Any], kernel: tuple[int, int], rows: int, cols: int, images: int) -> Stage:
    """How the input of a layer is staged.

    Raises:
        ValueError: a transposed convolution that cuts off more than its kernel, with one image.
    """
    (down, across), padding = options["stride"], options["padding"]
    if options.get("transposed"):
        size = output_size(options, kernel, rows, cols)
        if images > 1:
            sides = [
                _span(n, *a)
                for n, a in zip((rows, cols), zip(size, kernel, (down, across), padding, strict=True), strict=True)
            ]
            return Stage(Plane(rows, cols, images, (*sides[0], *sides[1])))
        before = [k - 1 - p for k, p in zip(kernel, padding, strict=True)]
        margin = tuple(side for b, e in zip(before, options["extra"], strict=True) for side in (b, b + e))
        if min(margin) < 0:
            raise ValueError(
                f"a transposed convolution with padding {padding} beyond its kernel {kernel}; expected less."
            )
        plane = Plane((rows - 1) * down + 1, (cols - 1) * across + 1, 1, margin)  # type: ignore[arg-type]
        return Stage(plane, spread=(down, across))
    double = bool(options.get("double"))
    rows, cols = (2 * rows, 2 * cols) if double else (rows, cols)
    if images == 1 and across > 1:
        wide = -(-(cols + padding[2] + padding[3]) // across)
        return Stage(
            Plane(rows, wide, 1, (padding[0], padding[1], 0, 0)), phases=across, left=padding[2], double=double
        )
    return Stage(Plane(rows, cols, images, tuple(padding)), double=double)


def parts(
    weight: np.ndarray, options: Mapping[str, Any], source: Stage, target: Plane, size: tuple[int, int]
) -> list[Part]:
    """The sums that make a layer's output.

    Args:
        weight: (outputs, inputs / groups, rows, columns), transposed (inputs, outputs / groups, rows, columns).
        options: of the layer.
        source: where its input is.
        target: the plane of an output channel.
        size: rows and columns of the output.
    """
    (down, across), plane = options["stride"], source.plane
    if not options.get("transposed"):
        dilation = options["dilation"]
        if source.phases > 1:
            weight, across, dilation = _by_phase(weight, dilation[1], source.phases), 1, (dilation[0], 1)
        return [Part(weight, Grid(plane, 0, down, across), Grid(target, target.origin), size, tuple(dilation))]
    groups, kernel = options["groups"], weight.shape[2:]
    weight = (
        weight.reshape(groups, -1, *weight.shape[1:]).swapaxes(1, 2).reshape(-1, weight.shape[0] // groups, *kernel)
    )
    if source.spread != (1, 1) or (down, across) == (1, 1):
        return [Part(weight[:, :, ::-1, ::-1], Grid(plane, 0), Grid(target, target.origin), size)]
    found = []
    for high in _phases(size[0], kernel[0], down, options["padding"][0]):
        for wide in _phases(size[1], kernel[1], across, options["padding"][1]):
            start = plane.origin + high.first * plane.pitch + wide.first * plane.lanes * 4
            grid = Grid(
                target, target.origin + high.output * target.pitch + wide.output * target.lanes * 4, down, across
            )
            piece = weight[:, :, high.taps][:, :, :, wide.taps]
            found.append(Part(piece, Grid(plane, start), grid, (high.count, wide.count)))
    return found


@dataclass(frozen=True)
class _Phase:
    """Every `stride`-th output of one direction: from `output` on, `count` of them, reading from input `first` on."""

    output: int
    count: int
    first: int
    taps: list[int]


def _phases(outputs: int, kernel: int, stride: int, padding: int) -> list[_Phase]:
    found = []
    for remainder in range(stride):
        output = (remainder - padding) % stride
        taps = [tap for tap in reversed(range(kernel)) if tap % stride == remainder]
        if output < outputs:
            first = (output + padding - taps[0]) // stride if taps else 0
            found.append(_Phase(output, -(-(outputs - output) // stride), first, taps))
    return found


def _span(inputs: int, outputs: int, kernel: int, stride: int, padding: int) -> tuple[int, int]:
    """Zeros before the first and after the last input of a transposed convolution along one direction."""
    phases = _phases(outputs, kernel, stride, padding)
    first = min(phase.first for phase in phases)
    last = max(phase.first + max(1, len(phase.taps)) + phase.count - 2 for phase in phases)
    return max(0, -first), max(0, last - inputs + 1)


def _by_phase(weight: np.ndarray, dilation: int, phases: int) -> np.ndarray:
    """The taps of a kernel's columns over planes by the column's remainder."""
    outputs, inputs, rows, cols = weight.shape
    found = np.zeros((outputs, inputs, phases, rows, (cols - 1) * dilation // phases + 1), dtype=weight.dtype)
    for col in range(cols):
        found[:, :, col * dilation % phases, :, col * dilation // phases] = weight[..., col]
    return found.reshape(outputs, inputs * phases, rows, -1)
