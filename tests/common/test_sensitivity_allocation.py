"""The allocation of a sensitivity scan is the best there is, by brute force; exact and monotone."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from common.allocate import prune
from common.sensitivity import Sensitivity, by_damage

CURVES = st.lists(
    st.tuples(st.integers(1, 7), st.lists(st.sampled_from([-1.0, 0.0, 0.5, 1.0, 1.5, 4.0]), min_size=3, max_size=3)),
    min_size=1,
    max_size=4,
)
DENSITIES = (0.75, 0.4, 0.15)


def flat(groups: dict[str, int]) -> dict[str, Tensor]:
    return {name: torch.ones(count) for name, count in groups.items()}


def envelope(total: int, rises: list[float]) -> list[float]:
    """The convex curve over log counts 1 to `total`, as the least of all lines between two points on either side."""
    points = {max(1, min(total - 1, round(d * total))): max(r, 0.0) for d, r in zip(DENSITIES, rises, strict=True)}
    points[total] = 0.0
    where = sorted(points)
    values = {}
    for count in range(where[0], total + 1):
        x, found = math.log(count), [points[count]] if count in points else []
        for low, high in itertools.combinations(where, 2):
            if low <= count <= high:
                part = (x - math.log(low)) / (math.log(high) - math.log(low))
                found.append((1 - part) * points[low] + part * points[high])
        values[count] = min(found)
    if len(where) > 1:  # on below the lowest at the slope from there on
        falls = [(values[where[0]] - values[n]) / (math.log(n) - math.log(where[0])) for n in where[1:]]
        for count in range(1, where[0]):
            values[count] = values[where[0]] + max(falls) * (math.log(where[0]) - math.log(count))
    return [values[count] for count in range(1, total + 1)]


def built(tensors: list[tuple[int, list[float]]]) -> Sensitivity:
    names = [f"t{i}" for i in range(len(tensors))]
    sizes = {name: size for name, (size, _) in zip(names, tensors, strict=True)}
    return Sensitivity(DENSITIES, 0.0, sizes, {n: tuple(row) for n, (_, row) in zip(names, tensors, strict=True)})


@given(CURVES)
def test_no_other_counts_have_a_smaller_sum_of_damages(tensors: list[tuple[int, list[float]]]) -> None:
    found = built(tensors)
    allocate, scores, total = found.allocation(), flat(found.groups), sum(found.groups.values())
    curves = [envelope(size, rises) for size, rises in tensors]
    best: dict[int, float] = {}
    for counts in itertools.product(*(range(1, size + 1) for size, _ in tensors)):
        damage = sum(curve[count - 1] for curve, count in zip(curves, counts, strict=True))
        best[sum(counts)] = min(damage, best.get(sum(counts), math.inf))
    for whole, least in best.items():
        counts = allocate(scores, whole / total).values()
        assert sum(counts) == whole
        assert sum(c[n - 1] for c, n in zip(curves, counts, strict=True)) == pytest.approx(least, abs=1e-9)


SIZES = st.lists(
    st.tuples(st.integers(1, 5000), st.lists(st.floats(-1, 1e6), min_size=3, max_size=3)), min_size=1, max_size=6
)


@given(SIZES, st.floats(0, 1), st.floats(0, 1), st.sampled_from([0.0, 0.1]))
def test_the_budget_is_exact_and_a_lower_density_gives_no_tensor_more(
    tensors: list[tuple[int, list[float]]], first: float, second: float, floor: float
) -> None:
    found = built(tensors)
    allocate, scores, total = found.allocation(floor=floor), flat(found.groups), sum(found.groups.values())
    least = {name: max(1, math.ceil(floor * size)) for name, size in found.groups.items()}
    before, within = found.groups, None
    for share in sorted([first, second], reverse=True):
        density = (sum(least.values()) + share * (total - sum(least.values()))) / total
        counts = allocate(scores, density)
        assert list(counts) == list(found.groups)
        assert sum(counts.values()) == round(density * total)
        assert all(least[name] <= count <= before[name] for name, count in counts.items())
        assert allocate(scores, density) == counts
        within = prune(scores, density, allocate=allocate, within=within)
        assert within.kept == round(density * total)
        before = counts


def test_what_is_dead_in_one_tensor_goes_to_the_others() -> None:
    allocate = by_damage(["a", "b", "c"], [100] * 3, [0.5], [9.0, 1.0, 1.0])
    dead = torch.cat([torch.ones(10), torch.full((90,), -torch.inf)])
    assert allocate({"a": dead, "b": torch.ones(100), "c": torch.ones(100)}, 0.5) == {"a": 10, "b": 70, "c": 70}
    assert allocate({"a": torch.full((100,), -torch.inf), "b": torch.ones(100)}, 0.5) == {"a": 0, "b": 100}
    assert sum(allocate({"b": torch.ones(100)}, 0.305).values()) == 30  # a part of what was scanned
