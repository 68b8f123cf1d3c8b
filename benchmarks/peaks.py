"""What one core can do at most, measured with the code generator of the sparse runtime.

Three loops: multiply-adds that touch no memory, multiply-adds that each read a vector from the first-level cache, as
the sparse kernels' do, and a sweep over more memory than the caches hold.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from common.sparse.emit import Emitter
from common.sparse.jit import compiled
from common.sparse.machine import host
from common.sparse.summation import buffer
from common.sparse.team import row

__all__ = ["Peak", "peaks"]

_SUMS = 10  # chains of multiply-adds that do not wait for each other
_TURNS = 4  # multiply-adds of a chain in one pass of a loop
_NEAR = 16 << 10  # bytes that lie in any first-level cache
_FAR = 512 << 20  # bytes that lie in no cache


@dataclass(frozen=True)
class Peak:
    """A loop and what one call of it does.

    Attributes:
        call: runs it.
        work: floating-point operations, or bytes, of a call.
    """

    call: Callable[[], object]
    work: float


def peaks(passes: int = 100_000) -> dict[str, Peak]:
    """The loops: `multiply_add` and `load_multiply_add` in operations, `read` in bytes.

    Args:
        passes: of the first two loops, 40 multiply-adds each.

    >>> sorted(peaks(8))
    ['load_multiply_add', 'multiply_add', 'read']
    """
    near, far = buffer(_NEAR // 4), buffer(_FAR // 4)
    far.fill(1.0)  # memory that was never written is one page of zeros, which lies in the cache
    step = _SUMS * _TURNS * host().lanes * 4
    around, sweep = _NEAR // step, _FAR // step
    rounds = max(1, passes // around)
    operations = rounds * around * _SUMS * _TURNS * host().lanes * 2.0
    return {
        "multiply_add": Peak(_loop(near, rounds, around, loads=False), operations),
        "load_multiply_add": Peak(_loop(near, rounds, around, loads=True), operations),
        "read": Peak(_loop(far, 1, sweep, loads=True), float(sweep * step)),
    }


def _loop(memory: np.ndarray, rounds: int, passes: int, *, loads: bool) -> Callable[[], None]:
    """Rounds over memory, 40 vectors a pass; without loads it reads the first one only."""
    lanes = host().lanes
    e = Emitter("peak", ("ptr", "ptr", "i64", "i64"), lanes)
    source, target, last, turns = e.arguments
    factor = e.load(source)
    sums = [e.variable(e.splat(float(i))) for i in range(_SUMS)]
    with e.loop(0, last), e.loop(0, turns) as turn:
        base = e.at(source, e.mul(turn, _SUMS * _TURNS * lanes * 4))
        for index in range(_SUMS * _TURNS):
            x = e.load(e.at(base, index * lanes * 4), align=lanes * 4) if loads else factor
            chain = sums[index % _SUMS]
            e.set(chain, e.fma(x, factor, e.get(chain)))
    for index, chain in enumerate(sums):
        e.store(e.get(chain), e.at(target, index * lanes * 4))
    code, out = compiled(e.text(), "peak"), buffer(_SUMS * lanes)
    held = (row(memory.ctypes.data, out.ctypes.data, rounds, passes), memory, out)
    return lambda: code.call(held[0].ctypes.data)
