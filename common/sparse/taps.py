"""The non-zeros of a layer as byte offsets and values, in the order in which the kernel visits them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from common.sparse.layout import Plane

__all__ = ["Taps", "depth", "taps"]

_NEAR = 24 << 10  # bytes of input that should stay in the first-level cache beside sums and non-zeros
_FEW = 6  # non-zeros a channel and block below which saving and restoring the sums costs more than it brings


@dataclass(frozen=True)
class Taps:
    """A layer's non-zeros for one place of its input.

    Attributes:
        pointers: int32, blocks * channels + 1: where the non-zeros of a block and channel begin.
        entries: int32, (non-zeros, 2): byte offset, and the bits of a float32 value.
        blocks: how many blocks of input channels.
        channels: how many output channels.
    """

    pointers: np.ndarray
    entries: np.ndarray
    blocks: int
    channels: int


def depth(channels: int, nonzeros: float, touched: int) -> int:
    """How many input channels make a block.

    Args:
        channels: input channels of the layer.
        nonzeros: mean non-zeros of an output channel.
        touched: bytes of one input channel that a tile reads.

    >>> depth(128, 115.2, 3 * 10 * 64), depth(128, 23.0, 3 * 10 * 64)
    (12, 34)
    """
    near = max(1, _NEAR // max(1, touched))
    enough = int(np.ceil(_FEW * channels / nonzeros)) if nonzeros else channels
    return min(channels, max(near, enough, 1))


def taps(
    weight: np.ndarray, plane: Plane, *, groups: int = 1, dilation: tuple[int, int] = (1, 1), block: int | None = None
) -> Taps:
    """The non-zeros of a weight, block by block of input channels and channel by channel within.

    Args:
        weight: float32, (output channels, input channels / groups, kernel rows, kernel columns).
        plane: the layout of an input channel.
        groups: of the convolution.
        dilation: rows and columns between the taps of the kernel.
        block: input channels a block; all of them if not given.

    Raises:
        ValueError: the input is so large that an offset does not fit 31 bits.

    >>> found = taps(np.array([[[[0.0, 2.0]]], [[[3.0, 0.0]]]], np.float32), Plane(1, 2, 16))
    >>> found.pointers.tolist(), found.entries[:, 0].tolist(), found.entries[:, 1].view(np.float32).tolist()
    ([0, 1, 2], [64, 0], [2.0, 3.0])
    """
    outputs, width = weight.shape[:2]
    inputs = width * groups
    if inputs * plane.size >= 1 << 31:
        raise ValueError(
            f"an input of {inputs} channels of {plane.size} bytes; expected less than 2 GiB a batch of {plane.lanes}. "
            "Leave this layer dense."
        )
    channel, source, row, col = np.nonzero(weight)
    values = weight[channel, source, row, col].astype(np.float32)
    source = source + channel // (outputs // groups) * width
    offsets = source * plane.size + row * dilation[0] * plane.pitch + col * dilation[1] * plane.lanes * 4
    block = block or max(1, inputs)
    blocks = max(1, -(-inputs // block))
    keys = source // block * outputs + channel
    order = np.argsort(keys, kind="stable")
    entries = np.empty((len(order), 2), dtype=np.int32)
    entries[:, 0] = offsets[order]
    entries[:, 1] = values[order].view(np.int32)
    pointers = np.zeros(blocks * outputs + 1, dtype=np.int32)
    np.cumsum(np.bincount(keys, minlength=blocks * outputs), out=pointers[1:])
    return Taps(pointers, entries, blocks, outputs)
