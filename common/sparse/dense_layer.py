"""A layer of a sparse network by torch, where too many weights are left, or whole channels are gone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from common.sparse.layer import Layer, Where, plane_of
from common.sparse.layout import Plane
from common.sparse.memory import over
from common.sparse.norm import Norm
from common.sparse.transfer import move
from common.sparse.weights import Kept

__all__ = ["DenseLayer", "live"]

_LENT = "input of the layer at work"


def live(weight: Tensor, options: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    """Indices of the input and of the output channels that have a weight.

    Args:
        weight: as torch has it; (outputs, inputs, ...), transposed (inputs, outputs, ...).
        options: of the step; layers with groups keep all.

    >>> live(torch.tensor([[1.0, 0.0], [0.0, 0.0]]), {"groups": 1})
    (tensor([0]), tensor([0]))
    """
    if options["groups"] > 1:
        inputs = weight.shape[0] if options.get("transposed") else weight.shape[1] * options["groups"]
        outputs = weight.shape[1] * options["groups"] if options.get("transposed") else weight.shape[0]
        return torch.arange(inputs), torch.arange(outputs)
    there = (weight != 0).flatten(2).any(2) if weight.dim() > 2 else weight != 0
    rows, cols = there.any(1).nonzero()[:, 0], there.any(0).nonzero()[:, 0]
    return (rows, cols) if options.get("transposed") else (cols, rows)


class DenseLayer(Layer):
    """`Layer` by torch, on the channels that have weights if the form is `slim`, else on all."""

    def __init__(self, weight: Kept | Tensor, options: Mapping[str, Any]) -> None:
        super().__init__(weight, options)
        self._inputs: Tensor | None = None
        self._outputs: Tensor | None = None
        self._dense = self.weight()
        if options["form"] == "slim":
            self._inputs, self._outputs = live(self._dense, options)
            first, second = self._inputs, self._outputs
            if not options.get("transposed"):
                first, second = second, first
            if options["groups"] == 1:
                self._dense = self._dense[first][:, second].contiguous()

    def run(self, x: Tensor, y: Tensor, bias: Tensor, residual: Tensor | None, norm: Norm | None, where: Where) -> None:
        """Compute the layer; see `Layer.run`."""
        if self._dense.numel():
            found = self._multiplied(self._plain(x, norm, where))
            if self._outputs is not None and len(self._outputs) < self.channels:
                found = found.new_zeros(y.shape).index_copy_(1, self._outputs, found)
            move(found.flatten(2), y.view(*y.shape[:2], -1), where.machine, where.team)
        else:
            y.zero_()
        y.add_(bias.t()[: len(y), :, None, None] if bias.shape[1] > 1 else bias[None, :, :, None])
        if residual is not None:
            y.add_(residual)
        slope = self._options.get("slope")
        if slope is not None:
            functional.leaky_relu_(y, slope) if slope else y.relu_()

    def _plain(self, x: Tensor, norm: Norm | None, where: Where) -> Tensor:
        """The layer's input as torch wants it: normalised, contiguous, doubled, without padding."""
        images, channels, rows, cols = x.shape
        found = plane_of(x)
        if norm is not None and images > 1 and found is not None:
            where.pool.own(_LENT, memory := where.pool.take(channels * (plane := Plane(rows, cols, images)).size // 4))
            self.normalise(norm, found, plane, where).run(x.data_ptr(), memory.data_ptr(), where.team)
            x, norm = over(memory, images, channels, plane), None
        if not x.is_contiguous():
            plain = torch.empty(x.shape)
            wide = x if plane_of(x) is None else x.view(images, channels, -1)
            move(wide, plain.view(wide.shape), where.machine, where.team)
            x = plain
        where.pool.release(_LENT)
        x = x if norm is None else norm.plain(x)
        if self._inputs is not None and len(self._inputs) < channels:
            x = x[:, self._inputs]
        return functional.interpolate(x, scale_factor=2) if self._options.get("double") else x

    def _multiplied(self, x: Tensor) -> Tensor:
        """The product, without bias."""
        o = self._options
        if o.get("transposed"):
            return functional.conv_transpose2d(
                x, self._dense, None, o["stride"], o["padding"], o["extra"], groups=o["groups"]
            )
        top, bottom, left, right = o["padding"]
        if (top, left) != (bottom, right):
            x, top, left = functional.pad(x, (left, right, top, bottom)), 0, 0
        return functional.conv2d(x, self._dense, None, o["stride"], (top, left), o["dilation"], o["groups"])
