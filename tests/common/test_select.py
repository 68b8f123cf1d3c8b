"""Exact selection against numpy's stable sort, for every pattern of ties, with and without a sample's bracket."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from common import select
from common.select import kth_largest, top_counts, top_k

INF = torch.inf
DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int8, torch.uint8, torch.bool]
NUMBERS = st.one_of(
    st.lists(st.sampled_from([-INF, -1.0, -0.0, 0.0, 0.5, 1.0, INF]), min_size=1, max_size=300),
    st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=300),
)


@pytest.fixture(params=["everything is searched", "a sample brackets"], autouse=True)
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test runs with both ways of searching, whatever the size."""
    if request.param == "a sample brackets":
        monkeypatch.setattr(select, "_LARGE", 1)
        monkeypatch.setattr(select, "_SAMPLE", 40)
        monkeypatch.setattr(select, "_CHUNK", 32)


def oracle(values: Tensor, k: int) -> Tensor:
    """The k largest by numpy's stable sort."""
    order = np.argsort(-values.reshape(-1).double().numpy(), kind="stable")
    mask = torch.zeros(values.numel(), dtype=torch.bool)
    mask[torch.from_numpy(order[:k].copy())] = True
    return mask.reshape(values.shape)


def test_literal_masks() -> None:
    scores = torch.tensor([[1.0, 3.0, 3.0], [3.0, 2.0, 0.0]])
    assert top_k(scores, 0).tolist() == [[False, False, False], [False, False, False]]
    assert top_k(scores, 2).tolist() == [[False, True, True], [False, False, False]]
    assert top_k(scores, 4).tolist() == [[False, True, True], [True, True, False]]
    assert top_k(scores, 6).tolist() == [[True, True, True], [True, True, True]]


def test_literal_values() -> None:
    values = torch.tensor([2.0, -INF, 5.0, INF])
    assert [kth_largest(values, k).item() for k in (1, 2, 3, 4)] == [INF, 5.0, 2.0, -INF]


@given(NUMBERS, st.data())
def test_exactly_k_for_any_tie_pattern(numbers: list[float], data: st.DataObject) -> None:
    values = torch.tensor(numbers)
    k = data.draw(st.integers(0, len(numbers)))
    mask = top_k(values, k)
    assert int(mask.sum()) == k
    assert torch.equal(mask, oracle(values, k))
    if k:
        assert kth_largest(values, k).item() == sorted(numbers, reverse=True)[k - 1]


@given(st.sampled_from(DTYPES), st.integers(1, 200), st.integers(1, 60), st.data())
def test_every_dtype(dtype: torch.dtype, size: int, distinct: int, data: st.DataObject) -> None:
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 999)))
    values = torch.randint(distinct, (size,), generator=generator).to(dtype)
    k = data.draw(st.integers(1, size))
    assert torch.equal(top_k(values, k), oracle(values, k))
    assert kth_largest(values, k).item() == values.double().sort(descending=True).values[k - 1].item()


def test_large_integers_are_told_apart() -> None:
    values = torch.tensor([2**60, 2**60 + 1, 2**60 - 1])
    assert kth_largest(values, 1).item() == 2**60 + 1
    assert top_k(values, 2).tolist() == [True, True, False]


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(torch.arange(4096.0), id="rising"),
        pytest.param(torch.arange(4096.0).flip(0), id="falling"),
        pytest.param((torch.arange(4096) % 64).float(), id="periodic"),
        pytest.param((torch.arange(4096) % 64 == 0).float(), id="a spike every 64"),
        pytest.param(torch.arange(4096.0) % 2 * torch.arange(4096.0), id="half zero"),
        pytest.param(torch.zeros(4096), id="all equal"),
        pytest.param(torch.full((4096,), -INF), id="all dead"),
        pytest.param(torch.where(torch.arange(4096) < 4090, -INF, torch.arange(4096.0)), id="six alive"),
        pytest.param(torch.cat([torch.full((2048,), INF), torch.zeros(2048)]), id="half infinite"),
        pytest.param(10.0 ** (torch.arange(4096.0) % 76 - 38), id="every magnitude"),
    ],
)
def test_adversarial_inputs(values: Tensor) -> None:
    for k in (1, 2, 6, 64, 65, 819, 2047, 2048, 2049, 4032, 4095, 4096):
        assert torch.equal(top_k(values, k), oracle(values, k)), k


