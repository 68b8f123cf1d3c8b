r"""What full-graph inference computes: dead units gone, products on their cheaper side, layers cut into stages.

A layer is $\hat A X W^\top$. As $\hat A (X W^\top)$ it propagates as many columns as it has outputs, as
$(\hat A X) W^\top$ as many as it has inputs. A stage is one propagation with all node-wise maps up to the next one, so
that a back-end can finish a block of nodes while it is in the cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Compact", "Finish", "Map", "Stage", "compact", "live_units", "propagate_first", "stages"]


@dataclass(frozen=True)
class Finish:
    """What is done to a sum in place: bias (D,), or None, and ReLU."""

    bias: Tensor | None = None
    relu: bool = False


@dataclass(frozen=True)
class Map:
    """A node-wise product with a weight (out, in), and its finish."""

    weight: Tensor
    finish: Finish


@dataclass(frozen=True)
class Stage:
    """One propagation (or none, before the first) with its finish, then maps."""

    hop: bool
    after: Finish
    maps: tuple[Map, ...]

    @property
    def density(self) -> float:
        """The share of the maps' weights that is not zero."""
        total = sum(m.weight.numel() for m in self.maps)
        return sum(int(torch.count_nonzero(m.weight)) for m in self.maps) / max(1, total)


@dataclass(frozen=True)
class Compact:
    """A network without its dead units.

    Attributes:
        features: columns that the caller's features have.
        inputs: indices of those that are read; all of them unless that at least halves them.
        first: (out, features), the first layer's weight with all its inputs, for sparse features.
        weights, biases: as `stages` takes them.
        units: live units at the input and after every layer.
    """

    features: int
    inputs: Tensor
    first: Tensor
    weights: list[Tensor]
    biases: list[Tensor | None]
    units: list[int]


def compact(weights: Sequence[Tensor], biases: Sequence[Tensor | None]) -> Compact:
    """Leave out what cannot matter.

    Args:
        weights: (out, in) of every layer, pruned entries zero.
        biases: (out,) of every layer, or None.

    >>> compact([torch.tensor([[1.0, 0.0], [0.0, 0.0]]), torch.ones(3, 2)], [None, None]).units
    [1, 1, 3]
    """
    live = live_units(weights, biases)
    features = weights[0].size(1)
    inputs = live[0] if 2 * live[0].numel() <= features else torch.arange(features)
    spans = [inputs, *live[1:]]
    return Compact(
        features,
        inputs,
        weights[0][live[1]],
        [w[o][:, i].contiguous() for w, i, o in zip(weights, spans, spans[1:], strict=False)],
        [None if b is None else b[units].contiguous() for b, units in zip(biases, live[1:], strict=True)],
        [units.numel() for units in live],
    )


def live_units(weights: Sequence[Tensor], biases: Sequence[Tensor | None]) -> list[Tensor]:
    """Indices of the units that matter, at the input and after every layer; at least one is kept everywhere.

    A unit is dead if no weight leads from it to a live unit. A hidden one is dead, too, if no weight leads to it from a
    live unit and ReLU makes its bias zero; with a positive bias it still tells its neighbours their degree.

    Args:
        weights: (out, in) of every layer, pruned entries zero.
        biases: (out,) of every layer, or None.

    >>> first, second = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]), torch.tensor([[1.0, 0.0, 1.0]])
    >>> [units.tolist() for units in live_units([first, second], [None, None])]
    [[0], [0], [0]]
    """
    there = [weight != 0 for weight in weights]
    alive = [torch.ones(t.size(1), dtype=torch.bool) for t in there]
    alive.append(torch.ones(there[-1].size(0), dtype=torch.bool))
    changed = True
    while changed:
        changed = False
        for level in range(len(there)):
            read = there[level][alive[level + 1]].any(0)
            if level > 0:
                bias = biases[level - 1]
                fed = there[level - 1][:, alive[level - 1]].any(1)
                read &= fed if bias is None else fed | (bias > 0)
            now = alive[level] & read
            changed |= not torch.equal(now, alive[level])
            alive[level] = now
    for units in alive:
        units[0] |= not bool(units.any())
    return [units.nonzero().squeeze(1) for units in alive]


def propagate_first(weight: Tensor) -> bool:
    r"""Whether $(\hat A X) W^\top$ takes no more multiply-adds than $\hat A (X W^\top)$.

    The node-wise product costs the same on both sides; propagation costs one a non-zero and column.

    Args:
        weight: (out, in).
    """
    return weight.size(1) <= weight.size(0)


def stages(weights: Sequence[Tensor], biases: Sequence[Tensor | None], *, multiplied: bool = False) -> list[Stage]:
    r"""Cut the network into stages.

    Args:
        weights: (out, in) of every layer.
        biases: (out,) of every layer, or None.
        multiplied: the input is $X W^\top$ of the first layer already, as sparse features have it.
    """
    found: list[Stage] = []
    hop, after, maps = False, Finish(), list[Map]()
    for number, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        finish = Finish(bias, relu=number < len(weights) - 1)
        done = multiplied and number == 0
        first = not done and propagate_first(weight)
        if not first and not done:
            maps.append(Map(weight, Finish()))
        if hop or maps:
            found.append(Stage(hop, after, tuple(maps)))
        hop = True
        after, maps = (Finish(), [Map(weight, finish)]) if first else (finish, [])
    return [*found, Stage(hop, after, tuple(maps))]
