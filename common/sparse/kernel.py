r"""The one kernel of the runtime, as LLVM IR: sums of weighted input vectors, kept in registers.

A *vector* is 16 floats: one pixel of 16 images, or 16 neighbouring pixels of one image (then 8 or 4 where a row is
shorter). A *tile* is a handful of output vectors of one channel. For every tile and output channel $c$ the kernel sums
over the non-zeros $k$ of that channel,

$$ y_j = b_c + r_j + \sum_{k} w_k \, x[\mathrm{base} + o_k + d_j], $$

where a non-zero is nothing but a byte offset $o_k$ and a value $w_k$, and $d_j$ are constants of the tile. Kernel size,
padding, stride, dilation, groups and transposition are all in the offsets, so there is no other kernel.

The non-zeros of a channel are visited in blocks of input channels, all output channels of a tile within a block before
the next block. The inputs of a block then stay in the first-level cache, which is what bounds a sparse convolution:
every multiply-add reads one input vector. Between blocks the sums wait in a scratch buffer.

The scheme of offsets follows Park et al., Faster CNNs with Direct Sparse Convolutions and Guided Pruning, ICLR 2017.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from common.sparse.emit import Emitter

__all__ = ["KINDS", "NAME", "Shape", "text"]

NAME = "sparse_sum"
KINDS = ("ptr",) * 9 + ("i64",) * 7


@dataclass(frozen=True)
class Shape:
    """What a compiled kernel has fixed.

    Attributes:
        lanes: floats in a vector.
        inputs: bytes from a tile's input base to the vector of each accumulator.
        outputs: bytes from a tile's output base to the vector of each accumulator.
        aligned: whether every vector lies on a multiple of its size.
        residual: whether a second tensor of the output's layout is added.
        slope: what values below zero are multiplied with at the end: 0 for ReLU; None for no activation.
    """

    lanes: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    aligned: bool
    residual: bool
    slope: float | None = None

    @property
    def align(self) -> int:
        """Bytes on whose multiples vectors of input and output lie."""
        return self.lanes * 4 if self.aligned else 4


def text(shape: Shape) -> str:
    """The kernel as an IR module; its function is `NAME`, and its row of arguments of `KINDS`.

    They are, in order: input, output, residual (unused without one), bias (channels, lanes), pointers (blocks *
    channels + 1, int32), entries (int32 byte offset and float32 value), scratch (last - first, accumulators, lanes),
    byte offsets of the tiles in the input and in the output (int32); then numbers: blocks, channels, first and last
    channel, bytes between output channels, first and last tile.
    """
    e = Emitter(NAME, KINDS, shape.lanes)
    call = _Call(*e.arguments)
    with e.loop(call.tile, call.tile_end) as tile:
        base = e.at(call.x, e.load_int(call.inputs, tile))
        place = e.load_int(call.outputs, tile)
        with e.loop(0, call.blocks) as block:
            first = e.build.icmp_signed("==", block, e.number(0))
            last = e.build.icmp_signed("==", e.add(block, 1), call.blocks)
            with e.loop(call.first, call.last) as channel:
                sums = _begin(e, shape, call, channel, first)
                row = e.add(e.mul(block, call.channels), channel)
                with e.loop(e.load_int(call.pointers, row), e.load_int(call.pointers, e.add(row, 1))) as k:
                    _accumulate(e, shape, call, sums, base, k)
                with e.build.if_else(last) as (store, keep):
                    with store:
                        _store(e, shape, call, sums, channel, place)
                    with keep:
                        for j, variable in enumerate(sums):
                            e.store(e.get(variable), _slot(e, shape, call, channel, j), shape.lanes * 4)
    return e.text()


class _Call(NamedTuple):
    """The arguments of the kernel."""

    x: Any
    y: Any
    residual: Any
    bias: Any
    pointers: Any
    entries: Any
    scratch: Any
    inputs: Any
    outputs: Any
    blocks: Any
    channels: Any
    first: Any
    last: Any
    plane: Any
    tile: Any
    tile_end: Any


def _slot(e: Emitter, shape: Shape, call: _Call, channel: Any, j: int) -> Any:
    """Where a channel's sum waits between blocks."""
    size = shape.lanes * 4
    slot = e.build.sub(channel, call.first)
    return e.at(call.scratch, e.add(e.mul(slot, len(shape.inputs) * size), j * size))


def _begin(e: Emitter, shape: Shape, call: _Call, channel: Any, first: Any) -> list[Any]:
    sums = [e.variable(e.splat(0.0)) for _ in shape.inputs]
    with e.build.if_then(e.build.not_(first)):
        for j, variable in enumerate(sums):
            e.set(variable, e.load(_slot(e, shape, call, channel, j), align=shape.lanes * 4))
    return sums


def _accumulate(e: Emitter, shape: Shape, call: _Call, sums: list[Any], base: Any, k: Any) -> None:
    entry = e.at(call.entries, e.mul(k, 8))
    source = e.at(base, e.load_int(entry, 0))
    weight = e.splat(e.load(e.at(entry, 4), e.float))
    for variable, offset in zip(sums, shape.inputs, strict=True):
        x = e.load(e.at(source, offset), align=shape.align)
        e.set(variable, e.fma(x, weight, e.get(variable)))


def _store(e: Emitter, shape: Shape, call: _Call, sums: list[Any], channel: Any, place: Any) -> None:
    bias = e.load(e.at(call.bias, e.mul(channel, shape.lanes * 4)), align=shape.lanes * 4)
    start = e.add(e.mul(channel, call.plane), place)
    for variable, offset in zip(sums, shape.outputs, strict=True):
        value = e.build.fadd(e.get(variable), bias)
        if shape.residual:
            value = e.build.fadd(value, e.load(e.at(e.at(call.residual, start), offset), align=shape.align))
        if shape.slope is not None:
            below = e.build.fcmp_ordered("<", value, e.splat(0.0))
            scaled = e.build.fmul(value, e.splat(shape.slope)) if shape.slope else e.splat(0.0)
            value = e.build.select(below, scaled, value)
        e.store(value, e.at(e.at(call.y, start), offset), shape.align)
