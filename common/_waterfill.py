"""Sharing a budget where it is worth most: convex curves over log counts, filled up to one level, exact to the last."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

from torch import Tensor

from common._budget import solve
from common.masks import closest

__all__ = ["Pieces", "check_sizes", "check_table", "curve", "filled", "kept", "lowest", "pieces"]

Pieces = list[tuple[int, float]]
_Counts = dict[str, int]


def kept(density: float, total: int) -> int:
    """How many of `total` a scan keeps: one at least, and one less than all.

    >>> kept(0.5, 10), kept(0.01, 10), kept(0.99, 10)
    (5, 1, 9)
    """
    return max(1, min(total - 1, round(density * total)))


def curve(total: int, densities: Sequence[float], rises: Sequence[float]) -> Pieces:
    """The pieces of a tensor that was scanned; where two densities keep as many, the lower one's rise holds.

    Args:
        total: how many groups it has.
        densities: of the scan.
        rises: of the damage, one a density; further ones are left alone.

    >>> curve(4, [0.5, 0.25], [1.0, 3.0]) == pieces(4, {2: 1.0, 1: 3.0})
    True
    """
    known = dict(sorted(zip(densities, rises, strict=False), reverse=True))
    return pieces(total, {kept(density, total): rise for density, rise in known.items()})


def pieces(total: int, damage: Mapping[int, float]) -> Pieces:
    """The lower convex hull of damages over the logarithm of counts, as pieces (end, fall a unit of log count).

    From low counts to high; what is flat is left out. The damage of all is zero, and none is below zero.

    Args:
        total: the count of all.
        damage: count to damage, for counts in [1, total).

    >>> [(end, round(fall, 6)) for end, fall in pieces(4, {1: 3.0, 2: 1.0})]  # 2 / log 2 and 1 / log 2
    [(2, 2.88539), (4, 1.442695)]
    >>> pieces(4, {1: 3.0, 2: 3.0}) == [(4, 3.0 / math.log(4))]  # the middle lies above the line
    True
    """
    known = {count: max(value, 0.0) for count, value in damage.items()} | {total: 0.0}
    hull: list[tuple[float, float, int]] = []
    for count in sorted(known):
        x, y = math.log(count), known[count]
        while len(hull) > 1 and _turns_down(hull[-2], hull[-1], (x, y)):
            hull.pop()
        hull.append((x, y, count))
    falls = [(b[2], (a[1] - b[1]) / (b[0] - a[0])) for a, b in pairwise(hull)]
    return [(end, fall) for end, fall in falls if fall > 0]


def check_table(
    names: Sequence[str], groups: Sequence[int], densities: Sequence[float], rises: Sequence[float], floor: float
) -> None:
    """Raise a ValueError unless the parts of a table go together and the floor is a share."""
    if len(names) != len(groups) or len(rises) != len(names) * len(densities):
        found = f"{len(names)} names, {len(groups)} numbers of groups and {len(rises)} rises"
        raise ValueError(f"found {found}; expected one number and {len(densities)} rises, one a density, for each name")
    if not 0.0 <= floor <= 1.0:
        raise ValueError(f"found a floor of {floor}; expected the share that every tensor keeps at least, in [0, 1]")


def check_sizes(scores: Mapping[str, Tensor], sizes: Mapping[str, int]) -> None:
    """Raise a KeyError or a ValueError unless every tensor was scanned, with as many groups as its scores have."""
    for name, score in scores.items():
        if name not in sizes:
            raise KeyError(f"{name!r} was not scanned; the nearest that was is {closest(name, sizes)}. Scan it, too.")
        if score.numel() != sizes[name]:
            raise ValueError(
                f"found {score.numel()} groups of {name!r}; the scan had {sizes[name]}. Scan the model that is pruned, "
                "with the structure that it is pruned by."
            )


def lowest(whole: int, sizes: Mapping[str, int], living: Mapping[str, int], floor: float) -> dict[str, int]:
    """How many groups every tensor keeps at least: one, and the floor's share, of those alive.

    Raises:
        ValueError: that is more than the budget.

    >>> lowest(9, {"a": 10, "b": 100}, {"a": 10, "b": 100}, 0.05)
    {'a': 1, 'b': 5}
    """
    least = {name: min(living[name], max(1, math.ceil(floor * size - 1e-9))) for name, size in sizes.items()}
    if whole < (needed := sum(least.values())):
        raise ValueError(
            f"by_damage keeps one group of every tensor and a share of {floor:g}, {needed} groups at least; found a "
            f"budget of {whole}. Ask for a higher density, or lower the floor."
        )
    return least


def filled(
    whole: int, curves: Mapping[str, Pieces], least: Mapping[str, int], most: Mapping[str, int]
) -> dict[str, int]:
    """Whole numbers that sum to `whole`, within bounds, with the least sum of damages; none falls as `whole` rises.

    The n-th entry after n is worth `fall * log((n + 1) / n)`. What is worth more than a level is in; of several at the
    level, those of the first tensors. What is worth nothing comes last, each tensor getting the same share of its own.

    Args:
        whole: between the sums of the bounds.
        curves: name to `pieces`.
        least, most: name to bound.

    >>> curves = {"a": pieces(8, {4: 1.0}), "b": pieces(8, {4: 3.0})}
    >>> filled(8, curves, {"a": 1, "b": 1}, {"a": 8, "b": 8})
    {'a': 2, 'b': 6}
    """
    steepest = max((fall for parts in curves.values() for _, fall in parts), default=1.0)

    def worth(level: float) -> _Counts:
        reach = {n: [min(end, _count(level, fall / steepest)) for end, fall in parts] for n, parts in curves.items()}
        return {n: min(max(0, least[n], *counts), most[n]) for n, counts in reach.items()}

    paid = worth(0.0)

    def free(level: float) -> _Counts:
        return {n: count + math.floor((1 - level) * (most[n] - count)) for n, count in paid.items()}

    return _exact(whole, free if sum(paid.values()) < whole else worth)


def _turns_down(a: tuple[float, float, int], b: tuple[float, float, int], c: tuple[float, float]) -> bool:
    """Whether b lies on or above the line from a to c."""
    return (b[1] - a[1]) * (c[0] - a[0]) >= (c[1] - a[1]) * (b[0] - a[0])


def _count(level: float, fall: float) -> int:
    """The largest count whose last entry is worth the level: fall * log(n / (n - 1)) >= level."""
    ratio = level / fall if fall else math.inf
    return 1 << 62 if ratio < 1e-15 else 1 if ratio > 1 else 1 + math.floor(1 / math.expm1(ratio))


def _exact(whole: int, falling: Callable[[float], _Counts]) -> _Counts:
    """The counts at the level where they sum to `whole`; what stands at the level itself goes to the first names."""
    counts = falling(0.0)
    if sum(counts.values()) > whole:
        level = solve(lambda x: sum(falling(x).values()), whole)
        counts, more = falling(level), falling(math.nextafter(level, 0.0))
        for name in counts:
            counts[name] += min(whole - sum(counts.values()), more[name] - counts[name])
    return counts
