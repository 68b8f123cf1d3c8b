"""What every allocation must do; a new one is one line in ALLOCATIONS."""

from __future__ import annotations

import contextlib

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from common.allocate import Allocation, by_depth, erk, global_, uniform, uniform_plus

ALLOCATIONS: dict[str, Allocation] = {
    "global_": global_,
    "uniform": uniform,
    "uniform_plus": uniform_plus,
    "erk": erk,
    "by_depth": by_depth(20, 1, floor=0.05),
    "by_depth, shallow first": by_depth(40, -3, floor=0.0),
}
PROMISES = (uniform_plus, ALLOCATIONS["by_depth"])  # these keep some of every tensor, or refuse
every = pytest.mark.parametrize("allocate", ALLOCATIONS.values(), ids=ALLOCATIONS)


@st.composite
def scores_with_dead_groups(draw: st.DrawFn) -> dict[str, Tensor]:
    """Two to six tensors with many ties, some of whose groups are dead."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10**6)))
    shapes = draw(st.lists(st.sampled_from([(1,), (9,), (4, 5), (20, 30), (3, 2, 3, 3)]), min_size=2, max_size=6))
    dying = draw(st.sampled_from([0.0, 0.1, 0.7, 1.0]))
    scores = {f"t{i}": torch.randint(4, shape, generator=generator).float() for i, shape in enumerate(shapes)}
    return {n: s.masked_fill(torch.rand(s.shape, generator=generator) < dying, -torch.inf) for n, s in scores.items()}


def least(scores: dict[str, Tensor], living: dict[str, int]) -> int:
    """A budget from which on every promise can be kept: the first tensor, and a fifth and one of all others."""
    return sum(n if i == 0 else min(n, scores[k].numel() // 5 + 1) for i, (k, n) in enumerate(living.items()))


@every
@given(scores=scores_with_dead_groups(), density=st.floats(0, 1))
def test_the_budget_is_met_exactly_among_the_living(
    allocate: Allocation, scores: dict[str, Tensor], density: float
) -> None:
    total = sum(score.numel() for score in scores.values())
    living = {name: int((score > -torch.inf).sum()) for name, score in scores.items()}
    whole = round(density * total)
    if whole > sum(living.values()):
        with pytest.raises(ValueError, match=rf"keeps {whole} of {total} groups, but only {sum(living.values())} are"):
            allocate(scores, density)
        return
    if allocate in PROMISES and whole < least(scores, living):
        with contextlib.suppress(ValueError):  # a promise that the budget cannot pay for may be refused
            assert sum(allocate(scores, density).values()) == whole
        return
    found = allocate(scores, density)
    assert list(found) == list(scores)
    assert sum(found.values()) == whole
    assert all(type(count) is int and 0 <= count <= living[name] for name, count in found.items())
    assert allocate(scores, density) == found


@every
def test_dense_keeps_all(allocate: Allocation) -> None:
    assert allocate({"a": torch.ones(3), "b": torch.zeros(2, 2)}, 1.0) == {"a": 3, "b": 4}


@every
def test_what_is_dead_in_one_tensor_goes_to_the_others(allocate: Allocation) -> None:
    dead = torch.cat([torch.ones(10), torch.full((90,), -torch.inf)])
    found = allocate({"a": dead, "b": torch.ones(10, 10), "c": torch.ones(100)}, 0.5)
    assert found["a"] == 10
    assert found["b"] + found["c"] == 140


@every
def test_twenty_million_weights_are_shared_to_the_last(allocate: Allocation) -> None:
    scores = {f"t{i}": torch.ones(1).expand(5_000_000 + i, 1).squeeze(1) for i in range(4)}
    if allocate is global_:
        pytest.skip("reads every score; benchmarks/topk.py covers that size")
    assert sum(allocate(scores, 0.333).values()) == round(0.333 * 20_000_006)
