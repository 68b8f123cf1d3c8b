r"""What full-graph inference computes: a list of steps, whatever the network.

A step is an operation on the rows of one value, then touches of its result in place. Value 0 is the features, value k
what step k made. `Multiply` mixes the columns of a node; every other operation leaves each column to itself, so that
values along it have the same live columns. To serve another network, describe it in these in `glt._infer_network`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from glt._infer_matrix import Kind

__all__ = [
    "Affine", "Attend", "Bias", "Elu", "Hop", "LayerNorm", "Maximum", "Multiply", "Plus", "Program", "Propagate",
    "Relu", "Softmax", "Step", "Touch",
]  # fmt: skip

_ROWS = 4096  # nodes whose layer normalisation is a temporary
_Values = Callable[[int], Tensor]


class _Still:
    """A touch or an operation that is the same for whatever columns."""

    def slim(self, _: Tensor) -> _Still:
        """For some columns alone."""
        return self


@dataclass(frozen=True)
class Bias:
    """Add a number a column, (D,)."""

    vector: Tensor

    def __call__(self, y: Tensor, _: _Values) -> None:
        y.add_(self.vector)

    def slim(self, columns: Tensor) -> Bias:
        """For some columns alone."""
        return Bias(self.vector[columns].contiguous())


@dataclass(frozen=True)
class Affine:
    """A scale and a shift a column, (D,) each: normalisation by batch that no weight can take in."""

    scale: Tensor
    shift: Tensor

    def __call__(self, y: Tensor, _: _Values) -> None:
        y.mul_(self.scale).add_(self.shift)

    def slim(self, columns: Tensor) -> Affine:
        """For some columns alone."""
        return Affine(self.scale[columns].contiguous(), self.shift[columns].contiguous())


@dataclass(frozen=True)
class LayerNorm(_Still):
    """Normalisation over all columns of a node, so that none of them can be left out; scale and shift (D,) or None."""

    scale: Tensor | None
    shift: Tensor | None
    eps: float

    def __call__(self, y: Tensor, _: _Values) -> None:
        for part in y.split(_ROWS):
            part.copy_(torch.nn.functional.layer_norm(part, part.shape[1:], self.scale, self.shift, self.eps))


@dataclass(frozen=True)
class Plus(_Still):
    """Add another value: a residual, or the part of a layer that reads the node itself."""

    value: int

    def __call__(self, y: Tensor, values: _Values) -> None:
        y.add_(values(self.value))


@dataclass(frozen=True)
class Relu(_Still):
    """max(y, 0)."""

    def __call__(self, y: Tensor, _: _Values) -> None:
        y.relu_()


@dataclass(frozen=True)
class Elu(_Still):
    """y where positive, exp(y) - 1 elsewhere."""

    def __call__(self, y: Tensor, _: _Values) -> None:
        torch.nn.functional.elu_(y)


Touch = Bias | Affine | LayerNorm | Plus | Relu | Elu
"""What is done to a result in place; `slim` gives the same for some columns, `touch(row, values)` does it."""


@dataclass(frozen=True)
class Multiply:
    r"""$x W^\top$ with a weight (out, in)."""

    weight: Tensor

    def constants(self, known: Tensor) -> Tensor:
        """Outputs for a row (1, in) that is nan where it differs from node to node."""
        unknown = known[0].isnan()
        row = known.nan_to_num(0.0) @ self.weight.T
        return row.masked_fill((self.weight[:, unknown] != 0).any(1), torch.nan)

    def slim(self, inputs: Tensor, outputs: Tensor) -> Multiply:
        """For some columns of what it reads and makes."""
        return Multiply(self.weight[outputs][:, inputs].contiguous())


@dataclass(frozen=True)
class Hop:
    """What reads a node's neighbours.

    Attributes:
        kind: of the matrix whose rows say who they are.
        layer: number of the propagation, where each layer has edges of its own.
    """

    kind: Kind
    layer: int

    def constants(self, known: Tensor) -> Tensor:
        """A zero stays zero; another number may become one that tells the degree."""
        return known.masked_fill(known != 0, torch.nan)

    def slim(self, _: Tensor, __: Tensor) -> Hop:
        """For some columns."""
        return self


@dataclass(frozen=True)
class Propagate(Hop):
    """The product with the matrix: sums, means and normalised sums."""


@dataclass(frozen=True)
class Maximum(Hop):
    """The maximum over neighbours, and so many times the node itself; see `glt.convs` for edges that are half there."""

    own: float


@dataclass(frozen=True)
class Attend(Hop):
    r"""Attention, $\sum_i \alpha_{ij} x_i$, each head over its columns.

    Attributes:
        heads: (D,) the head of every column, sorted.
        scores: the value that holds, (N, 2 heads), what a node adds to logits as a source and as a target.
        slope: of LeakyReLU below zero.
    """

    heads: Tensor
    scores: int
    slope: float

    def slim(self, _: Tensor, outputs: Tensor) -> Attend:
        """For some columns."""
        return replace(self, heads=self.heads[outputs])


@dataclass(frozen=True)
class Softmax(Hop):
    """A node and the softmax of its neighbours in every column; see `glt.convs.GENConv` for the arguments."""

    t: float
    eps: float

    def constants(self, known: Tensor) -> Tensor:
        """Nothing is known: a message of zero is `eps`."""
        return torch.full_like(known, torch.nan)


@dataclass(frozen=True)
class Step:
    """One operation, or none, on a value; then touches."""

    op: Multiply | Hop | None
    reads: int
    touches: tuple[Touch, ...] = ()

    @property
    def others(self) -> list[int]:
        """Values that it reads beside that of its operation."""
        found = [touch.value for touch in self.touches if isinstance(touch, Plus)]
        return [*found, self.op.scores] if isinstance(self.op, Attend) else found


@dataclass
class Program:
    """A network as steps.

    Attributes:
        features: columns of value 0.
        steps: in order; the last one makes the logits.
        layers: values whose live columns are reported, from the features to the logits.
    """

    features: int
    steps: list[Step] = field(default_factory=list)
    layers: list[int] = field(default_factory=lambda: [0])

    def add(self, op: Multiply | Hop | None, reads: int, *touches: Touch) -> int:
        """Append a step; returns the number of what it makes."""
        self.steps.append(Step(op, reads, touches))
        return len(self.steps)

    @property
    def widths(self) -> list[int]:
        """Columns of every value."""
        found = [self.features]
        for step in self.steps:
            found.append(step.op.weight.size(0) if isinstance(step.op, Multiply) else found[step.reads])
        return found

    @property
    def reads(self) -> list[int]:
        """How often every value is read."""
        found = [0] * (len(self.steps) + 1)
        for step in self.steps:
            for value in (step.reads, *step.others):
                found[value] += 1
        return found
