"""Sharing a whole number of survivors among tensors: in proportion, within bounds, exact to the last one."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

__all__ = ["alive", "budget", "rounded", "share", "solve"]


def alive(scores: Mapping[str, Tensor]) -> dict[str, int]:
    """Name to how many groups are alive, that is, have a score above -inf.

    >>> alive({"w": torch.tensor([1.0, -torch.inf])})
    {'w': 1}
    """
    return {name: _alive(score) for name, score in scores.items()}


def _alive(score: Tensor) -> int:
    if not score.numel() or not score.is_floating_point() or bool(score.min() > -torch.inf):
        return score.numel()
    return int((score != -torch.inf).count_nonzero())


def budget(scores: Mapping[str, Tensor], density: float, living: Mapping[str, int]) -> int:
    """How many groups a density keeps in all, round(density * total).

    Raises:
        ValueError: there is nothing to prune, the density is outside [0, 1], or fewer groups are alive.

    >>> budget({"w": torch.zeros(1000)}, 0.8, {"w": 1000})
    800
    """
    total = sum(score.numel() for score in scores.values())
    if not total:
        raise ValueError("there are no scores to prune by; expected at least one tensor that is not empty")
    if not 0.0 <= density <= 1.0:
        raise ValueError(f"found a density of {density}; expected a share to keep in [0, 1]")
    wanted, possible = round(density * total), sum(living.values())
    if wanted > possible:
        raise ValueError(
            f"a density of {density} keeps {wanted} of {total} groups, but only {possible} are alive. What was pruned "
            f"stays so: ask for a density of at most {possible / total:g}, or prune anew without `within`."
        )
    return wanted


def share(
    whole: int, weights: Mapping[str, float], most: Mapping[str, int], least: Mapping[str, int] | None = None
) -> dict[str, int]:
    """Whole numbers that sum to `whole`, in proportion to the weights (above 0) as far as the bounds allow.

    What a bound takes or leaves is shared among the others (the c of clamp(c * weight, least, most) is solved
    for), then rounded by largest remainders, ties to the tensor that comes first.

    Raises:
        ValueError: `whole` lies outside the sums of the bounds.

    >>> share(10, {"a": 1, "b": 1, "c": 2}, {"a": 1, "b": 9, "c": 9})
    {'a': 1, 'b': 3, 'c': 6}
    """
    floor = dict.fromkeys(weights, 0) if least is None else least
    low, high = sum(floor[n] for n in weights), sum(most[n] for n in weights)
    if not low <= whole <= high:
        raise ValueError(f"found a budget of {whole}; the bounds of the tensors allow {low} to {high}")

    def at(x: float) -> dict[str, float]:
        return {n: min(max(w / x, floor[n]), most[n]) for n, w in weights.items()}

    return rounded(whole, at(solve(lambda x: sum(at(x).values()) if x else high, whole)), most)


def rounded(whole: int, shares: Mapping[str, float], most: Mapping[str, int]) -> dict[str, int]:
    """Whole numbers near the shares that sum to `whole`, by largest remainders; ties to the tensor that comes first.

    >>> rounded(3, {"a": 1.5, "b": 0.75, "c": 0.75}, {"a": 2, "b": 2, "c": 2})
    {'a': 1, 'b': 1, 'c': 1}
    """
    counts = {n: math.floor(x + 1e-6) for n, x in shares.items()}
    order = sorted(counts, key=lambda n: round(counts[n] - shares[n], 6))
    while missing := whole - sum(counts.values()):
        room = [n for n in order if counts[n] < most[n]][:missing]
        if missing < 0 or not room:
            raise ValueError(f"found shares that sum to {sum(shares.values()):g}; expected {whole} within {dict(most)}")
        for name in room:
            counts[name] += 1
    return counts


def solve(falling: Callable[[float], float], target: float) -> float:
    """The least x >= 0, up to 1e12, at which a falling function is at most the target.

    >>> round(solve(lambda x: 8 * 0.5**x, 2.0), 9)
    2.0
    """
    low, high = 0.0, 1.0
    while falling(high) > target and high < 1e12:
        low, high = high, 2 * high
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if falling(middle) > target else (low, middle)
    return high