@pytest.mark.parametrize("bounds", [(5.0, 6.0), (-6.0, -5.0), (0.0, 0.0)])
def test_a_bracket_that_misses_is_noticed(monkeypatch: pytest.MonkeyPatch, bounds: tuple[float, float]) -> None:
    monkeypatch.setattr(select, "_bracket", lambda *_: bounds)
    values = torch.linspace(-1.0, 1.0, 101)
    assert kth_largest(values, 30).item() == values[101 - 30].item()


@given(st.lists(st.lists(st.integers(0, 4), max_size=60), min_size=1, max_size=5), st.data())
def test_several_tensors_are_one_long_one(parts: list[list[int]], data: st.DataObject) -> None:
    tensors = [torch.tensor(part, dtype=torch.float32) for part in parts]
    together = torch.cat(tensors)
    k = data.draw(st.integers(0, together.numel()))
    assert top_counts(tensors, k) == [int(m.sum()) for m in oracle(together, k).split([len(p) for p in parts])]
    if k:
        assert kth_largest(tensors, k).item() == kth_largest(together, k).item()


def test_mixed_dtypes_are_compared_exactly() -> None:
    parts = [torch.tensor([1.0], dtype=torch.float32), torch.tensor([1.0 + 1e-12], dtype=torch.float64)]
    assert top_counts(parts, 1) == [0, 1]
    assert top_counts([torch.tensor([1.0], dtype=torch.float16), torch.tensor([1.0])], 1) == [1, 0]


def test_views_are_read_and_left_alone() -> None:
    values = torch.arange(12.0).reshape(3, 4)
    before = values.clone()
    assert torch.equal(top_k(values.T, 5), oracle(values.T.contiguous(), 5))
    assert torch.equal(top_k(values[:, ::2], 2), torch.tensor([[False, False], [False, False], [True, True]]))
    assert torch.equal(values, before)


def test_the_global_generator_is_left_alone() -> None:
    before = torch.random.get_rng_state()
    top_k(torch.arange(500.0), 100)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_scores_that_require_gradients_are_left_alone() -> None:
    scores = torch.tensor([1.0, 2.0], requires_grad=True)
    mask = top_k(scores, 1)
    assert (mask.requires_grad, scores.grad, scores.tolist()) == (False, None, [1.0, 2.0])


@pytest.mark.parametrize("k", [0, 1, 3])
def test_nan_is_refused(k: int) -> None:
    scores = torch.tensor([1.0, torch.nan, 2.0])
    with pytest.raises(ValueError, match="1 of 3 values are NaN"):
        top_k(scores, k)
    with pytest.raises(ValueError, match="1 of 3 values are NaN"):
        top_counts([scores], k)


@pytest.mark.parametrize("k", [-1, 4])
def test_k_out_of_range_is_refused(k: int) -> None:
    with pytest.raises(ValueError, match=rf"k must lie in \[0, 3\].*found {k}"):
        top_k(torch.ones(3), k)
    with pytest.raises(ValueError, match=rf"k must lie in \[1, 3\].*found {k}"):
        kth_largest(torch.ones(3), k)


def test_complex_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match=r"complex64.*no order"):
        top_k(torch.ones(3, dtype=torch.complex64), 1)


@pytest.mark.parametrize("size", [(1 << 18) - 1, (1 << 18) + 3, (1 << 20) + 77])
def test_real_sizes(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.undo()
    values = torch.randn(size, generator=torch.Generator().manual_seed(size)).mul_(50).round_()
    for k in (1, size // 5, size // 2, size - 1):
        assert torch.equal(top_k(values, k), oracle(values, k))
