"""Structures on literal 2-D and 4-D tensors; defect 4 of llm-compressor (blocks and channels by shape) among them."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from common.structure import Structure, blocks, channels, entries, n_of_m, tied

INF = torch.inf


def ids(*shape: int) -> Tensor:
    return torch.arange(float(torch.Size(shape).numel())).reshape(shape)


def test_entries_stand_for_themselves() -> None:
    score = ids(2, 2)
    groups, expand = entries(score)
    assert groups.tolist() == [[0, 1], [2, 3]]
    assert expand(groups >= 2).tolist() == [[False, False], [True, True]]


def test_channels_of_a_linear_weight() -> None:
    score = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    groups, expand = channels(0)(score)
    assert groups.tolist() == [2.0, 5.0]
    assert expand(torch.tensor([False, True])).int().tolist() == [[0, 0, 0], [1, 1, 1]]
    groups, expand = channels(1)(score)
    assert groups.tolist() == [2.5, 3.5, 4.5]
    assert expand(torch.tensor([True, False, True])).int().tolist() == [[1, 0, 1], [1, 0, 1]]
    assert channels(-1)(score)[0].tolist() == groups.tolist()


def test_channels_of_a_convolution() -> None:
    score = ids(2, 3, 1, 2)  # 0 .. 11
    assert channels(0)(score)[0].tolist() == [2.5, 8.5]
    groups, expand = channels(1)(score)
    assert groups.tolist() == [3.5, 5.5, 7.5]
    mask = expand(torch.tensor([False, True, False]))
    assert mask.shape == score.shape
    assert score[mask].tolist() == [2, 3, 8, 9]


def test_channels_of_a_vector_are_its_entries() -> None:
    groups, expand = channels()(torch.tensor([3.0, 1.0]))
    assert groups.tolist() == [3.0, 1.0]
    assert expand(groups > 2).tolist() == [True, False]


def test_blocks_tile_a_matrix() -> None:
    groups, expand = blocks(2, 2)(ids(4, 4))
    assert groups.tolist() == [[2.5, 4.5], [10.5, 12.5]]
    mask = expand(torch.tensor([[True, False], [False, True]]))
    assert mask.int().tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]]


def test_blocks_at_the_border_average_what_they_have() -> None:
    groups, expand = blocks(2, 2)(ids(3, 3))  # 0 1 2 / 3 4 5 / 6 7 8
    assert groups.tolist() == [[2.0, 3.5], [6.5, 8.0]]
    mask = expand(torch.tensor([[False, True], [True, False]]))
    assert mask.int().tolist() == [[0, 0, 1], [0, 0, 1], [1, 1, 0]]


def test_blocks_of_a_convolution_tile_its_flattened_matrix() -> None:
    score = ids(2, 2, 1, 2)  # rows 0 1 2 3 and 4 5 6 7
    groups, expand = blocks(1, 3)(score)
    assert groups.tolist() == [[1.0, 3.0], [5.0, 7.0]]
    mask = expand(torch.tensor([[True, False], [False, True]]))
    assert mask.shape == score.shape
    assert score[mask].tolist() == [0, 1, 2, 7]


def test_n_of_m_ranks_within_every_run() -> None:
    groups, expand = n_of_m(2, 4)(torch.tensor([[1.0, 4.0, 3.0, 2.0], [5.0, 5.0, 5.0, 0.0]]))
    assert groups.tolist() == [[-INF, 0, -1, -INF], [0, -1, -INF, -INF]]
    assert expand(groups > -INF).int().tolist() == [[0, 1, 1, 0], [1, 1, 0, 0]]
    assert n_of_m(2, 4).density == 0.5  # type: ignore[attr-defined]


def test_n_of_m_on_a_convolution_runs_over_in_channels_and_kernel() -> None:
    score = ids(2, 2, 1, 2)
    groups, expand = n_of_m(1, 4)(score)
    assert groups.shape == score.shape
    assert score[expand(groups > -INF)].tolist() == [3, 7]


def test_tied_entries_share_their_mean() -> None:
    groups, expand = tied(torch.tensor([[0, 1], [1, 2]]))(torch.tensor([[4.0, 1.0], [2.0, 3.0]]))
    assert groups.tolist() == [4.0, 1.5, 3.0]
    assert expand(torch.tensor([False, True, False])).int().tolist() == [[0, 1], [1, 0]]


@pytest.mark.parametrize("structure", [channels(), blocks(1, 2), tied(torch.tensor([[0, 0], [1, 1]]))])
def test_dead_entries_count_as_zero_and_a_dead_group_stays_dead(structure: Structure) -> None:
    groups, _ = structure(torch.tensor([[-INF, 4.0], [-INF, -INF]]))
    assert groups.flatten().tolist() == [2.0, -INF]


def test_half_precision_scores_are_averaged_without_overflow() -> None:
    groups, _ = channels()(torch.full((1, 10), 60000.0, dtype=torch.float16))
    assert groups.dtype == torch.float32
    assert groups.item() == 60000.0


TIED = tied(torch.tensor([[0, 0, 0, 0], [1, 1, 1, 1]]))


@pytest.mark.parametrize("structure", [channels(), blocks(1, 4), TIED])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.int8, torch.bool])
def test_any_dtype_is_averaged(structure: Structure, dtype: torch.dtype) -> None:
    groups, _ = structure(torch.tensor([[1, 0, 0, 0], [1, 1, 1, 0]]).to(dtype))
    assert groups.flatten().tolist() == [0.25, 0.75]


@pytest.mark.parametrize("dim", [0, 1, 2, 3, -1, -3])
def test_channels_of_a_transposed_view(dim: int) -> None:
    score = ids(3, 4, 2, 5).transpose(2, 3)
    others = [d for d in range(4) if d != dim % 4]
    groups, expand = channels(dim)(score)
    assert groups.tolist() == score.mean(others).tolist()
    chosen = torch.arange(groups.numel()) == 1
    assert torch.equal(expand(chosen).float().mean(others), chosen.float())


def test_a_mask_has_memory_of_its_own() -> None:
    mask = channels()(ids(2, 3))[1](torch.tensor([True, False]))
    mask[0, 0] = False
    assert mask.int().tolist() == [[0, 1, 1], [0, 0, 0]]


@given(st.integers(1, 7), st.integers(1, 7), st.integers(1, 9), st.integers(1, 9))
def test_blocks_are_tied_tiles(rows: int, columns: int, height: int, width: int) -> None:
    score = torch.randn(rows, columns, generator=torch.Generator().manual_seed(rows))
    tile = torch.arange(rows)[:, None] // height * -(-columns // width) + torch.arange(columns) // width
    groups, expand = blocks(height, width)(score)
    pooled, to_mask = tied(tile)(score)
    torch.testing.assert_close(groups.flatten(), pooled)
    assert torch.equal(expand(groups > 0), to_mask(groups.flatten() > 0))


STRUCTURES = st.one_of(
    st.just(entries),
    st.builds(channels, st.integers(0, 1)),
    st.builds(blocks, st.integers(1, 4), st.integers(1, 4)),
)


@given(STRUCTURES, st.integers(1, 5), st.integers(1, 5), st.integers(1, 2))
def test_every_entry_is_in_exactly_one_group(structure: Structure, a: int, b: int, c: int) -> None:
    groups, expand = structure(torch.zeros(a, b, c, c))
    covered = torch.zeros(a, b, c, c, dtype=torch.long)
    for i in range(groups.numel()):
        one = torch.zeros(groups.numel(), dtype=torch.bool)
        one[i] = True
        mask = expand(one.reshape(groups.shape))
        assert mask.any()
        covered += mask
    assert (covered == 1).all()


@pytest.mark.parametrize(
    "module", [nn.Linear(6, 4), nn.Conv2d(3, 4, 2), nn.Conv1d(6, 4, 2)], ids=lambda m: type(m).__name__
)
@pytest.mark.parametrize("structure", [entries, channels(), channels(1), blocks(2, 2), blocks(3, 5), n_of_m(1, 2)])
def test_defect_4_every_structure_fits_linear_and_convolution(module: nn.Module, structure: Structure) -> None:
    weight = module.weight
    groups, expand = structure(weight.detach().abs())
    mask = expand(torch.ones(groups.shape, dtype=torch.bool))
    assert (mask.shape, mask.dtype, bool(mask.all())) == (weight.shape, torch.bool, True)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match=r"n_of_m\(2, 4\) found a tensor of shape \(3, 6\) with rows of 6 entries"):
        n_of_m(2, 4)(ids(3, 6))
    with pytest.raises(ValueError, match=r"channels\(dim=1\) found a tensor of shape \(3,\)"):
        channels(1)(ids(3))
    with pytest.raises(ValueError, match=r"two or more dimensions; found the shape \(3,\)"):
        blocks(1, 1)(ids(3))
    with pytest.raises(ValueError, match="at least 1; found 0 and 2"):
        blocks(0, 2)
    with pytest.raises(ValueError, match="found n=5, m=4"):
        n_of_m(5, 4)
    with pytest.raises(ValueError, match=r"index of shape \(2,\); found scores of \(3,\)"):
        tied(torch.tensor([0, 1]))(ids(3))
    with pytest.raises(ValueError, match="no entry in group 1 of 3"):
        tied(torch.tensor([0, 2]))
    with pytest.raises(ValueError, match="found the number -1"):
        tied(torch.tensor([0, -1]))
    with pytest.raises(TypeError, match=r"torch\.float32"):
        tied(torch.tensor([0.0, 1.0]))
