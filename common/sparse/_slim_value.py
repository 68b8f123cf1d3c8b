"""What `slim` knows of every tensor of a graph: which indices live or die together, and which are constants.

Each index along each dimension of each tensor is a slot with a number. Slots that must be removed together are united;
slot 0 is the one that stays for good.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from common.sparse.program import instances

__all__ = ["Call", "Ids", "Rule", "Site", "Slots", "Value", "across", "along", "unknown", "values"]

Ids = np.ndarray[Any, np.dtype[np.int64]]


class Slots:
    """Numbered slots and the classes they form: union-find on arrays, with the smallest member as the root.

    >>> slots = Slots()
    >>> a, b = slots.new(3), slots.new(3)
    >>> slots.unite(a, b)
    >>> slots.pin(b[:1])
    >>> slots.find(a).tolist()
    [0, 2, 3]
    """

    def __init__(self) -> None:
        self.parent = np.zeros(1, np.int64)

    def new(self, size: int) -> Ids:
        """Numbers of fresh slots (size,); the only index of a dimension of size 1 is pinned."""
        if size == 1:
            return np.zeros(1, np.int64)
        first = len(self.parent)
        fresh = np.arange(first, first + size)
        self.parent = np.concatenate([self.parent, fresh])
        return fresh

    def find(self, ids: Ids) -> Ids:
        """The root of every slot, of the same shape."""
        root = self.parent[ids]
        while not np.array_equal(above := self.parent[root], root):
            root = above
        self.parent[ids] = root
        return root

    def unite(self, a: Ids, b: Ids) -> None:
        """Let the slots of a and b, broadcast against each other, share one fate pair by pair."""
        a, b = np.broadcast_arrays(a, b)
        while True:
            roots_a, roots_b = self.find(a.ravel()), self.find(b.ravel())
            differ = roots_a != roots_b
            if not differ.any():
                return
            low, high = np.minimum(roots_a, roots_b)[differ], np.maximum(roots_a, roots_b)[differ]
            np.minimum.at(self.parent, high, low)

    def pin(self, ids: Ids) -> None:
        """Let slots stay for good."""
        self.unite(ids, np.zeros(1, np.int64))

    def free(self, ids: Ids) -> bool:
        """Whether any of the slots may still go."""
        return bool(self.find(ids).any())


@dataclass
class Value:
    """A tensor of the graph.

    Attributes:
        ids: for every dimension the slots of its indices.
        known: of the tensor's rank, with each dimension in full or of size 1 where nothing varies: the value where
            it is the same for all inputs, NaN elsewhere.
        name: of the parameter or buffer that it is, or "".
    """

    ids: list[Ids]
    known: Tensor
    name: str = ""

    @property
    def shape(self) -> list[int]:
        """The sizes of the tensor."""
        return [len(ids) for ids in self.ids]

    def full(self) -> Tensor:
        """`known` in the tensor's full shape."""
        return self.known.expand(self.shape)


@dataclass
class Site:
    """A place where one dimension's indices are read to compute another's: a convolution's channels, for one.

    Attributes:
        source, target: slots of the indices read (i,) and computed (o,).
        reads: bool (o, i); False where the weight is zero, or the input a constant that can move to the bias.
        constants: (i,), the constants that can move to the bias and 0 elsewhere.
        sums: (o, i), what a constant of 1 adds to each output, or None if no constant differs from zero.
        weight: name of the weight whose layer takes the constants.
    """

    source: Ids
    target: Ids
    reads: np.ndarray[Any, np.dtype[np.bool_]]
    constants: np.ndarray[Any, np.dtype[np.float64]]
    sums: Tensor | None = None
    weight: str = ""


@dataclass
class Call:
    """One operation of the graph with all that a rule needs.

    Attributes:
        op, name: the operation in its out-of-place form, and its name without overload, such as `conv2d`.
        arguments: by their schema names, with `Value`s for tensors; `args`, `kwargs` as they were passed.
        shapes: of the results.
        module: the innermost module whose forward runs it.
        foldable: name of a weight to its module, where that can take constants into its bias.
        unflattened: what the rules note for `Plan.unflattened`.
        refused: what the rules do not know.
    """

    op: Any
    name: str
    arguments: dict[str, Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    shapes: list[list[int]]
    module: nn.Module
    slots: Slots
    sites: list[Site]
    foldable: dict[str, nn.Module]
    unflattened: dict[int, list[Ids]]
    refused: list[str] = field(default_factory=list)

    def __getitem__(self, name: str) -> Any:
        return self.arguments.get(name)

    @property
    def x(self) -> Value:
        """The first tensor."""
        return next(values(self.args))

    def refuse(self, why: str = "") -> list[Value]:
        """Pin everything that comes in; what comes out stays as well."""
        found = list(values((self.args, self.kwargs)))
        if any(self.slots.free(ids) for value in found for ids in value.ids):
            self.refused.append(why or f"aten.{self.name}")
        for value in found:
            for ids in value.ids:
                self.slots.pin(ids)
        return [unknown(shape) for shape in self.shapes]


Rule = Callable[[Call], Value | list[Value]]


def unknown(shape: list[int], ids: list[Ids] | None = None) -> Value:
    """A value of which nothing is known; without slots it stays for good."""
    return Value(ids or [np.zeros(size, np.int64) for size in shape], torch.full([1] * len(shape), torch.nan))


def values(item: Any) -> Iterator[Value]:
    """The values in nested lists, tuples and dictionaries."""
    return instances(item, Value)


def along(value: Value, dim: int) -> Tensor:
    """The constant of each index of a dimension (n,): NaN where it varies along the others or with the input.

    >>> along(Value([np.arange(1), np.arange(2)], torch.tensor([[3.0, torch.nan]])), 1)
    tensor([3., nan])
    """
    known = value.known.movedim(dim, 0)
    rows = known.reshape(known.shape[0], -1)
    low = rows.amin(1)
    return torch.where(low == rows.amax(1), low, torch.nan).expand(value.shape[dim])


def across(vector: Tensor, dim: int, rank: int) -> Tensor:
    """A vector (n,) as a tensor of some rank that varies along one dimension only.

    >>> across(torch.zeros(3), 1, 4).shape
    torch.Size([1, 3, 1, 1])
    """
    return vector.reshape([-1 if i == dim % rank else 1 for i in range(rank)])
