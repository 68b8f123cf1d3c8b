"""What every structure must do under prune(); a new one is one line in STRUCTURES."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from common.allocate import Allocation, erk, global_, prune, uniform
from common.masks import Masks
from common.structure import Structure, blocks, channels, entries, n_of_m, tied

SHAPES: list[tuple[int, ...]] = [(8, 12), (4, 6, 2, 2)]


def _pairs(shape: tuple[int, ...]) -> Structure:
    return tied((torch.arange(torch.Size(shape).numel()) // 2).reshape(shape))


STRUCTURES: dict[str, Callable[[tuple[int, ...]], Structure]] = {
    "entries": lambda _: entries,
    "output channels": lambda _: channels(),
    "input channels": lambda _: channels(1),
    "last dimension": lambda _: channels(-1),
    "blocks": lambda _: blocks(2, 4),
    "blocks with a border": lambda _: blocks(3, 5),
    "tied": _pairs,
    "n_of_m": lambda _: n_of_m(2, 4),
}
every = pytest.mark.parametrize("make", STRUCTURES.values(), ids=STRUCTURES)


def densities(structure: Structure) -> list[float]:
    """Rounds to prune by."""
    only = getattr(structure, "density", None)
    return [0.8, 0.55, 0.3, 0.1] if only is None else [only, only]


def kept_groups(structure: Structure, mask: Tensor) -> Tensor:
    """Which groups a mask keeps; n of m groups are entries."""
    return mask if hasattr(structure, "density") else structure(mask.float())[0] > 0


@every
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("allocate", [global_, uniform, erk])
@given(seed=st.integers(0, 999), levels=st.sampled_from([1, 3, 1000]))
def test_rounds_are_exact_nested_whole_and_repeatable(
    make: Callable[[tuple[int, ...]], Structure], shape: tuple[int, ...], allocate: Allocation, seed: int, levels: int
) -> None:
    structure, within = make(shape), None
    generator = torch.Generator().manual_seed(seed)
    for density in densities(structure):
        scores = {name: torch.randint(-levels, levels, shape, generator=generator).float() for name in "ab"}
        masks = prune(scores, density, allocate=allocate, structure=structure, within=within)
        groups = {name: kept_groups(structure, mask) for name, mask in masks.items()}
        total = sum(group.numel() for group in groups.values())
        assert sum(int(group.sum()) for group in groups.values()) == round(density * total)
        for name, mask in masks.items():
            assert (mask.shape, mask.dtype) == (shape, torch.bool)
            assert torch.equal(structure(mask.float())[1](groups[name]), mask)
            assert within is None or bool((mask <= within[name]).all())
        again = prune(scores, density, allocate=allocate, structure=structure, within=within)
        assert masks.distance(again) == 0.0
        within = masks


@every
@pytest.mark.parametrize("shape", SHAPES)
@given(seed=st.integers(0, 999))
def test_within_masks_of_another_pattern_the_dead_stay_dead(
    make: Callable[[tuple[int, ...]], Structure], shape: tuple[int, ...], seed: int
) -> None:
    structure, generator = make(shape), torch.Generator().manual_seed(seed)
    within = Masks({"a": torch.rand(shape, generator=generator) < 0.95})
    scores = {"a": torch.randn(shape, generator=generator)}
    runs = within["a"].reshape(-1, 4).sum(1)
    if hasattr(structure, "density") and bool((runs < 2).any()):
        with pytest.raises(ValueError, match="are alive"):
            prune(scores, 0.5, structure=structure, within=within)
        return
    masks = prune(scores, 0.5, structure=structure, within=within)
    assert bool((masks["a"] <= within["a"]).all())
    assert masks["a"].any()


@every
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.int32, torch.bool])
def test_scores_of_any_dtype(make: Callable[[tuple[int, ...]], Structure], dtype: torch.dtype) -> None:
    scores = {"a": (torch.arange(96).reshape(8, 12) % 2).to(dtype)}
    structure = make((8, 12))
    masks = prune(scores, 0.5, structure=structure)
    same = prune({"a": scores["a"].float()}, 0.5, structure=structure)
    assert masks.distance(same) == 0.0
