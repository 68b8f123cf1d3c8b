"""A sparse layer at work: its input brought to where the kernels want it, its sums, its output."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from torch import Tensor

from common.sparse.geometry import Stage, output_size, parts, stage
from common.sparse.layout import Plane
from common.sparse.machine import Machine
from common.sparse.memory import Pool, over
from common.sparse.norm import Norm, Normalise
from common.sparse.summation import Sum
from common.sparse.team import Team
from common.sparse.transfer import move
from common.sparse.weights import Kept

__all__ = ["Layer", "Where", "plane_of"]

_LENT = "residual of the layer at work"


@dataclass
class Where:
    """What a forward runs on: kernels for a machine, threads, memory."""

    machine: Machine
    team: Team
    pool: Pool = field(default_factory=Pool)


def plane_of(x: Tensor) -> Plane | None:
    """The plane that (images, channels, rows, columns) lie in without a margin, or None if they lie otherwise."""
    images, _, rows, cols = x.shape
    spacing = x.stride(1) * 4
    plane = Plane(rows, cols, images, spacing=spacing)
    fits = all(n == 1 or a == b for n, a, b in zip(x.shape, x.stride(), plane.strides, strict=True))
    near = x.shape[1] == 1 or spacing >= plane.pitch * rows
    aligned = images == 1 or (spacing % 64 == 0 and x.data_ptr() % 64 == 0)
    return plane if fits and near and aligned else None


class Layer:
    """A convolution, transposed convolution or linear layer over tokens, over its non-zeros.

    Kernels are packed when a size of the input is first seen, and kept.

    Args:
        weight: shaped as torch has it: (outputs, inputs / groups, rows, columns), transposed (inputs, outputs / groups,
            rows, columns), or (outputs, inputs).
        options: of the step `sparse.conv`.
    """

    def __init__(self, weight: Kept | Tensor, options: Mapping[str, Any]) -> None:
        shape = (*weight.shape, *[1] * (4 - len(weight.shape)))
        self._weight, self._shape = weight, shape
        self._options = dict(options)
        self.kernel = shape[2], shape[3]
        self.channels = shape[1] * options["groups"] if options.get("transposed") else shape[0]
        self._sums: dict[Any, list[Sum]] = {}
        self._norms: dict[Any, Normalise] = {}

    def weight(self) -> Tensor:
        """The dense weight, of four dimensions."""
        dense = self._weight.dense() if isinstance(self._weight, Kept) else self._weight
        return dense.reshape(self._shape)

    def size(self, rows: int, cols: int) -> tuple[int, int]:
        """Rows and columns of the output for those of an input."""
        return output_size(self._options, self.kernel, rows, cols)

    def run(self, x: Tensor, y: Tensor, bias: Tensor, residual: Tensor | None, norm: Norm | None, where: Where) -> None:
        """Compute the layer.

        Args:
            x: (images, channels, rows, columns), images 16 or 1.
            y: the output, in a plane (see `plane_of`).
            bias: (outputs, 16), or (outputs, 1) to be spread over 16.
            residual: of the output's shape, to be added; or None.
            norm: applied to the input before its padding; or None.
            where: the machine, its threads and memory.
        """
        source, address = self._staged(x, norm, where)
        target = plane_of(y)
        if target is None:
            raise ValueError(f"an output with strides {y.stride()}; expected a plane")
        if residual is not None and (residual.stride() != y.stride() or residual.data_ptr() % 64):
            where.pool.own(_LENT, memory := where.pool.take(y.shape[1] * target.size // 4))
            residual = over(memory, len(y), y.shape[1], target).copy_(residual)
        key = (source, target)
        if key not in self._sums:
            size, groups = (y.shape[2], y.shape[3]), self._options["groups"]
            dense = self.weight().numpy()
            self._sums[key] = [
                Sum(np.ascontiguousarray(p.weight), p.inputs, p.outputs, p.size, groups=groups, dilation=p.dilation,
                    slope=self._options.get("slope"), machine=where.machine)
                for p in parts(dense, self._options, source, target, size)
            ]  # fmt: skip
        for part in self._sums[key]:
            spread = bias.expand(-1, part.lanes).contiguous() if bias.shape[1] == 1 else bias
            part.run(
                address, y.data_ptr(), spread.data_ptr(), None if residual is None else residual.data_ptr(), where.team
            )
        where.pool.release(_LENT)

    def normalise(self, norm: Norm, found: Plane, target: Plane, where: Where, *, double: bool = False) -> Normalise:
        """The kernel of the normalisation before the layer, between two places."""
        key = (found, target)
        if key not in self._norms:
            self._norms[key] = norm.kernel(found, target, where.machine, double=double)
        return self._norms[key]

    def _staged(self, x: Tensor, norm: Norm | None, where: Where) -> tuple[Stage, int]:
        """Where the kernels find the input, and the address of its first channel."""
        images, channels, rows, cols = x.shape
        wanted = stage(self._options, self.kernel, rows, cols, images)
        found = plane_of(x)
        bare = (
            wanted.plane.margin == (0, 0, 0, 0) and wanted.phases == 1 and not wanted.double and wanted.spread == (1, 1)
        )
        if bare and norm is None and found is not None:
            return Stage(found), x.data_ptr()
        memory = where.pool.stage((wanted, rows, cols), channels * wanted.phases * wanted.plane.size // 4)
        if (norm is not None or wanted.double) and images > 1 and found is not None:
            kernel = self.normalise(norm or Norm.nothing(channels), found, wanted.plane, where, double=wanted.double)
            kernel.run(x.data_ptr(), memory.data_ptr(), where.team)
        else:
            wanted.write(
                memory, x if norm is None else norm.plain(x), partial(move, machine=where.machine, team=where.team)
            )
        return wanted, memory.data_ptr()
