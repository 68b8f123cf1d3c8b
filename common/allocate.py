"""How a budget is shared among tensors, and `prune`, which turns scores into masks that meet it.

Every allocation is a function `(scores, density) -> {name: count}`: how many groups each tensor keeps. The counts add
up to `round(density * total)` exactly. A score of -inf marks what is not alive and cannot be kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from common._quotas import alive, budget, capped, solve, whole
from common.masks import Masks, closest
from common.select import top_counts, top_k
from common.structure import Structure, entries

__all__ = [
    "Allocation", "by_depth", "counts", "depth_ladder", "erk", "global_", "prune", "uniform", "uniform_plus",
]  # fmt: skip

Allocation = Callable[[Mapping[str, Tensor], float], dict[str, int]]


def global_(scores: Mapping[str, Tensor], density: float) -> dict[str, int]:
    """The best of all tensors together; ties go to the first tensor, then to the lowest index.

    Raises:
        ValueError: see `prune`.

    >>> global_({"a": torch.tensor([1.0, 2.0]), "b": torch.tensor([3.0, 4.0])}, 0.5)
    {'a': 0, 'b': 2}
    """
    k = budget(scores, density)
    return dict(zip(scores, top_counts(list(scores.values()), k), strict=True))


def uniform(scores: Mapping[str, Tensor], density: float) -> dict[str, int]:
    """The same density for every tensor, by largest remainder.

    Raises:
        ValueError: see `prune`.

    >>> uniform({"a": torch.ones(4), "b": torch.ones(8)}, 0.5)
    {'a': 2, 'b': 4}
    """
    k = budget(scores, density)
    return whole(capped(dict.fromkeys(scores, 1.0), _sizes(scores), k), scores, k)


def uniform_plus(scores: Mapping[str, Tensor], density: float) -> dict[str, int]:
    """Uniform, but with the first tensor dense and at least a fifth of the last one kept.

    Raises:
        ValueError: the budget is too small for that; see also `prune`.

    References:
        Gale et al., The State of Sparsity in Deep Neural Networks, 2019.

    >>> uniform_plus({"a": torch.ones(2), "b": torch.ones(8), "c": torch.ones(10)}, 0.25)
    {'a': 2, 'b': 1, 'c': 2}
    """
    k, sizes = budget(scores, density), _sizes(scores)
    first, last, total = next(iter(sizes)), list(sizes)[-1], sum(sizes.values())
    fixed = {first: float(sizes[first])}
    if last != first and (k - sizes[first]) < 0.2 * (total - sizes[first]):
        fixed[last] = 0.2 * sizes[last]
    rest = {name: size for name, size in sizes.items() if name not in fixed}
    left = k - sum(fixed.values())
    if left < 0 or (left > 0 and not sum(rest.values())):
        raise ValueError(
            f"uniform_plus keeps {first!r} dense and a fifth of {last!r}, {sum(fixed.values()):g} groups at least; "
            f"found a budget of {k} of {total}. Ask for a higher density or use uniform."
        )
    return whole(fixed | capped(dict.fromkeys(rest, 1.0), rest, left), scores, k)


def erk(scores: Mapping[str, Tensor], density: float) -> dict[str, int]:
    r"""Erdos-Renyi-Kernel: small tensors are kept denser, by $\sum_i d_i / \prod_i d_i$ over a tensor's sides $d_i$.

    Densities that would pass 1 are set to 1 and the rest solved again. With a structure the sides are those of the
    group scores; a vector has the weight 1.

    Raises:
        ValueError: see `prune`.

    References:
        Evci et al., Rigging the Lottery: Making All Tickets Winners, ICML 2020.
        Mocanu et al., Scalable Training of Artificial Neural Networks with Adaptive Sparse Connectivity, 2018.

    >>> erk({"a": torch.ones(2, 2), "b": torch.ones(4, 4)}, 0.5)
    {'a': 3, 'b': 7}
    """
    k = budget(scores, density)
    weights = {n: sum(s.shape) / s.numel() if s.numel() and s.dim() else 1.0 for n, s in scores.items()}
    return whole(capped(weights, _sizes(scores), k), scores, k)


def by_depth(p: float, q: float, floor: float) -> Allocation:
    r"""Prune deeper tensors faster: by p + j q per cent a round for the j-th tensor, j from 0, down to a floor.

    $d_j = \max(\text{floor}, (1 - (p + jq)/100)^x)$, where x, the number of rounds, need not be whole: it is solved for
    such that the whole meets the density asked for. `depth_ladder` gives the densities of whole rounds.
    Without a floor the published p = 20, q = 1 leaves nothing of deep tensors: of the 20th, 4e-6 after 25 rounds.

    Args:
        p: per cent of the first tensor that a round removes.
        q: per cent more for every next tensor, in the order of the scores.
        floor: the share that every tensor keeps at least, in [0, 1].

    Raises:
        ValueError: a rate is not above 0 and below 100, or the floor no share; in the allocation, a density below it.

    References:
        Jiang et al., Successfully Applying Lottery Ticket Hypothesis to Diffusion Model, NeurIPS workshop 2023.

    >>> by_depth(20, 30, floor=0.0)({"a": torch.ones(100), "b": torch.ones(100)}, 0.65)
    {'a': 80, 'b': 50}
    """
    _check_floor(floor)

    def allocation(scores: Mapping[str, Tensor], density: float) -> dict[str, int]:
        k, sizes = budget(scores, density), _sizes(scores)
        if k < floor * sum(sizes.values()) - 0.5:
            raise ValueError(
                f"by_depth keeps {floor} of every tensor at least; found a density of {density}. Stop the search "
                "before it, or lower the floor."
            )
        stays = {name: 1 - rate for name, rate in _rates(scores, p, q).items()}
        rounds = solve(lambda x: sum(n * max(floor, stays[name] ** x) for name, n in sizes.items()), k)
        quotas = {name: n * max(floor, stays[name] ** rounds) for name, n in sizes.items()}
        return whole(capped({n: quotas[n] / max(sizes[n], 1) for n in sizes}, sizes, k), scores, k)

    return allocation


def depth_ladder(params: Mapping[str, Tensor], p: float, q: float, floor: float, rounds: int) -> list[float]:
    """The overall densities of dense training and `rounds` rounds of `by_depth(p, q, floor)`, to search along.

    Args:
        params: the tensors to prune, in order; only their sizes matter.
        p, q, floor: as in `by_depth`.
        rounds: how many rounds follow the dense one.

    Raises:
        ValueError: as `by_depth`.

    >>> depth_ladder({"a": torch.ones(100), "b": torch.ones(100)}, 20, 30, 0.3, rounds=2)
    [1.0, 0.65, 0.47]
    """
    _check_floor(floor)
    sizes, rates = _sizes(params), _rates(params, p, q)
    kept = [sum(n * max(floor, (1 - rates[name]) ** i) for name, n in sizes.items()) for i in range(rounds + 1)]
    return [round(number) / sum(sizes.values()) for number in kept]


def counts(wanted: Mapping[str, int]) -> Allocation:
    """Exactly these counts, name to groups kept; `density` must say the same.

    Raises:
        ValueError: in the allocation, if the counts do not add up to the density's budget.
        KeyError: in the allocation, if the names are not those of the scores.

    >>> counts({"a": 1, "b": 3})({"a": torch.ones(4), "b": torch.ones(4)}, 0.5)
    {'a': 1, 'b': 3}
    """
    fixed = {name: int(count) for name, count in wanted.items()}

    def allocation(scores: Mapping[str, Tensor], density: float) -> dict[str, int]:
        if fixed.keys() != scores.keys():
            raise KeyError(f"counts() and the scores differ in the names {sorted(fixed.keys() ^ scores.keys())}")
        _check_counts(fixed, scores, budget(scores, density))
        return dict(fixed)

    return allocation
