"""Allocations meet their budgets exactly, and prune() keeps the right entries, nested over rounds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from common.allocate import Allocation, by_depth, counts, erk, global_, prune, uniform, uniform_plus
from common.masks import Masks
from common.structure import Structure, blocks, channels, entries, n_of_m, tied

A = torch.tensor([[4.0, 1.0], [2.0, 3.0]])
B = torch.tensor([0.0, 5.0])
ALLOCATIONS: dict[str, Allocation] = {
    "global_": global_,
    "uniform": uniform,
    "uniform_plus": uniform_plus,
    "erk": erk,
    "by_depth": by_depth(20, 1, floor=0.01),
}
SHAPES = st.lists(st.sampled_from([(3,), (4, 5), (2, 3, 3, 3), (7, 1), (1,)]), min_size=1, max_size=5)


def drawn(shapes: list[tuple[int, ...]], seed: int, levels: int = 4) -> dict[str, Tensor]:
    """Scores with many ties."""
    generator = torch.Generator().manual_seed(seed)
    return {f"t{i}": torch.randint(0, levels, shape, generator=generator).float() for i, shape in enumerate(shapes)}


def by_sorting(scores: dict[str, Tensor], k: int) -> dict[str, Tensor]:
    """Global pruning by a stable sort of everything."""
    flat = np.concatenate([score.numpy().ravel() for score in scores.values()])
    mask = np.zeros(flat.size, dtype=bool)
    mask[np.argsort(-flat, kind="stable")[:k]] = True
    parts = torch.from_numpy(mask).split([score.numel() for score in scores.values()])
    return {name: part.reshape(scores[name].shape) for (name, part) in zip(scores, parts, strict=True)}


def test_global_pruning_literally() -> None:
    masks = prune({"a": A, "b": B}, 0.5)
    assert isinstance(masks, Masks)
    assert {name: mask.int().tolist() for name, mask in masks.items()} == {"a": [[1, 0], [0, 1]], "b": [0, 1]}


def test_uniform_pruning_literally() -> None:
    masks = prune({"a": A, "b": B}, 0.5, allocate=uniform)
    assert {name: mask.int().tolist() for name, mask in masks.items()} == {"a": [[1, 0], [0, 1]], "b": [0, 1]}
    masks = prune({"a": A + 9, "b": B}, 0.5, allocate=uniform)
    assert masks.counts() == {"a": (2, 4), "b": (1, 2)}


def test_defect_3_ties_keep_the_share_asked_for() -> None:
    masks = prune({"a": torch.ones(4, 2), "b": torch.ones(8)}, 0.5)
    assert masks.density == 0.5
    assert masks.counts() == {"a": (8, 8), "b": (0, 8)}
    assert prune({"a": torch.zeros(6)}, 0.5)["a"].int().tolist() == [1, 1, 1, 0, 0, 0]


@pytest.mark.parametrize("shape", [(8, 12), (4, 4, 2, 3)])
@pytest.mark.parametrize("structure", [entries, channels(), channels(1), blocks(2, 2), blocks(3, 5)])
@pytest.mark.parametrize("levels", [1, 3, 1000])
def test_defect_4_every_structure_is_exact_and_nested(
    shape: tuple[int, ...], structure: Structure, levels: int
) -> None:
    within: Masks | None = None
    for seed, density in enumerate([0.75, 0.5, 0.25]):
        scores = drawn([shape, shape], seed, levels)
        masks = prune(scores, density, structure=structure, within=within)
        groups = {name: structure(mask.float())[0] > 0 for name, mask in masks.items()}
        assert sum(int(g.sum()) for g in groups.values()) == round(density * sum(g.numel() for g in groups.values()))
        for name, mask in masks.items():
            assert torch.equal(structure(mask.float())[1](groups[name]), mask)  # no group is cut
            assert within is None or bool((mask <= within[name]).all())
        within = masks


def test_defect_5_800_of_1000_are_kept_at_four_fifths() -> None:
    for scores in (torch.arange(1000.0), torch.ones(1000)):
        assert prune({"w": scores}, 0.8).kept == 800


@given(SHAPES, st.floats(0, 1), st.integers(0, 99))
def test_global_pruning_is_a_stable_sort(shapes: list[tuple[int, ...]], density: float, seed: int) -> None:
    scores = drawn(shapes, seed)
    total = sum(score.numel() for score in scores.values())
    masks, expected = prune(scores, density), by_sorting(scores, round(density * total))
    assert all(torch.equal(masks[name], expected[name]) for name in scores)


@pytest.mark.parametrize("name", ALLOCATIONS)
@given(shapes=SHAPES, seed=st.integers(0, 99), first=st.floats(0, 1), second=st.floats(0, 1))
def test_every_allocation_is_exact_nested_and_repeatable(
    name: str, shapes: list[tuple[int, ...]], seed: int, first: float, second: float
) -> None:
    # the big tensor leaves uniform_plus room to keep the first one dense
    allocate, scores = ALLOCATIONS[name], drawn([(2, 2), (40, 40), *shapes, (5, 4)], seed)
    densities = [0.3 + 0.7 * density for density in sorted([first, second], reverse=True)]
    total, within = sum(score.numel() for score in scores.values()), None
    for density in densities:
        masks = prune(scores, density, allocate=allocate, within=within)
        assert masks.kept == round(density * total)
        assert within is None or all(bool((masks[n] <= within[n]).all()) for n in scores)
        again = prune(scores, density, allocate=allocate, within=within)
        assert all(torch.equal(masks[n], again[n]) for n in scores)
        within = masks


def test_uniform_gives_every_tensor_its_share() -> None:
    assert uniform({"a": torch.ones(10), "b": torch.ones(30)}, 0.25) == {"a": 3, "b": 7}  # 2.5 and 7.5, first up
    assert uniform({"a": torch.ones(7), "b": torch.ones(7), "c": torch.ones(7)}, 0.5) == {"a": 4, "b": 3, "c": 3}


def test_uniform_plus_keeps_the_first_dense_and_a_fifth_of_the_last() -> None:
    scores = {"a": torch.ones(10), "b": torch.ones(100), "c": torch.ones(50)}
    assert uniform_plus(scores, 0.2) == {"a": 10, "b": 12, "c": 10}
    assert uniform_plus(scores, 0.5) == {"a": 10, "b": 47, "c": 23}
    with pytest.raises(ValueError, match="uniform_plus keeps 'a' dense and a fifth of 'c', 20 groups at least"):
        uniform_plus(scores, 0.1)


def test_erk_follows_sides_over_entries_and_stops_at_dense() -> None:
    shapes = {"conv": (8, 4, 3, 3), "linear": (32, 48), "head": (2, 8)}
    scores = {name: torch.ones(shape) for name, shape in shapes.items()}
    found = erk(scores, 0.1)
    assert sum(found.values()) == round(0.1 * (288 + 1536 + 16))
    assert found["head"] == 16  # 10 / 16 of it times the factor is more than all
    # the rest: 168 entries in proportion to the sides 8+4+3+3 and 32+48
    assert found["conv"] == round(168 * 18 / 98)
    assert found["linear"] == 168 - found["conv"]


def test_by_depth_is_the_published_rule_at_whole_rounds() -> None:
    scores = {f"t{j}": torch.ones(100_000) for j in range(3)}
    shares = [(1 - (20 + j) / 100) ** 4 for j in range(3)]
    found = by_depth(20, 1, floor=0.0)(scores, sum(shares) / 3)
    assert all(abs(found[f"t{j}"] - 100_000 * shares[j]) <= 1 for j in range(3))


def test_by_depth_keeps_its_floor() -> None:
    scores = {f"t{j}": torch.ones(1000) for j in range(20)}
    found = by_depth(20, 1, floor=0.01)(scores, 0.012)
    assert min(found.values()) >= 10
    assert list(found.values()) == sorted(found.values(), reverse=True)
    with pytest.raises(ValueError, match=r"found a density of 0\.005"):
        by_depth(20, 1, floor=0.01)(scores, 0.005)


@pytest.mark.parametrize(("p", "q", "floor"), [(0, 0, 0.0), (100, 0, 0.0), (-5, 1, 0.0), (20, 1, 1.5), (20, 1, -0.1)])
def test_by_depth_refuses_rates_that_prune_nothing_or_all(p: float, q: float, floor: float) -> None:
    with pytest.raises(ValueError, match=r"floor|expected"):
        by_depth(p, q, floor)(dict.fromkeys("ab", torch.ones(9)), 0.5)


def test_by_depth_refuses_a_rate_that_deep_tensors_cannot_have() -> None:
    with pytest.raises(ValueError, match="100"):
        by_depth(20, 50, floor=0.1)(dict.fromkeys("abc", torch.ones(9)), 0.5)


def test_counts_are_kept_to_the_letter() -> None:
    masks = prune({"a": A, "b": B}, 0.5, allocate=counts({"a": 1, "b": 2}))
    assert masks.counts() == {"a": (1, 4), "b": (2, 2)}
    for wrong in ({"a": 1, "b": 1}, {"a": 5, "b": -2}, {"a": 0, "b": 3}):
        with pytest.raises(ValueError, match=r"expected|asks for"):
            prune({"a": A, "b": B}, 0.5, allocate=counts(wrong))
    with pytest.raises((KeyError, ValueError), match="c"):
        prune({"a": A, "b": B}, 0.5, allocate=counts({"a": 1, "c": 2}))


def test_an_allocation_of_ones_own_is_checked() -> None:
    with pytest.raises(ValueError, match="asks for"):
        prune({"a": A, "b": B}, 0.5, allocate=lambda scores, density: {"a": 1, "b": 1})
    with pytest.raises(ValueError, match="'b'"):
        prune({"a": A, "b": B}, 0.5, allocate=lambda scores, density: {"a": 0, "b": 3})


def test_the_dead_stay_dead_even_with_the_best_scores() -> None:
    within = Masks({"a": torch.tensor([[0, 1], [1, 1]]), "b": torch.tensor([1, 0])})
    masks = prune({"a": A, "b": B}, 0.5, within=within)
    assert {name: mask.int().tolist() for name, mask in masks.items()} == {"a": [[0, 1], [1, 1]], "b": [0, 0]}


def test_a_group_lives_while_an_entry_does_and_keeps_only_the_living() -> None:
    within = Masks({"a": torch.tensor([[1, 0], [0, 0], [1, 1]])})
    scores = {"a": torch.tensor([[9.0, 9.0], [9.0, 9.0], [1.0, 1.0]])}
    masks = prune(scores, 2 / 3, structure=channels(), within=within)
    assert masks["a"].int().tolist() == [[1, 0], [0, 0], [1, 1]]
    with pytest.raises(ValueError, match="only 2 are alive"):
        prune(scores, 1.0, structure=channels(), within=within)


def test_a_structure_for_each_name() -> None:
    scores = {"a": A, "edges": torch.tensor([1.0, 9.0, 0.0, 3.0])}
    masks = prune(scores, 0.5, allocate=uniform, structure={"edges": tied(torch.tensor([0, 1, 0, 1]))})
    assert masks["a"].int().tolist() == [[1, 0], [0, 1]]
    assert masks["edges"].int().tolist() == [0, 1, 0, 1]
    with pytest.raises(KeyError, match=r"'edge'.*nearest is 'edges'"):
        prune(scores, 0.5, structure={"edge": entries})


@pytest.mark.parametrize("allocate", [global_, uniform])
def test_two_of_four_is_kept_in_every_run_of_all_tensors(allocate: Allocation) -> None:
    scores = {"a": torch.rand(4, 8), "b": 100 + torch.rand(2, 2, 2, 2)}
    masks = prune(scores, 0.5, allocate=allocate, structure=n_of_m(2, 4))
    for mask in masks.values():
        assert mask.reshape(-1, 4).sum(1).tolist() == [2] * (mask.numel() // 4)
    with pytest.raises(ValueError, match=r"found a density of 0\.25"):
        prune(scores, 0.25, allocate=allocate, structure=n_of_m(2, 4))


def test_two_of_four_needs_two_that_are_alive() -> None:
    within = Masks({"a": torch.tensor([[1, 0, 0, 0, 1, 1, 1, 1]])})
    with pytest.raises(ValueError, match="only 3 are alive"):
        prune({"a": torch.rand(1, 8)}, 0.5, structure=n_of_m(2, 4), within=within)


@pytest.mark.parametrize("density", [-0.1, 1.1, float("nan"), float("inf")])
@pytest.mark.parametrize("allocate", ALLOCATIONS.values(), ids=ALLOCATIONS)
def test_a_density_that_is_no_share_is_refused(density: float, allocate: Allocation) -> None:
    with pytest.raises(ValueError, match=f"found a density of {density}"):
        prune({"a": A, "b": B}, density, allocate=allocate)
    with pytest.raises(ValueError, match=f"found a density of {density}"):
        allocate({"a": A, "b": B}, density)


def test_more_than_is_alive_is_refused() -> None:
    within = Masks({"a": torch.tensor([[0, 1], [0, 0]]), "b": torch.tensor([1, 1])})
    with pytest.raises(ValueError, match=r"keeps 5 of 6 groups, but only 3 are alive"):
        prune({"a": A, "b": B}, 5 / 6, within=within)


def test_what_cannot_be_ranked_is_refused() -> None:
    with pytest.raises(ValueError, match="no scores"):
        prune({}, 0.5)
    with pytest.raises(ValueError, match=r"(?s)'b'.*NaN|NaN.*'b'"):
        prune({"a": A, "b": torch.tensor([torch.nan, 1.0])}, 0.5)
    with pytest.raises(KeyError, match="'b'"):
        prune({"a": A, "b": B}, 0.5, within=Masks({"a": A > 0}))
    with pytest.raises(ValueError, match=r"(?s)'a'.*\(2,\)"):
        prune({"a": A}, 0.5, within=Masks({"a": B > 0}))


def test_extreme_densities_and_whole_number_scores() -> None:
    assert prune({"a": A, "b": B}, 0.0).kept == 0
    assert prune({"a": A, "b": B}, 1.0).kept == 6
    assert prune({"a": torch.tensor([3, 1, 2])}, 1 / 3)["a"].tolist() == [True, False, False]
