"""The arithmetic of allocations: budgets, whole numbers that add up to them, shares that are capped."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

__all__ = ["alive", "budget", "capped", "solve", "whole"]

_CLOSE = 1e-6  # quotas this near below a whole number are that number


def alive(score: Tensor) -> int:
    """How many entries of a score are above -inf."""
    if not score.numel() or not score.is_floating_point() or bool(score.amin() > -torch.inf):
        return score.numel()
    return int(torch.count_nonzero(score > -torch.inf))


def budget(scores: Mapping[str, Tensor], density: float) -> int:
    """How many groups a density keeps, `round(density * total)`, of those that are alive.

    Raises:
        ValueError: there is nothing to prune, the density is no share, or more is asked for than is alive.

    >>> budget({"w": torch.zeros(1000)}, 0.8)
    800
    """
    total = sum(score.numel() for score in scores.values())
    if not total:
        raise ValueError("there are no scores to prune by; expected at least one tensor with entries. Check params.")
    if not 0.0 <= density <= 1.0:
        raise ValueError(f"found a density of {density}; expected the share to keep, in [0, 1]")
    k = round(density * total)
    living = {name: alive(score) for name, score in scores.items()}
    if k > sum(living.values()):
        short = [f"{n}: {living[n]} of {s.numel()}" for n, s in scores.items() if living[n] < s.numel()]
        raise ValueError(
            f"a density of {density} keeps {k} of {total} groups, but only {sum(living.values())} are alive "
            f"({', '.join(short)}). What is pruned stays so: ask for a density of at most "
            f"{sum(living.values()) / total:.6g}, or prune anew without `within`."
        )
    return k


def whole(quotas: Mapping[str, float], scores: Mapping[str, Tensor], k: int) -> dict[str, int]:
    """Whole numbers near the quotas that add up to k: rounded down, then up by the largest remainder while alive.

    Raises:
        ValueError: a tensor has fewer groups alive than its quota, rounded down.

    >>> whole({"a": 1.5, "b": 0.75, "c": 0.75}, dict.fromkeys("abc", torch.ones(2)), 3)
    {'a': 1, 'b': 1, 'c': 1}
    """
    living = {name: alive(scores[name]) for name in quotas}
    counts = {name: math.floor(quota + _CLOSE) for name, quota in quotas.items()}
    for name, count in counts.items():
        if count > living[name]:
            raise ValueError(
                f"this allocation keeps {count} of the {scores[name].numel()} groups of {name!r}, but only "
                f"{living[name]} are alive. Allocate as in the rounds before, or with global_."
            )
    order = sorted(quotas, key=lambda name: counts[name] - quotas[name])
    while (missing := k - sum(counts.values())) > 0:
        room = [name for name in order if counts[name] < living[name]][:missing]
        if not room:
            raise ValueError(f"{missing} of {k} groups to keep have no place: the tensors hold too few that are alive")
        for name in room:
            counts[name] += 1
    return counts


def capped(weights: Mapping[str, float], sizes: Mapping[str, int], k: float) -> dict[str, float]:
    """Quotas in proportion to weight times size that add up to k, none above its size.

    >>> capped({"a": 1.0, "b": 0.1}, {"a": 10, "b": 100}, 40)
    {'a': 10.0, 'b': 30.0}
    """
    full: set[str] = set()
    while True:
        open_ = {name: weights[name] * sizes[name] for name in sizes if name not in full}
        mass = sum(open_.values())
        scale = (k - sum(sizes[name] for name in full)) / mass if mass else 0.0
        over = {name for name in open_ if scale * weights[name] > 1.0}
        if not over:
            return {name: float(sizes[name]) if name in full else scale * open_[name] for name in sizes}
        full |= over


def solve(falling: Callable[[float], float], target: float) -> float:
    """Where a continuous function that falls on x >= 0, and starts no lower than the target, reaches the target.

    >>> round(solve(lambda x: 8 * 0.5**x, 2.0), 9)
    2.0
    """
    low, high = 0.0, 1.0
    while falling(high) > target and high < 1e12:
        low, high = high, 2 * high
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if falling(middle) > target else (low, middle)
    return high
