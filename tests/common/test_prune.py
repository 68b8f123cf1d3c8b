"""prune() in corners: NaN among the dead, partly dead groups, mixed structures, dtypes and devices of masks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from common.allocate import by_depth, by_depth_rates, counts, erk, global_, prune, uniform, uniform_plus
from common.masks import Masks
from common.recipe import references
from common.structure import channels, entries, n_of_m, tied

T, F = True, False


@given(st.lists(st.integers(0, 3), min_size=1, max_size=60), st.lists(st.floats(0, 1), min_size=1, max_size=5))
def test_nested_rounds_keep_exact_counts_even_when_scores_change(levels: list[int], drawn: list[float]) -> None:
    within, scores = None, torch.tensor(levels)
    for density in sorted(drawn, reverse=True):
        masks = prune({"w": scores}, density, within=within)
        assert masks.kept == round(density * len(levels))
        assert within is None or bool((masks["w"] <= within["w"]).all())
        within, scores = masks, -scores.roll(1)


def test_a_nan_among_the_dead_does_not_matter() -> None:
    scores = {"w": torch.tensor([torch.nan, 1.0, 2.0, torch.inf])}
    masks = prune(scores, 0.5, within={"w": torch.tensor([F, T, T, F])})
    assert masks["w"].tolist() == [F, T, T, F]
    with pytest.raises(ValueError, match="1 of 4 scores of 'w' are NaN"):
        prune(scores, 0.5)


def test_a_score_of_minus_infinity_is_never_kept() -> None:
    scores = {"w": torch.tensor([-torch.inf, -5.0, 1.0])}
    assert prune(scores, 2 / 3)["w"].tolist() == [F, T, T]
    with pytest.raises(ValueError, match="keeps 3 of 3 groups, but only 2 are alive"):
        prune(scores, 1.0)


def test_a_partly_dead_group_ranks_by_what_it_has_left() -> None:
    scores = {"w": torch.tensor([[6.0, 99.0], [2.0, 2.0], [99.0, 99.0], [5.0, 5.0]])}
    within = {"w": torch.tensor([[T, F], [T, T], [F, F], [T, T]])}  # means over the row: 3, 2, dead, 5
    masks = prune(scores, 0.5, structure=channels(), within=within)
    assert masks["w"].tolist() == [[T, F], [F, F], [F, F], [T, T]]


def test_masks_of_zeros_and_ones_will_do_within_and_are_left_alone() -> None:
    within = {"w": torch.tensor([1.0, 0.0, 1.0, 1.0]), "other": torch.ones(1)}
    masks = prune({"w": torch.tensor([1, 9, 3, 2])}, 0.5, within=within)
    assert masks["w"].tolist() == [F, F, T, T]
    assert list(masks) == ["w"]
    assert within["w"].tolist() == [1, 0, 1, 1]


def test_entries_and_n_of_m_do_not_share_a_global_budget() -> None:
    scores = {"a": torch.arange(4.0), "b": torch.full((4,), 9.0)}
    mixed = {"a": n_of_m(2, 4)}
    with pytest.raises(ValueError, match=r"structure of 'a' keeps 2 entries; the allocation gives it 0"):
        prune(scores, 0.5, structure=mixed)
    masks = prune(scores, 0.5, structure=mixed, allocate=uniform)
    assert {name: mask.tolist() for name, mask in masks.items()} == {"a": [F, F, T, T], "b": [T, T, F, F]}


def test_a_third_is_met_by_one_of_three() -> None:
    assert prune({"w": torch.arange(9.0)}, 0.3333333333333, structure=n_of_m(1, 3)).kept == 3
    with pytest.raises(ValueError, match=r"can only keep 0\.333333 .* found a density of 0\.33"):
        prune({"w": torch.arange(9.0)}, 0.33, structure=n_of_m(1, 3))


def test_an_edge_pair_and_a_matrix_compete() -> None:
    scores = {"edges": torch.tensor([1.0, 4.0, 5.0, 2.0]), "w": torch.tensor([[3.5, 2.5]])}
    pairs = {"edges": tied(torch.tensor([0, 1, 0, 1]))}  # both means are 3
    masks = prune(scores, 0.5, structure=pairs)
    assert masks["edges"].tolist() == [T, F, T, F]  # of tied scores the first
    assert masks["w"].tolist() == [[T, F]]


@pytest.mark.parametrize(
    ("scores", "error", "message"),
    [
        ({"w": torch.empty(0, 3)}, ValueError, r"scores of 'w' are empty, of shape \(0, 3\)"),
        ({"w": torch.ones(2, dtype=torch.complex64)}, TypeError, r"'w'.*complex64"),
        ({"w": [1.0, 2.0]}, TypeError, r"'w'.*found list"),
    ],
)
def test_scores_without_order_are_refused(scores: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        prune(scores, 0.5)


def test_scores_keep_their_gradients_and_masks_have_none() -> None:
    score = torch.tensor([1.0, 2.0], requires_grad=True)
    mask = prune({"w": score}, 0.5)["w"]
    assert (mask.requires_grad, score.requires_grad) == (False, True)


def test_many_weights_take_the_sampled_way_to_the_same_masks() -> None:
    generator = torch.Generator().manual_seed(0)
    scores = {n: torch.randn(size, generator=generator) for n, size in (("a", 200_000), ("b", 1), ("c", 150_001))}
    masks = prune(scores, 0.2)
    order = torch.cat(list(scores.values())).sort(descending=True, stable=True).indices[:70_000]
    expected = torch.zeros(350_002, dtype=torch.bool).index_fill(0, order, True)
    assert torch.equal(torch.cat(list(masks.values())), expected)


def test_rates_by_depth() -> None:
    assert by_depth_rates(3, 20, 10) == pytest.approx([0.8, 0.7, 0.6])
    assert by_depth_rates(2, 20, 30, rounds=2, floor=0.3) == pytest.approx([0.64, 0.3])
    assert by_depth_rates(20, 20, 1, rounds=25)[-1] == pytest.approx(0.61**25)  # 4e-6: the trap
    with pytest.raises(ValueError, match=r"remove 120 % of tensor 1"):
        by_depth_rates(2, 20, 100)


def test_what_allocations_cite() -> None:
    cited = [text.split(",")[0] for text in references(uniform_plus, erk, by_depth(20, 1, floor=0.1), global_)]
    assert cited == ["Gale et al.", "Evci et al.", "Jiang et al."]


def test_counts_keep_the_order_of_the_scores() -> None:
    found = counts({"b": 1, "a": 2})({"a": torch.ones(3), "b": torch.ones(3)}, 0.5)
    assert list(found.items()) == [("a", 2), ("b", 1)]


def test_structures_named_for_some_leave_the_rest_alone() -> None:
    scores = {"a": torch.tensor([[1.0, 4.0], [2.0, 2.0]]), "b": torch.tensor([3.0, 0.0])}
    masks = prune(scores, 0.5, structure={"a": channels(), "b": entries})
    assert {name: mask.tolist() for name, mask in masks.items()} == {"a": [[T, T], [F, F]], "b": [T, F]}


def test_tensors_of_one_density_on_both_sides_of_a_tie() -> None:
    masks: Masks = prune({"a": torch.zeros(3), "b": torch.zeros(3)}, 0.5, allocate=uniform)
    assert masks.counts() == {"a": (2, 3), "b": (1, 3)}
