r"""Full-graph inference beyond memory and beyond one machine: blocks of rows, within a budget.

The graph stays on disk (`glt.mapped`). Layer by layer, blocks of rows are made from what they read of the layer before,
which is in memory, in a file without a name, or with another process. Products and back-ends are those of `glt.infer`,
and so are the results.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from common.runs.errors import UsageError
from common.scoped import threads as on_threads
from glt._blocks import Job, Room, room, steps
from glt._infer_backends import check_backend
from glt._infer_matrix import Piece, cuts, scales
from glt._infer_network import checked_threads, masked_parameters, steps_of
from glt._infer_plan import plain, planned
from glt._infer_steps import Hop, Program, Propagate
from glt._kept import Kept, counted, keep
from glt._ranks import ALONE, Exchange, Group
from glt._rows import Held, Rows, Spilled, Store, View
from glt._sweep import Block, Sweeper
from glt.mapped import MappedGraph, Numbers

__all__ = ["BlockInference"]

_SPARSE = 0.15  # share of non-zero features under which `Features` multiplies a block of them as CSR


class BlockInference:
    """A network and a graph on disk, prepared to be asked for the logits, some rows at a time.

    Args:
        net: a GCN or an SGC, float32, in eval mode; the other networks read more than the layer before, or by another
            matrix, which is done in memory alone.
        graph: a graph on disk.
        masks: under which the network's present weights are taken: `net.*`, and `edges.weight` (E,) bool.
        weight: (E,) of the edges, in their order on disk; ones if None.
        symmetric: take the mean of both directions' weights, as `glt.edges.Edges`; None does so if undirected.
        memory: bytes for what is in memory at once, beside the interpreter and its libraries; None sets no limit.
        folder: of the nameless files; the system's own for such files if None.
        backend, threads: as for `glt.infer.Inference`.
        group: the processes that share the rows; all of them make the same call.

    Attributes:
        rows: those that this process computes.
        nonzeros, edges: entries of the whole matrix, without and with self-loops left out.
        units: live units at the input and after every layer.
        symmetric: whether weights are the means of both directions.

    Raises:
        TypeError: the network is no GCN or SGC, or normalises other than by batch.
        UsageError: an unknown back-end, fewer than one thread, or too little memory.
        ValueError: a mask without a parameter, or of another shape.

    >>> from glt.mapped import write_graph
    >>> from glt.models import GCN
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     infer = BlockInference(GCN(64, 8, 10).eval(), write_graph("digits", folder), memory=20_000_000)
    ...     sum(len(logits) for _, logits in infer())
    1797
    """

    def __init__(
        self,
        net: nn.Module,
        graph: MappedGraph,
        masks: Mapping[str, Tensor] | None = None,
        *,
        weight: Numbers | None = None,
        symmetric: bool | None = None,
        memory: int | None = None,
        folder: str | Path | None = None,
        backend: str = "auto",
        threads: int | None = None,
        group: Group = ALONE,
    ) -> None:
        check_backend(backend)
        self.threads = checked_threads(threads)
        self._backend, self._group, self._memory = backend, group, math.inf if memory is None else memory
        self._folder = Path(tempfile.gettempdir() if folder is None else folder)
        rest = dict(masks or {})
        numbers = _numbers("edges.weight", rest.pop("edges.weight", None), graph), _numbers("weight", weight, graph)
        holder = nn.Module()
        holder.net = net
        program = steps_of(net, masked_parameters(holder, rest))
        degree = _degree(program, net)
        plan = planned(program, sparse=graph.density < _SPARSE)
        self.units, self._stages = plan.units, plan.stages
        self._inputs = None if plan.inputs is None else plan.inputs.numpy()
        self._width = program.features if self._inputs is None else len(self._inputs)
        self.symmetric = graph.undirected if symmetric is None else symmetric
        pieces = partial(graph.pieces, *numbers, mean=self.symmetric)
        given = sum(array.nbytes for array in numbers if isinstance(array, np.ndarray))
        kept = self._matrix(graph.nodes, pieces, degree, given)
        self._prepare(graph, kept)

    def __call__(self) -> Iterator[tuple[int, Tensor]]:
        """Logits of this process's rows in order: a block's first row and (rows, classes), overwritten by the next.

        Raises:
            OSError: there is no room for the nameless files.
        """
        blocks = self._blocks()
        while True:
            with torch.no_grad(), on_threads(self.threads):  # not while the caller has its turn
                found = next(blocks, None)
            if found is None:
                return
            yield self.rows.start + found[0], found[2]

    def _blocks(self) -> Iterator[Block]:
        """All stages; the blocks of the last."""
        source: Rows = self._inputs_of(self._steps[0].source)
        for number, (stage, step) in enumerate(zip(self._stages, self._steps, strict=True)):
            blocks = self._sweep(number, stage, step, source)
            if number + 1 == len(self._stages):
                yield from blocks
                return
            source = self._layer(blocks, number)

    @property
    def choices(self) -> list[str]:
        """What each stage runs on, in order, once it was called; a stage in strips has two entries."""
        return self._sweep.choices

    @property
    def sources(self) -> list[str]:
        """Where each stage has its rows from, see `glt._blocks`."""
        return [step.source for step in self._steps]

    @property
    def sent(self) -> int:
        """Rows that this process sends to others after a layer."""
        return 0 if self._exchange is None else self._exchange.sent

    def _matrix(self, nodes: int, pieces: Callable[[], Iterator[Piece]], degree: str, given: int) -> Kept:
        """This process's rows of the matrix, once it is known that the memory suffices."""
        counts = np.zeros(nodes, np.int64)
        scale = scales(counted(pieces(), counts), nodes, degree)
        parts = cuts(np.concatenate([[0], np.cumsum(counts + 1)]), self._group.size)
        parts += [(nodes, nodes)] * (self._group.size - len(parts))
        self._ranges = [range(*part) for part in parts]
        self.rows = self._ranges[self._group.rank]
        self._job = self._described(nodes, int(counts.max()) + 1, given)
        self._room = self._agreed(self._job)
        hold = partial(self._room.holds, self._job)
        return keep(pieces, scale, counts, self.rows, folder=self._folder, memory=self._room.making, hold=hold)

    def _described(self, nodes: int, degree: int, given: int) -> Job:
        widths = [self._width]
        for stage in self._stages:
            widths.append(stage.weights[-1].size(0) if stage.maps else widths[-1])
        between = [size for stage in self._stages for weight in stage.weights for size in weight.shape]
        hops = [stage.hop is not None for stage in self._stages]
        widest = max(widths + between)
        return Job(nodes, len(self.rows), nodes, degree, widths, widest, hops, given, self._group.size)

    def _agreed(self, job: Job) -> Room:
        """The division of the budget; all processes fail if one does."""
        found, error = None, None
        try:
            found = room(job, self._memory)
        except UsageError as short:
            error = short
        self._group.together(error)
        return cast(Room, found)

    def _prepare(self, graph: MappedGraph, kept: Kept) -> None:
        self._exchange = None
        if self._group.size > 1:
            self._exchange = Exchange(self._group, self._ranges, kept.wanted())
            kept.renumber(self._exchange.nodes)
            self._job = replace(self._job, columns=kept.columns)
        self._x, self._steps = graph.arrays["x"], steps(self._job, self._room, kept)
        self.nonzeros = sum(self._group.gather(kept.entries))
        self.edges = self.nonzeros - graph.nodes
        self._sweep = Sweeper(kept, self._room, self._folder, self._backend, self.threads)

    def _inputs_of(self, source: str) -> View:
        """The features that the first stage reads."""
        if source == "own":
            return View(self._x, slice(self.rows.start, self.rows.stop), self._inputs)
        some = self._exchange is not None and len(self._exchange.nodes) < self._x.shape[0]
        return View(self._x, self._exchange.nodes if self._exchange and some else None, self._inputs)

    def _layer(self, blocks: Iterator[Block], number: int) -> Store:
        """Keep a stage's output, and what the others have of it, for the next stage."""
        width, held, strip = self._job.widths[number + 1], self._steps[number].held, self._steps[number + 1].strip
        if self._exchange is None:
            return self._filled(self._store(self._job.rows, width, held, strip), blocks)
        whole = self._store(self._job.columns, width, held, strip)
        self._exchange(self._filled(whole, blocks, self._exchange.own.start))
        return whole

    def _filled(self, store: Store, blocks: Iterator[Block], first: int = 0) -> Store:
        """A store with blocks in it, from its row `first` on."""
        for row, column, block in blocks:
            store.write(first + row, block.numpy(), column)
        return store

    def _store(self, rows: int, width: int, held: bool, strip: int) -> Store:
        return Held(rows, width) if held else Spilled(self._folder, rows, width, strip)


def _degree(program: Program, net: nn.Module) -> str:
    """Whose degrees normalise a network that is one chain of products with weights and with one matrix.

    Raises:
        TypeError: it is none.
    """
    kinds = {step.op.kind for step in program.steps if isinstance(step.op, Hop)}
    chain = all(step.reads == number and plain(step.touches)[1] == () for number, step in enumerate(program.steps))
    products = all(isinstance(step.op, Propagate) or not isinstance(step.op, Hop) for step in program.steps)
    if not chain or not products or {kind.how for kind in kinds} != {"symmetric"}:
        raise TypeError(
            f"found the network {type(net).__name__}; expected a GCN or an SGC, without layer normalisation, for "
            "inference in blocks. Others are computed in memory: by glt.infer.Inference, or glt infer without --memory"
        )
    return next(iter(kinds)).degree


def _numbers(name: str, values: Numbers | Tensor | None, graph: MappedGraph) -> Numbers | None:
    """One number an edge.

    Raises:
        ValueError: there are more or fewer.
    """
    array = values.cpu().numpy() if isinstance(values, Tensor) else values
    if array is not None and len(array) != graph.edges:
        raise ValueError(f"found {len(array)} numbers for {name!r}; expected {graph.edges}, one an edge")
    return array
