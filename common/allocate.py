"""How a budget is shared among tensors, and `prune`, which turns scores into masks that meet it.

Every allocation is a function `(scores, density) -> {name: count}`: how many groups each tensor keeps. The counts add
up to `round(density * total)` exactly. A score of -inf marks what is not alive and cannot be kept; what a tensor has
too few live groups for goes to the others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from torch import Tensor

from common._budget import alive, budget, rounded, share, solve
from common._groups import check_counts, grouped
from common.masks import Masks
from common.select import top_counts, top_k
from common.structure import Structure, entries

__all__ = [
    "Allocation", "by_depth", "by_depth_rates", "counts", "erk", "global_", "prune", "uniform", "uniform_plus",
]  # fmt: skip

Allocation = Callable[[Mapping[str, Tensor], float], dict[str, int]]

_GALE = "Gale et al., The State of Sparsity in Deep Neural Networks, 2019"
_EVCI = "Evci et al., Rigging the Lottery: Making All Tickets Winners, ICML 2020"
_JIANG = "Jiang et al., Successfully Applying Lottery Ticket Hypothesis to Diffusion Model, NeurIPS workshop 2023"


def global_(scores: Mapping[str, Tensor], density: float) -> dict[str, int]:
    """The best of all tensors together; ties go to the first tensor, then to the lowest index.

    Raises:
        ValueError: see `prune`.

    >>> import torch
    >>> global_({"a": torch.tensor([1.0, 2.0]), "b": torch.tensor([3.0, 4.0])}, 0.5)
    {'a': 0, 'b': 2}
    """
    k = budget(scores, density, alive(scores))
    return dict(zip(scores, top_counts(list(scores.values()), k), strict=True))


def uniform(scores: Mapping[str, Tensor], density: float) -> dict[str, int]:
    """The same density for every tensor.

    Raises:
        ValueError: see `prune`.

    >>> import torch
    >>> uniform({"a": torch.ones(4), "b": torch.ones(8)}, 0.5)
    {'a': 2, 'b': 4}
    """
    living = alive(scores)
    return share(budget(scores, density, living), _sizes(scores), living)


def uniform_plus(scores: Mapping[str, Tensor], density: float) -> dict[str, int]:
    """Uniform, but with the first tensor dense and at least a fifth of the last one kept.

    Raises:
        ValueError: the budget is too small for that; see also `prune`.

    References:
        Gale et al., The State of Sparsity in Deep Neural Networks, 2019.

    >>> import torch
    >>> uniform_plus({"a": torch.ones(2), "b": torch.ones(8), "c": torch.ones(10)}, 0.25)
    {'a': 2, 'b': 1, 'c': 2}
    """
    sizes, living = _sizes(scores), alive(scores)
    k = budget(scores, density, living)
    first, last = next(iter(sizes)), list(sizes)[-1]
    least = dict.fromkeys(sizes, 0)
    least[last] = min(living[last], math.ceil(0.2 * sizes[last]))
    least[first] = living[first]
    if len(sizes) > 1 and k < sum(least.values()):
        raise ValueError(
            f"uniform_plus keeps {first!r} dense and a fifth of {last!r}, {sum(least.values())} groups at least; found "
            f"a budget of {k}. Ask for a higher density, or use uniform or erk."
        )
    return share(k, sizes, living, least if len(sizes) > 1 else None)


def erk(scores: Mapping[str, Tensor], density: float) -> dict[str, int]:
    r"""Erdos-Renyi-Kernel: small tensors are kept denser, by $\sum_i d_i / \prod_i d_i$ over a tensor's sides $d_i$.

    Densities that would pass 1 are set to 1 and the rest solved again. With a structure the sides are those of the
    group scores, so a vector, of channels say, has the weight 1.

    Raises:
        ValueError: see `prune`.

    References:
        Mocanu et al., Scalable Training of Artificial Neural Networks with Adaptive Sparse Connectivity Inspired by
        Network Science, Nature Communications 2018.
        Evci et al., Rigging the Lottery: Making All Tickets Winners, ICML 2020.

    >>> import torch
    >>> erk({"a": torch.ones(2, 2), "b": torch.ones(4, 4)}, 0.5)
    {'a': 3, 'b': 7}
    """
    living = alive(scores)
    weights = {name: float(max(sum(score.shape), 1)) for name, score in scores.items()}
    return share(budget(scores, density, living), weights, living)


def by_depth(p: float, q: float, floor: float, depths: Mapping[str, int] | None = None) -> Allocation:
    r"""Prune deeper tensors faster: by p + j q per cent a round for the j-th tensor, j from 0, down to a floor.

    $d_j = \max(\text{floor}, (1 - (p + jq)/100)^x)$, where x, the number of rounds, need not be whole: it is solved for
    such that the whole meets the density asked for. `by_depth_rates` gives the densities after whole rounds.
    Without a floor the published p = 20, q = 1 leaves nothing of deep tensors: of the 20th, 4e-6 after 25 rounds.

    Args:
        p: per cent of the first tensor that a round removes (20, not 0.2).
        q: per cent more for every next tensor, in the order of the scores.
        floor: the share that every tensor keeps at least, in [0, 1], up to rounding.
        depths: j of every tensor by name, where several are equally deep; by default their places.

    Raises:
        ValueError: a rate is not above 0 and below 100, or the floor no share; in the allocation, a density below it.

    References:
        Jiang et al., Successfully Applying Lottery Ticket Hypothesis to Diffusion Model, NeurIPS workshop 2023.

    >>> import torch
    >>> by_depth(20, 30, floor=0.0)({"a": torch.ones(100), "b": torch.ones(100)}, 0.65)
    {'a': 80, 'b': 50}
    """
    by_depth_rates(1, p, q, floor=floor)

    def allocation(scores: Mapping[str, Tensor], density: float) -> dict[str, int]:
        living = alive(scores)
        k = budget(scores, density, living)
        places = {name: j if depths is None else depths[name] for j, name in enumerate(scores)}
        rates = by_depth_rates(max(places.values()) + 1, p, q)
        stays = {name: rates[j] for name, j in places.items()}

        def after(x: float) -> dict[str, float]:
            return {n: min(size * max(floor, stays[n] ** x), living[n]) for n, size in _sizes(scores).items()}

        least = sum(min(size * floor, living[n]) for n, size in _sizes(scores).items())
        if k < least - 0.5:
            raise ValueError(
                f"by_depth keeps {floor} of every tensor, {least:g} groups at least; found a density of {density}, "
                f"{k} groups. Stop the search before it, or lower the floor."
            )
        return rounded(k, after(solve(lambda x: sum(after(x).values()), k)), living)

    allocation.reference = _JIANG  # type: ignore[attr-defined]
    return allocation


def by_depth_rates(tensors: int, p: float, q: float, *, rounds: int = 1, floor: float = 0.0) -> list[float]:
    r"""The density of every tensor after whole rounds of `by_depth`: $\max(\text{floor}, (1 - (p + jq)/100)^{rounds})$.

    Args:
        tensors: how many there are; the j-th of them, j from 0, loses p + j q per cent of what it has each round.
        p, q, floor: as in `by_depth`.
        rounds: how many rounds.

    Raises:
        ValueError: a rate is not above 0 and below 100, or the floor no share.

    >>> [round(density, 4) for density in by_depth_rates(3, 20, 10, rounds=2, floor=0.4)]
    [0.64, 0.49, 0.4]
    """
    if not 0.0 <= floor <= 1.0:
        raise ValueError(f"found a floor of {floor}; expected the share that every tensor keeps at least, in [0, 1]")
    rates = [p + j * q for j in range(tensors)]
    for j, rate in enumerate(rates):
        if not 0.0 < rate < 100.0:
            raise ValueError(
                f"p={p} and q={q} remove {rate} % of tensor {j} a round; expected above 0 and below 100 per cent. "
                "Choose another p, or a q nearer to 0."
            )
    return [max(floor, (1 - rate / 100) ** rounds) for rate in rates]


def counts(wanted: Mapping[str, int]) -> Allocation:
    """Exactly these counts, name to groups kept; `density` must say the same.

    Raises:
        ValueError: in the allocation, if the names are not those of the scores, a count is below 0 or above what is
            alive, or the counts do not add up to `round(density * total)`.

    >>> import torch
    >>> counts({"a": 1, "b": 3})({"a": torch.ones(4), "b": torch.ones(4)}, 0.5)
    {'a': 1, 'b': 3}
    """
    fixed = dict(wanted)

    def allocation(scores: Mapping[str, Tensor], density: float) -> dict[str, int]:
        living = alive(scores)
        check_counts(fixed, living, budget(scores, density, living))
        return {name: fixed[name] for name in scores}

    return allocation


def _sizes(scores: Mapping[str, Tensor]) -> dict[str, int]:
    return {name: score.numel() for name, score in scores.items()}


def prune(
    scores: Mapping[str, Tensor],
    density: float,
    *,
    allocate: Allocation = global_,
    structure: Structure | Mapping[str, Structure] = entries,
    within: Mapping[str, Tensor] | None = None,
) -> Masks:
    """Masks that keep exactly round(density * total) groups, the best-scored ones of every tensor; ties by order.

    A group is alive if any of its entries is; a kept group's dead entries stay dead. A score of -inf is never kept.

    Args:
        scores: name to real numbers of the parameter's shape; larger survives.
        density: the share of all groups to keep, in [0, 1]. Dead groups count in the total.
        allocate: how many groups each tensor keeps.
        structure: what lives or dies as one; for all, or name to structure (a name left out: single entries).
        within: masks to stay within, at least one for every name in `scores`.

    Raises:
        ValueError: no scores, a NaN, a density out of range or not met by the structure or the allocation, more asked
            for than is alive, another shape in `within`.
        KeyError: `within` lacks a name, or `structure` has one too many.
        TypeError: scores that are no real numbers.

    >>> import torch
    >>> prune({"a": torch.tensor([[3.0, 1.0], [0.0, 2.0]]), "b": torch.tensor([0.5, 4.0])}, 0.5)
    {'a': tensor([[ True, False],
            [False,  True]]), 'b': tensor([False,  True])}
    """
    groups = grouped(scores, density, structure, within)
    pooled = {name: group.scores for name, group in groups.items()}
    living = alive(pooled)
    whole = budget(pooled, density, living)
    kept = allocate(pooled, density)
    fixed = {n: round(g.density * g.scores.numel()) for n, g in groups.items() if g.density is not None}
    check_counts(kept, living, whole, fixed)
    masks = Masks({name: group.expand(top_k(group.scores, kept[name])) for name, group in groups.items()})
    return masks if within is None else masks & {name: within[name].bool() for name in masks}


uniform_plus.reference = _GALE  # type: ignore[attr-defined]
erk.reference = _EVCI  # type: ignore[attr-defined]
