r"""What a memory budget buys: blocks of rows, and where the rows that they read come from.

A propagation reads rows of the layer before it, its source. From the best to the thriftiest, the source is

- `held`: in memory already;
- `whole`: loaded from its file;
- `rows`: parts of the output are made one after the other, each from the rows that its edges name, gathered in order;
- `strips`: some columns of all rows are loaded and propagated, then the next; what follows the propagation waits.

The last two fit any graph; which of them moves fewer bytes depends on how far its neighbours lie apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from common.runs.errors import UsageError
from glt._infer_matrix import limited
from glt._kept import AN_EDGE, AN_ENTRY, Kept
from glt._memory import shown
from glt._sorted_keys import distinct

__all__ = ["Job", "Room", "Step", "room", "steps"]

_BLOCK, _LEAST = 16384, 256  # rows of a block, at most and at least
_ENTRIES = 1 << 22
_SLACK = 16 << 20  # windows of files, pieces of edges, weights, and what the allocator keeps
_LINE = 16  # columns of a strip that is not worth splitting: a line of the cache


How = Literal["own", "held", "whole", "rows", "strips"]
"""See above; `own` where nothing is propagated."""
_Choice = tuple[How, int, list[tuple[int, int]]]


@dataclass(frozen=True)
class Job:
    """What is to be computed, in the numbers that memory depends on.

    Attributes:
        nodes: of the graph; `rows` that are computed; `columns`, nodes that these read.
        degree: entries of the fullest row.
        widths: columns of the input and after every stage; `widest`, of anything in between.
        hops: whether each stage propagates.
        given: bytes that the caller's edge weights take until the matrix is made.
        ranks: processes.
    """

    nodes: int
    rows: int
    columns: int
    degree: int
    widths: Sequence[int]
    widest: int
    hops: Sequence[bool]
    given: int
    ranks: int

    @property
    def sources(self) -> list[int]:
        """Widths of what is propagated."""
        return [width for width, hop in zip(self.widths, self.hops, strict=False) if hop]


@dataclass(frozen=True)
class Room:
    """A budget, divided.

    Attributes:
        rows, entries: of a block, at most.
        free: bytes for sources, outputs and the matrix.
        making: bytes for a band of the matrix.
    """

    rows: int
    entries: int
    free: float
    making: float

    def holds(self, job: Job, entries: int) -> bool:
        """Whether a matrix of so many entries stays in memory: a source comes first."""
        whole = max((4 * job.columns * width for width in job.sources), default=0)
        return AN_ENTRY * entries <= max(self.free - whole, min(self.free / 4, self.free - _least_source(job)))


def room(job: Job, memory: float) -> Room:
    """Divide a budget.

    Args:
        job: what is computed.
        memory: bytes; infinity for no budget.

    Raises:
        UsageError: it does not suffice; says what would.
    """
    making = memory - _SLACK - job.given - 64 * job.nodes
    fixed = _SLACK + 16 * job.rows + (16 * job.nodes if job.ranks > 1 else 0)
    least = min(_LEAST, job.rows)
    source = _least_source(job)
    for share in (memory / 8, 0):
        rows = int(max(least, min(_BLOCK, share / _a_row(job))))
        entries = int(max(job.degree, min(_ENTRIES, share / (3 * AN_ENTRY))))
        free = memory - fixed - _block(job, rows, entries)
        if free >= source and making >= AN_EDGE * job.degree:
            return Room(rows, entries, free, making)
    passing = fixed + _block(job, least, job.degree) + source
    needed = max(passing, memory - making + AN_EDGE * job.degree)
    raise UsageError(
        f"--memory {shown(memory)} is too little: {job.nodes:,} nodes with up to {max(job.widths)} columns need at "
        f"least {shown(needed)}. Give more, or start more processes by torchrun"
    )


def _a_row(job: Job) -> int:
    return 16 * job.widest  # a row of the input, of what a stage makes of it, and of two in between


def _block(job: Job, rows: int, entries: int) -> int:
    return rows * _a_row(job) + 3 * AN_ENTRY * entries


def _least_source(job: Job) -> int:
    """What the thriftier way takes in every stage."""
    return max(
        (min(4 * job.columns * min(width, _LINE), 4 * job.degree * width + _marks(job)) for width in job.sources),
        default=0,
    )


def _marks(job: Job) -> int:
    return 9 * job.columns


@dataclass(frozen=True)
class Step:
    """How a stage is computed.

    Attributes:
        source: where its rows come from.
        strip: columns that are loaded at once.
        held: whether its output stays in memory.
        parts: ranges of rows that are made from one source.
    """

    source: How
    strip: int
    held: bool
    parts: list[tuple[int, int]]


def steps(job: Job, space: Room, kept: Kept) -> list[Step]:
    """A step for every stage."""
    free = space.free - (AN_ENTRY * kept.entries if kept.held else 0)
    found: list[Step] = []
    held = False  # the layer before
    for number, hop in enumerate(job.hops):
        width, out = job.widths[number], job.widths[number + 1]
        how, strip, parts = _source(job, space, kept, width, free, held) if hop else _own(job, width)
        used = 4 * job.columns * width if how in ("held", "whole") else free if hop else 0
        output = 4 * out * (job.columns if job.ranks > 1 else job.rows)
        held = number + 1 < len(job.hops) and used + output <= free
        found.append(Step(how, strip, held, parts))
    return found


def _own(job: Job, width: int) -> _Choice:
    return "own", width, [(0, job.rows)]


def _source(job: Job, space: Room, kept: Kept, width: int, free: float, held: bool) -> _Choice:
    whole = [(0, job.rows)]
    size = 4 * job.columns * width
    if held or size <= free:
        return "held" if held else "whole", width, whole
    strip = int(free // (4 * job.columns))
    strip = min(width, strip // _LINE * _LINE)
    count = -(-width // strip) if strip else 0
    moved = size + 8 * job.rows * width + (count - 1) * AN_ENTRY * kept.entries if strip else np.inf
    most = (moved - 2 * AN_ENTRY * kept.entries) / (8 * width)
    found = _parts(kept, space, int((free - _marks(job)) // (4 * width)), most)
    if found is not None:
        return "rows", width, found
    return "strips", strip, whole


def _parts(kept: Kept, space: Room, limit: int, most: float) -> list[tuple[int, int]] | None:
    """Ranges of rows that read at most `limit` others each; None if that cannot be, or if they read too many in all."""
    stamp = np.full(kept.columns, -1, np.int32)
    found, begin, size, total = list[tuple[int, int]](), 0, 0, 0
    rows = len(kept.pointers) - 1
    for start, stop in limited(kept.pointers, 0, rows, space.rows, min(limit, space.entries)):
        if total + size > most:
            return None
        columns = distinct(kept.indices(start, stop))
        fresh = columns[stamp[columns] != len(found)]
        if size + len(fresh) > limit:
            found.append((begin, start))
            begin, size, total, fresh = start, 0, total + size, columns
        if len(fresh) > limit:
            return None
        stamp[fresh] = len(found)
        size += len(fresh)
    return [*found, (begin, rows)] if total + size <= most else None
