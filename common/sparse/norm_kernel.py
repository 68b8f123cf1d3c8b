r"""Normalisation with an activation in one sweep, as LLVM IR, for 16 images side by side.

For every image and group, $y = \mathrm{act}(\gamma_c (x - \mu) / \sqrt{\sigma^2 + \epsilon} + \beta_c)$ (Wu & He, Group
Normalization, ECCV 2018), or with running statistics folded into both, $y = \mathrm{act}(\gamma_c x + \beta_c)$. The
activation is nothing, ReLU with any slope below zero, or $\mathrm{silu}(v) = v / (1 + e^{-v})$. The output may have
a margin, which is left alone, and every pixel may be written twice in both directions: the next convolution's padding
and doubling cost nothing.

Sums run over rows first and then over rows' sums, of distances from the mean of every channel's middle row, so that
float32 suffices even if single values lie far off.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from common.sparse.emit import Emitter
from common.sparse.layout import IMAGES

__all__ = ["KINDS", "NAME", "Kind", "text"]

NAME = "normalise"
KINDS = ("ptr",) * 4 + ("i64",) * 9 + ("float",) * 3
_ALIGN = IMAGES * 4


class Kind(NamedTuple):
    """A variant of the kernel.

    Attributes:
        silu: SiLU follows.
        slope: what values below zero are multiplied with at the end: 0 for ReLU; None for no such activation.
        fixed: scale and shift are all there is; no statistics are taken.
        double: write every pixel as two by two.
    """

    silu: bool = False
    slope: float | None = None
    fixed: bool = False
    double: bool = False


class _Call(NamedTuple):
    """The arguments of the kernel: the numbers are pixels, channels, groups, and bytes between planes and rows."""

    x: Any
    y: Any
    scale: Any
    shift: Any
    first: Any
    last: Any
    channels: Any
    rows: Any
    cols: Any
    plane_in: Any
    pitch_in: Any
    plane_out: Any
    pitch_out: Any
    epsilon: Any
    inverse: Any  # one over the values of a group and image
    inverse_row: Any  # the same of one row a channel


def text(kind: Kind) -> str:
    """The kernel as an IR module: the function `NAME`, with a row of arguments of `KINDS` in the order of `_Call`."""
    e = Emitter(NAME, KINDS, IMAGES)
    call = _Call(*e.arguments)
    with e.loop(call.first, call.last) as group:
        begin = e.mul(group, call.channels)
        end = e.add(begin, call.channels)
        moments = None if kind.fixed else _moments(e, call, begin, end)
        with e.loop(begin, end) as channel:
            slope = e.splat(e.load(e.at(call.scale, e.mul(channel, 4)), e.float))
            offset = e.splat(e.load(e.at(call.shift, e.mul(channel, 4)), e.float))
            if moments is not None:
                mean, spread = moments
                slope = e.build.fdiv(slope, spread)
                offset = e.build.fsub(offset, e.build.fmul(mean, slope))
            with e.loop(0, call.rows) as row:
                _write_row(e, call, kind, (channel, row), (slope, offset))
    return e.text()


def _write_row(e: Emitter, call: _Call, kind: Kind, where: tuple[Any, Any], line: tuple[Any, Any]) -> None:
    """One row of a channel, through the line `slope x + offset` and the activation."""
    channel, row = where
    source = _row(e, call.x, channel, row, call.plane_in, call.pitch_in)
    target = _row(e, call.y, channel, e.mul(row, 2) if kind.double else row, call.plane_out, call.pitch_out)
    with e.loop(0, call.cols) as col:
        at = e.mul(col, _ALIGN)
        value = e.fma(e.load(e.at(source, at), align=_ALIGN), *line)
        if kind.silu:
            value = _silu(e, value)
        elif kind.slope is not None:
            below = e.build.fcmp_ordered("<", value, e.splat(0.0))
            scaled = e.build.fmul(value, e.splat(kind.slope)) if kind.slope else e.splat(0.0)
            value = e.build.select(below, scaled, value)
        first = e.at(target, e.mul(at, 2) if kind.double else at)
        e.store(value, first, _ALIGN)
        if kind.double:
            for place in (e.at(first, _ALIGN), e.at(first, call.pitch_out), e.at(e.at(first, call.pitch_out), _ALIGN)):
                e.store(value, place, _ALIGN)


def _row(e: Emitter, base: Any, channel: Any, row: Any, plane: Any, pitch: Any) -> Any:
    return e.at(base, e.add(e.mul(channel, plane), e.mul(row, pitch)))


def _moments(e: Emitter, call: _Call, begin: Any, end: Any) -> tuple[Any, Any]:
    """Mean and standard deviation (with epsilon) of every image in a group of channels."""
    middle = e.build.lshr(call.rows, e.number(1))
    first = e.load(e.at(call.x, e.mul(begin, call.plane_in)), align=_ALIGN)
    total, _ = _sums(e, call, (begin, end), (middle, e.add(middle, 1)), first, squares=False)
    near = e.fma(total, e.splat(call.inverse_row), first)
    inverse = e.splat(call.inverse)
    total, squares = _sums(e, call, (begin, end), (0, call.rows), near, squares=True)
    away = e.build.fmul(total, inverse)
    variance = e.fma(e.build.fneg(away), away, e.build.fmul(squares, inverse))
    negative = e.build.fcmp_ordered("<", variance, e.splat(0.0))
    variance = e.build.select(negative, e.splat(0.0), variance)
    return e.build.fadd(near, away), e.intrinsic("sqrt", e.build.fadd(variance, e.splat(call.epsilon)))


def _sums(
    e: Emitter, call: _Call, channels: tuple[Any, Any], rows: tuple[Any, Any], origin: Any, *, squares: bool
) -> list[Any]:
    """The sums of distances from an origin in some channels' rows and, if wanted, of their squares."""
    totals = [e.variable(e.splat(0.0)) for _ in range(2)]
    with e.loop(*channels) as channel, e.loop(*rows) as row:
        source = _row(e, call.x, channel, row, call.plane_in, call.pitch_in)
        of_row = [e.variable(e.splat(0.0)) for _ in totals]
        with e.loop(0, call.cols) as col:
            away = e.build.fsub(e.load(e.at(source, e.mul(col, _ALIGN)), align=_ALIGN), origin)
            e.set(of_row[0], e.build.fadd(e.get(of_row[0]), away))
            if squares:
                e.set(of_row[1], e.fma(away, away, e.get(of_row[1])))
        for total, part in zip(totals, of_row, strict=True):
            e.set(total, e.build.fadd(e.get(total), e.get(part)))
    return [e.get(total) for total in totals]


