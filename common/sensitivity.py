"""The allocation from a sensitivity scan: prune one tensor at a time, measure, share a budget by what was found.

    found = scan(model, prunable(model), Denoising(images[:256]).evaluate)
    for ticket in tickets(model, train, [0.5, 0.2, 0.1], steps=2000, allocate=found.allocation()):
        ...

Han et al. (NeurIPS 2015) and Li et al. (ICLR 2017) scan layers in the same way. From the curves they choose the
threshold of each layer, or its share of filters, by hand: sensitive layers lose less. Here the budget is given, and the
shares are those with the least sum of damages. Like theirs, that sum does not know what tensors do to each other.

References:
    Han et al., Learning both Weights and Connections for Efficient Neural Networks, NeurIPS 2015.
    Li et al., Pruning Filters for Efficient ConvNets, ICLR 2017.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from common._budget import alive, budget
from common._scorer import unchanged
from common._waterfill import check_sizes, check_table, curve, filled, kept, lowest
from common.allocate import Allocation, prune
from common.scores import Objective, Scorer, magnitude
from common.structure import Structure, entries

__all__ = ["Damage", "Sensitivity", "by_damage", "scan"]

Damage = Callable[[nn.Module], float]  # smaller is better
_HAN = "Han et al., Learning both Weights and Connections for Efficient Neural Networks, NeurIPS 2015"


@dataclass(frozen=True)
class Sensitivity:
    """What a network suffers when one of its tensors is pruned and all others stay.

    Args:
        densities: the shares kept of a tensor, from high to low.
        dense: the damage of the network as it was.
        groups: name to how many groups the tensor has; entries, unless there was a structure.
        damages: name to the damage at each density.

    >>> found = Sensitivity((0.5, 0.25), 1.0, {"a": 4}, {"a": (1.5, 3.0)})
    >>> Sensitivity.from_dict(found.as_dict()) == found
    True
    """

    densities: tuple[float, ...]
    dense: float
    groups: dict[str, int]
    damages: dict[str, tuple[float, ...]]

    def table(self) -> dict[str, dict[float, float]]:
        """Name to density to the rise of the damage above that of the dense network, as a picture shows it.

        >>> Sensitivity((0.5, 0.25), 1.0, {"a": 4}, {"a": (1.5, 3.0)}).table()
        {'a': {0.5: 0.5, 0.25: 2.0}}
        """
        rises = {name: [value - self.dense for value in row] for name, row in self.damages.items()}
        return {name: dict(zip(self.densities, row, strict=True)) for name, row in rises.items()}

    def as_dict(self) -> dict[str, Any]:
        """All of it as plain data."""
        rows = {name: list(row) for name, row in self.damages.items()}
        about = {"densities": list(self.densities), "dense": self.dense, "groups": dict(self.groups)}
        return about | {"damages": rows}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Sensitivity:
        """The inverse of `as_dict`."""
        damages = {name: tuple(row) for name, row in stored["damages"].items()}
        return cls(tuple(stored["densities"]), stored["dense"], dict(stored["groups"]), damages)

    def allocation(self, *, floor: float = 0.0) -> Allocation:
        """The allocation with the least sum of damages, see `by_damage`.

        Args:
            floor: the share that every tensor keeps at least, in [0, 1].

        >>> found = Sensitivity((0.5,), 0.0, {"a": 8, "b": 8}, {"a": (1.0,), "b": (3.0,)})
        >>> found.allocation()({"a": torch.ones(8), "b": torch.ones(8)}, 0.5)
        {'a': 2, 'b': 6}
        """
        rises = [rise for row in self.table().values() for rise in row.values()]
        return by_damage(list(self.groups), list(self.groups.values()), self.densities, rises, floor=floor)


def scan(
    model: nn.Module,
    params: Mapping[str, nn.Parameter],
    damage: Damage,
    *,
    densities: Sequence[float] = (0.5, 0.2, 0.1, 0.05),
    score: Scorer = magnitude,
    structure: Structure | Mapping[str, Structure] = entries,
    objective: Objective | None = None,
) -> Sensitivity:
    """Prune one tensor at a time to each density, the others staying as they are, and measure the damage.

    That takes a measurement for every tensor and density, and one of the dense network. After each the model is put
    back bit for bit, its buffers and modes as well, also where the measurement failed.

    Args:
        model: as trained; at its initial weights a network has nothing to lose.
        params: name to parameter of the model, those that are to be pruned.
        damage: of a model; smaller is better. It must be the same at every call: the loss on fixed data, say. It is
            called without gradients.
        densities: shares to keep, in (0, 1). A tensor keeps at least one group, and loses one where it has two.
        score: which entries stay; larger survives.
        structure: what is pruned as one; one for all, or one a name.
        objective: passed on to the criterion.

    Raises:
        ValueError: there are no parameters or densities, a density is out of range, a damage is not finite (tensor and
            density are named), or the structure does not fit a tensor.
        TypeError: a damage is no number.

    >>> model = nn.Linear(4, 1, bias=False)
    >>> _ = model.weight.data.copy_(torch.tensor([4.0, 3.0, 2.0, 1.0]))
    >>> scan(model, {"weight": model.weight}, lambda m: 10 - m.weight.sum().item(), densities=(0.5, 0.25)).damages
    {'weight': (3.0, 6.0)}
    """
    shares = _checked(params, densities)
    with _put_back(model, params), torch.enable_grad():
        scores = score(model, params, objective)
    dense = _measured(model, params, {}, damage, "the dense network")
    groups, damages = dict[str, int](), dict[str, tuple[float, ...]]()
    for name in params:
        how = structure.get(name, entries) if isinstance(structure, Mapping) else structure
        total = groups[name] = how(scores[name])[0].numel()
        row = []
        for share in shares:
            mask = prune({name: scores[name]}, kept(share, total) / total, structure=how)
            row.append(_measured(model, params, mask, damage, f"the network with {name!r} at a density of {share}"))
        damages[name] = tuple(row)
    return Sensitivity(shares, dense, groups, damages)


def by_damage(
    names: Sequence[str],
    groups: Sequence[int],
    densities: Sequence[float],
    rises: Sequence[float],
    *,
    floor: float = 0.0,
) -> Allocation:
    r"""Whole numbers $n_i$ with the least $\sum_i f_i(n_i)$ for the budget $\sum_i n_i$, and 1 at least.

    $f_i$ is the lower convex hull, over $\log n$, of the rises measured and of zero where the tensor is dense; a rise
    below zero counts as zero. Such a function is convex in n as well, so the best entries come first one by one: the
    marginals $b \log((n + 1) / n)$ of all tensors are filled up to one level. Hence a lower density gives no tensor
    more. Below the lowest density measured, a curve goes on as steeply as it came. Entries that cost nothing go first,
    each tensor losing the same share of its own; of two that cost the same, that of the later tensor. A tensor whose
    loss does no harm may end at one entry; a floor keeps it able to learn.

    The arguments are plain, so that a ticket's recipe holds them: `by_damage(**recipe["allocate"]["arguments"])`.

    Args:
        names: of the tensors; an allocation may be asked for some of them.
        groups: how many groups each has.
        densities: that were measured, in (0, 1).
        rises: of the damage above the dense network's, at every density of the first tensor, then of the second.
        floor: the share that every tensor keeps at least, in [0, 1].

    Raises:
        ValueError: the lengths do not go together, or the floor is no share; in the allocation, a tensor has another
            number of groups, or the density is below the floor.
        KeyError: in the allocation, a tensor was not measured.

    >>> allocate = by_damage(["a", "b"], [100, 100], [0.5, 0.1], [0.0, 0.8, 1.0, 2.0])
    >>> scores = {"a": torch.ones(100), "b": torch.ones(100)}
    >>> allocate(scores, 0.75), allocate(scores, 0.25)
    ({'a': 50, 'b': 100}, {'a': 18, 'b': 32})
    """
    check_table(names, groups, densities, rises, floor)

    def allocation(scores: Mapping[str, Tensor], density: float) -> dict[str, int]:
        living, sizes = alive(scores), dict(zip(names, groups, strict=True))
        whole = budget(scores, density, living)
        check_sizes(scores, sizes)
        least = lowest(whole, {n: sizes[n] for n in scores}, living, floor)
        curves = {n: curve(sizes[n], densities, rises[i * len(densities) :]) for i, n in enumerate(names)}
        return filled(whole, {n: curves[n] for n in scores}, least, living)

    allocation.reference = _HAN  # type: ignore[attr-defined]
    return allocation


def _checked(params: Mapping[str, object], densities: Sequence[float]) -> tuple[float, ...]:
    """The densities from high to low, each once."""
    shares = tuple(sorted(set(densities), reverse=True))
    if not params or not shares:
        raise ValueError(f"found {len(params)} tensors and {len(shares)} densities; expected one of each at least")
    for share in shares:
        if not 0.0 < share < 1.0:
            raise ValueError(
                f"found a density of {share}; expected shares to keep in (0, 1). Dense is always measured."
            )
    return shares


def _measured(
    model: nn.Module, params: Mapping[str, Tensor], masks: Mapping[str, Tensor], damage: Damage, what: str
) -> float:
    """The damage of the model under masks, checked."""
    with _put_back(model, params):
        for name, mask in masks.items():
            params[name].masked_fill_(~mask.to(params[name].device), 0)
        found = damage(model)
    if isinstance(found, (Mapping, Sequence, type(None))):
        raise TypeError(f"the damage of {what} is a {type(found).__name__}; expected one number, smaller is better")
    value = float(found)
    if not math.isfinite(value):
        raise ValueError(
            f"the damage of {what} is {value}; expected a finite number. Look for a diverged training, or bound the "
            "damage, and scan again; the model is as it was."
        )
    return value


@contextmanager
def _put_back(model: nn.Module, params: Mapping[str, Tensor]) -> Iterator[None]:
    tensors = list({id(t): t for t in [*model.parameters(), *params.values()]}.values())
    before = [tensor.detach().clone() for tensor in tensors]
    with unchanged(model, None), torch.no_grad():
        try:
            yield
        finally:
            for tensor, value in zip(tensors, before, strict=True):
                tensor.copy_(value)
