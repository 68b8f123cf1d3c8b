"""Exact selection against numpy's stable sort, for every pattern of ties and on both sides of the sampling."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from common import select
from common.select import kth_largest, top_k

MANY = 300_000  # enough for the sampled bracket
FLOATS = st.sampled_from([-float("inf"), -2.0, -0.0, 0.0, 1.0, 1.5, float("inf")])


def by_sorting(scores: Tensor, k: int) -> list[bool]:
    """The first k of a stable descending sort."""
    flat = scores.reshape(-1).double().numpy()
    mask = np.zeros(flat.size, dtype=bool)
    mask[np.argsort(-flat, kind="stable")[:k]] = True
    return mask.tolist()


@pytest.mark.parametrize(
    ("scores", "k", "expected"),
    [
        ([3.0, 1.0, 2.0], 0, [0, 0, 0]),
        ([3.0, 1.0, 2.0], 2, [1, 0, 1]),
        ([3.0, 1.0, 2.0], 3, [1, 1, 1]),
        ([1.0, 2.0, 1.0, 1.0], 2, [1, 1, 0, 0]),
        ([0.0, -0.0, 0.0], 2, [1, 1, 0]),
        ([-torch.inf, torch.inf, -torch.inf], 2, [1, 1, 0]),
    ],
)
def test_literal_masks(scores: list[float], k: int, expected: list[int]) -> None:
    assert top_k(torch.tensor(scores), k).int().tolist() == expected


def test_the_mask_has_the_shape_of_the_scores_even_transposed() -> None:
    scores = torch.tensor([[1.0, 4.0], [3.0, 2.0], [5.0, 0.0]]).T
    assert top_k(scores, 3).tolist() == [[False, True, True], [True, False, False]]


@given(st.lists(FLOATS, min_size=1, max_size=40), st.data())
def test_any_tie_pattern_keeps_exactly_k_by_lowest_index(values: list[float], data: st.DataObject) -> None:
    scores, k = torch.tensor(values), data.draw(st.integers(0, len(values)))
    mask = top_k(scores, k)
    assert int(mask.sum()) == k
    assert mask.tolist() == by_sorting(scores, k)


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=40), st.data())
def test_the_kth_largest_is_that_of_a_sorted_list(values: list[int], data: st.DataObject) -> None:
    k = data.draw(st.integers(1, len(values)))
    cut = data.draw(st.integers(0, len(values)))
    expected = sorted(values, reverse=True)[k - 1]
    assert kth_largest(torch.tensor(values), k).item() == expected
    assert kth_largest([torch.tensor(values[:cut]), torch.tensor(values[cut:])], k).item() == expected


PATTERNS = {
    "normal": lambda g: torch.randn(MANY, generator=g),
    "sorted": lambda g: torch.arange(MANY, dtype=torch.float32),
    "periodic": lambda g: (torch.arange(MANY) % 8).float(),
    "all equal": lambda g: torch.ones(MANY),
    "half dead": lambda g: torch.randn(MANY, generator=g).masked_fill(torch.arange(MANY) % 2 == 0, -torch.inf),
    "half zero": lambda g: torch.randn(MANY, generator=g).relu(),
    "one apart": lambda g: torch.zeros(MANY).index_fill(0, torch.tensor([77]), 1.0),
    "few values": lambda g: torch.randint(0, 5, (MANY,), generator=g).float(),
}


@pytest.mark.parametrize("k", [1, 77, MANY // 10, MANY // 2, MANY - 1, MANY])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_many_scores_are_selected_as_by_a_stable_sort(pattern: str, k: int) -> None:
    scores = PATTERNS[pattern](torch.Generator().manual_seed(1))
    assert top_k(scores, k).tolist() == by_sorting(scores, k)


@pytest.mark.parametrize("bracket", [(50.0, 60.0), (-60.0, -50.0), (0.0, 0.0), (-torch.inf, torch.inf)])
def test_a_bracket_that_misses_changes_nothing(bracket: tuple[float, float], monkeypatch: pytest.MonkeyPatch) -> None:
    scores = torch.randn(MANY, generator=torch.Generator().manual_seed(2))
    expected = scores.sort(descending=True).values[999]
    monkeypatch.setattr(select, "_bracket", lambda *_: bracket)
    assert kth_largest(scores, 1000).item() == expected.item()


@pytest.mark.parametrize(
    "dtype",
    [torch.float16, torch.bfloat16, torch.float64, torch.int8, torch.uint8, torch.int32, torch.int64, torch.bool],
)
@pytest.mark.parametrize("size", [50, MANY])
def test_every_real_dtype_is_ranked(dtype: torch.dtype, size: int) -> None:
    scores = torch.randint(0, 2 if dtype == torch.bool else 100, (size,), generator=torch.Generator().manual_seed(3))
    scores = scores.to(dtype)
    assert top_k(scores, size // 3).tolist() == by_sorting(scores, size // 3)


def test_large_whole_numbers_are_told_apart() -> None:
    scores = torch.tensor([2**53, 2**53 + 1, 2**53 + 2])
    assert top_k(scores, 2).tolist() == [False, True, True]


@pytest.mark.parametrize("size", [5, MANY])
def test_nan_is_refused(size: int) -> None:
    scores = torch.ones(size).index_fill(0, torch.tensor([1, 3]), torch.nan)
    for k in (0, 2):
        with pytest.raises(ValueError, match=f"2 of {size} .* NaN"):
            top_k(scores, k)
    with pytest.raises(ValueError, match="NaN"):
        kth_largest(scores, 2)


@pytest.mark.parametrize("k", [-1, 4])
def test_a_k_out_of_range_is_refused(k: int) -> None:
    with pytest.raises(ValueError, match=f"found {k}"):
        top_k(torch.ones(3), k)


@pytest.mark.parametrize("k", [0, 4])
def test_a_rank_out_of_range_is_refused(k: int) -> None:
    with pytest.raises(ValueError, match=f"found {k}"):
        kth_largest(torch.ones(3), k)


def test_scores_that_require_gradients_are_left_alone() -> None:
    scores = torch.tensor([1.0, 2.0], requires_grad=True)
    mask = top_k(scores, 1)
    assert (mask.requires_grad, scores.grad, scores.tolist()) == (False, None, [1.0, 2.0])