_LOG2E = 1.4426950408889634
_LN2_HIGH, _LN2_LOW = 0.693359375, -2.12194440054690583e-4
_POWERS = tuple(1 / f for f in (5040, 720, 120, 24, 6, 2, 1, 1))  # e^r = sum r^i / i!, for |r| < ln(2) / 2


def _silu(e: Emitter, value: Any) -> Any:
    """v / (1 + exp(-v)); the exponential as 2^n e^r, by shifting n into the exponent's bits."""
    minus = e.build.fneg(value)
    bounded = e.intrinsic("minnum", e.intrinsic("maxnum", minus, e.splat(-87.0)), e.splat(89.0))  # 2^128 is inf
    whole = e.intrinsic("rint", e.build.fmul(bounded, e.splat(_LOG2E)))
    rest = e.fma(whole, e.splat(-_LN2_HIGH), bounded)
    rest = e.fma(whole, e.splat(-_LN2_LOW), rest)
    power = e.splat(_POWERS[0])
    for coefficient in _POWERS[1:]:
        power = e.fma(power, rest, e.splat(coefficient))
    exponent = e.build.add(e.build.fptosi(whole, e.ints), e.splat(127, e.ints))
    factor = e.build.bitcast(e.build.shl(exponent, e.splat(23, e.ints)), e.vector)
    return e.build.fdiv(value, e.fma(power, factor, e.splat(1.0)))
