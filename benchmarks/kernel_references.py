r"""What layers and normalisations must give, in float64.

The surviving weights are visited one by one, so that a pruned weight meets no infinity: 0 * inf is NaN in a dense
convolution and nothing at all in a sparse one. Beside every value comes the magnitude of its terms,
$|b| + |r| + \sum |w||x|$; rounding cannot be off by more than (non-zeros + 4) 2^-24 of it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from common.sparse.geometry import output_size
from common.sparse.norm import Norm

__all__ = ["NORM_ERROR", "normalised", "reference"]

NORM_ERROR = 1e-5
"""How far a normalisation may be off, relative to the magnitude of its terms."""


def reference(
    x: Tensor, weight: Tensor, options: dict[str, Any], bias: Tensor, residual: Tensor | None, norm: Norm | None
) -> tuple[np.ndarray, np.ndarray, float]:
    """Output, its magnitude and how far rounding can be off relative to that, by a loop over the surviving weights."""
    values, sizes = normalised(x, norm) if norm else (x.double().numpy(), x.double().abs().numpy())
    shift = bias.double().numpy().T[:, :, None, None]
    added = np.zeros(1) if residual is None else residual.double().numpy()
    dense = weight.double().numpy()
    with np.errstate(invalid="ignore"):
        y = _sums(values, dense, options) + shift + added
        magnitude = _sums(sizes, np.abs(dense), options) + np.abs(shift) + np.abs(added)
        y = _activated(y, options["slope"])
    return y, magnitude, (dense[0].size * len(dense) + 4) * 2.0**-24 + (NORM_ERROR if norm else 0.0)


def _sums(x: np.ndarray, weight: np.ndarray, options: dict[str, Any]) -> np.ndarray:
    """A convolution in float64, surviving weight by surviving weight."""
    (down, across), groups, turned = options["stride"], options["groups"], options.get("transposed")
    rows, cols = output_size(options, weight.shape[2:], *x.shape[2:])
    outputs = weight.shape[1] * groups if turned else len(weight)
    y = np.zeros((len(x), outputs, rows, cols))
    if turned:
        top, left = options["padding"]
        high, wide = (
            (x.shape[2] - 1) * down + weight.shape[2] + down,
            (x.shape[3] - 1) * across + weight.shape[3] + across,
        )
        whole = np.zeros((len(x), outputs, max(high, rows + top), max(wide, cols + left)))
        for i, o, r, c in np.argwhere(weight):
            o += i // (len(weight) // groups) * weight.shape[1]
            part = whole[:, o, r : r + x.shape[2] * down : down, c : c + x.shape[3] * across : across]
            part += weight[i, o % weight.shape[1], r, c] * x[:, i]
        return whole[:, :, top : top + rows, left : left + cols]
    x = x.repeat(2, axis=2).repeat(2, axis=3) if options.get("double") else x
    (top, bottom, left, right), (tall, broad) = options["padding"], options["dilation"]
    x = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
    for o, i, r, c in np.argwhere(weight):
        source = x[:, i + o // (outputs // groups) * weight.shape[1], r * tall :: down, c * broad :: across]
        y[:, o] += weight[o, i, r, c] * source[:, :rows, :cols]
    return y


def normalised(x: Tensor, norm: Norm) -> tuple[np.ndarray, np.ndarray]:
    """A normalisation in float64, and the magnitude of its terms."""
    grouped = x.double().numpy().reshape(len(x), norm.groups, -1)
    scale, shift = (value.double().numpy()[:, None, None] for value in (norm.scale, norm.shift))
    with np.errstate(invalid="ignore", over="ignore"):
        mean, most, spread = 0.0, np.abs(grouped), 1.0
        if not norm.fixed:
            mean, most = grouped.mean(2, keepdims=True), most + most.max(2, keepdims=True)
            spread = np.sqrt(grouped.var(2, keepdims=True) + norm.epsilon)
        y = ((grouped - mean) / spread).reshape(x.shape) * scale + shift
        size = (most / spread).reshape(x.shape) * np.abs(scale) + np.abs(shift)
        if norm.silu:
            return y / (1 + np.exp(-y)), 1.1 * size
        return _activated(y, norm.slope), size


def _activated(y: np.ndarray, slope: float | None) -> np.ndarray:
    """ReLU or leaky ReLU as torch has them: -inf becomes 0 or stays."""
    return y if slope is None else np.where(y < 0, slope * y if slope else 0.0, y)
