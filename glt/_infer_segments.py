"""Attention, maxima and softmaxes over the rows of a CSR matrix, by torch.

Messages exist for some rows at a time: as many as have about four million numbers, or one row.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from glt._csr import csr
from glt._infer_matrix import Matrix, limited
from glt._infer_products import Product
from glt._infer_steps import Attend, Maximum, Step
from glt._infer_work import Work, finished
from glt.adjacency import Adjacency, Pattern
from glt.convs import aggregate

__all__ = ["attention", "maximum", "softmax_by_edge"]

_NUMBERS = 1 << 22


@dataclass(frozen=True)
class _Block:
    """Some rows of a matrix.

    Attributes:
        rows: which.
        offsets: (rows + 1,) where each begins.
        source: (E,) column of every entry.
        target: (E,) its row, from zero.
        weight: (E, 1) its value.
    """

    rows: slice
    offsets: Tensor
    source: Tensor
    target: Tensor
    weight: Tensor

    @property
    def count(self) -> int:
        """How many rows."""
        return self.offsets.numel() - 1

    def softmax(self, logits: Tensor) -> Tensor:
        """Shares (E, D) of every entry in its row, in proportion to its value times the exponential of its logit."""
        largest = torch.segment_reduce(logits, "max", offsets=self.offsets, axis=0)
        mass = (logits - largest[self.target]).exp_().mul_(self.weight)
        return mass.div_(torch.segment_reduce(mass, "sum", offsets=self.offsets, axis=0)[self.target])


def _blocks(matrix: Matrix, width: int) -> Iterator[_Block]:
    pointers, indices, values = matrix.parts
    entries = max(1, _NUMBERS // max(1, width))
    for start, stop in limited(pointers, 0, matrix.shape[0], entries, entries):
        begin, end = int(pointers[start]), int(pointers[stop])
        offsets = torch.from_numpy(pointers[start : stop + 1]) - begin
        target = torch.arange(stop - start).repeat_interleave(offsets.diff())
        source, weight = torch.from_numpy(indices[begin:end]), torch.from_numpy(values[begin:end])
        yield _Block(slice(start, stop), offsets, source, target, weight.unsqueeze(1))


def attention(step: Step) -> Product:
    """`Attend`: shares of all heads at once, then a product a head."""
    op = cast(Attend, step.op)

    def run(x: Tensor, work: Work) -> Tensor:
        y = work.take(work.there.shape[0], x.size(1), x)
        as_source, as_target = work.values[op.scores].chunk(2, 1)
        as_target = work.own(as_target)
        spans = torch.searchsorted(op.heads, torch.arange(as_source.size(1) + 1)).tolist()
        for block in _blocks(work.there, as_source.size(1)):
            logits = as_source[block.source] + as_target[block.rows][block.target]
            shares = block.softmax(torch.nn.functional.leaky_relu_(logits, op.slope)).T.contiguous()
            for share, left, right in zip(shares, spans, spans[1:], strict=False):
                matrix = csr(block.offsets, block.source, share, (block.count, len(x)))
                if left < right:
                    y[block.rows, left:right] = matrix @ x[:, left:right]
        return finished(y, step.touches, work)

    return run


def maximum(step: Step) -> Product:
    """`Maximum`: of whole edges by segments, of edges that are there in part as `glt.convs.aggregate` has it."""
    own = cast(Maximum, step.op).own

    def run(x: Tensor, work: Work) -> Tensor:
        y = work.take(work.there.shape[0], x.size(1), x)
        for block in _blocks(work.there, x.size(1)):
            y[block.rows] = _expected(block, x) if work.there.soft else _largest(block, x)
        return finished(y.add_(work.own(x), alpha=own) if own else y, step.touches, work)

    return run


def _largest(block: _Block, x: Tensor) -> Tensor:
    found = torch.segment_reduce(x[block.source], "max", offsets=block.offsets, axis=0)
    return found.masked_fill_((block.offsets.diff() == 0).unsqueeze(1), 0.0)


def _expected(block: _Block, x: Tensor) -> Tensor:
    pattern = Pattern(torch.stack([block.source.long(), block.target]), len(x), block.count)
    return aggregate(Adjacency(pattern, block.weight.squeeze(1)), x, "max")


def softmax_by_edge(messages: Tensor, t: float, work: Work) -> Tensor:
    """The mean (R, D) of messages (N, D) by the softmax of t times them: a shift a node, however far they are apart."""
    y = work.take(work.there.shape[0], messages.size(1), messages)
    for block in _blocks(work.there, messages.size(1)):
        sent = messages[block.source]
        shares = block.softmax(sent * t).mul_(sent)
        y[block.rows] = torch.segment_reduce(shares, "sum", offsets=block.offsets, axis=0)
    return y
