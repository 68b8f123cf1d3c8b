"""One stage of inference over all rows, block by block, from a source that need not be in memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from glt._blocks import Room, Step
from glt._infer_backends import engines, quickest
from glt._infer_matrix import limited
from glt._infer_plan import Stage
from glt._infer_steps import Step as Operation
from glt._infer_work import Engine, Scratch, Work
from glt._kept import Kept
from glt._rows import Held, Rows, Spilled
from glt.features import Features

__all__ = ["Block", "Sweeper"]

Block = tuple[int, int, Tensor]
"""First row, first column, and what stands there; its memory is written again for the next one."""


class Sweeper:
    """Runs stages; the back-end of each is chosen on its first block and kept.

    Args:
        kept: the matrix.
        space: sizes of blocks.
        folder: of nameless files.
        backend, threads: see `glt._infer_backends.engines`.

    Attributes:
        choices: the back-end of every stage so far, in order; of one in strips, those of its two halves.
    """

    def __init__(self, kept: Kept, space: Room, folder: Path, backend: str, threads: int) -> None:
        self._kept, self._space, self._folder = kept, space, folder
        self._backend, self._threads = backend, threads
        self._blocks, self._sources = Scratch(), Scratch()
        self._names: dict[tuple[int, bool], str] = {}

    @property
    def choices(self) -> list[str]:
        """See the class."""
        return [name for _, name in sorted(self._names.items()) if name]

    def __call__(self, number: int, stage: Stage, step: Step, source: Rows) -> Iterator[Block]:
        """Compute a stage.

        Args:
            number: of the stage, under which its back-end is remembered.
            stage: what to compute.
            step: how.
            source: the rows before it: of the matrix's columns if it propagates, else of its rows.
        """
        if stage.first is None:
            yield from self._own(number, stage, source)
            return
        width = source.shape[1]
        if step.strip == width:
            yield from self._hop(number, stage, step, source, 0, width)
            return
        middle = Spilled(self._folder, len(self._kept.pointers) - 1, width, step.strip)
        for left in range(0, width, step.strip):
            right = min(left + step.strip, width)
            some = tuple(touch.slim(torch.arange(left, right)) for touch in stage.first.touches)
            part = Stage(Operation(stage.first.op, stage.first.reads, some), ())  # type: ignore[arg-type]
            for row, column, block in self._hop(number, part, step, source, left, right):
                middle.write(row, block.numpy(), column)
        yield from self._own(number, replace(stage, first=None), middle)

    def _own(self, number: int, stage: Stage, source: Rows) -> Iterator[Block]:
        """The products of a stage."""
        engine: Engine | None = None
        rows = source.shape[0]
        for start in range(0, rows, self._space.rows):
            stop = min(rows, start + self._space.rows)
            x = self._loaded(self._blocks, source, slice(start, stop), slice(0, source.shape[1]))
            if not stage.maps:
                yield start, 0, x
                continue
            work = Work(self._blocks, {stage.steps[0].reads: x}, features=Features(x) if stage.given else None)
            engine = engine or self._engine((number, True), stage, work)
            yield start, 0, engine(work)

    def _hop(self, number: int, stage: Stage, step: Step, source: Rows, left: int, right: int) -> Iterator[Block]:
        """A stage on some columns of its source."""
        engine: Engine | None = None
        for begin, end in step.parts:
            x, renumbered = self._source(step, source, begin, end, slice(left, right))
            for start, stop in limited(self._kept.pointers, begin, end, self._space.rows, self._space.entries):
                matrix = self._kept.matrix(start, stop, renumbered, len(x))
                work = Work(self._blocks, {stage.steps[0].reads: x}, matrix)
                engine = engine or self._engine((number, False), stage, work)
                yield start, left, engine(work)

    def _source(
        self, step: Step, source: Rows, begin: int, end: int, columns: slice
    ) -> tuple[Tensor, np.ndarray | None]:
        """What a part of the rows reads, and where in it each column stands, if elsewhere."""
        if isinstance(source, Held) and step.source == "held":
            return torch.from_numpy(source.array), None
        if step.source != "rows":
            return self._loaded(self._sources, source, slice(0, source.shape[0]), columns), None
        seen = np.zeros(source.shape[0], bool)
        for start, stop in limited(self._kept.pointers, begin, end, self._space.rows, self._space.entries):
            seen[self._kept.indices(start, stop)] = True
        wanted = np.flatnonzero(seen)
        number = np.zeros(len(seen), np.int32)
        number[wanted] = np.arange(len(wanted), dtype=np.int32)
        return self._loaded(self._sources, source, wanted, columns), number

    def _loaded(self, scratch: Scratch, source: Rows, rows: slice | np.ndarray, columns: slice) -> Tensor:
        count = rows.stop - rows.start if isinstance(rows, slice) else len(rows)
        x = scratch.take(count, columns.stop - columns.start)
        source.load(x.numpy(), rows, columns)
        return x

    def _engine(self, key: tuple[int, bool], stage: Stage, work: Work) -> Engine:
        candidates = engines(stage, self._backend, self._threads)
        if key not in self._names:
            self._names[key] = quickest(candidates, work)
        return candidates[self._names[key]]
