"""Masks as a dictionary: whatever way a mask comes in, it is checked; and which parameters have one by default."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from common.masks import Masks, prunable

A, B = torch.tensor([True, False, False]), torch.tensor([False, True, False])
UNION = [True, True, False]


def test_union_is_entry_wise_whichever_way_it_is_written() -> None:
    new = torch.tensor([True])
    grown = Masks({"w": A})
    same = grown
    grown |= {"w": B, "v": new}
    assert grown is same
    for union in (grown, Masks({"w": A}) | {"w": B, "v": new}, {"w": A, "v": new} | Masks({"w": B})):
        assert isinstance(union, Masks)
        assert {name: mask.tolist() for name, mask in union.items()} == {"w": UNION, "v": [True]}
    assert A.tolist() == [True, False, False]
    both = Masks({"w": A})
    both &= {"w": A | B}
    assert both["w"].tolist() == A.tolist()


def test_update_and_setdefault_take_what_a_mask_may_be() -> None:
    masks = Masks({"w": A})
    masks.update({"w": B}, v=torch.tensor([1.0, 0.0]))
    masks.update([("u", torch.tensor([1]))])
    assert masks["w"] is not A
    assert masks["w"].tolist() == B.tolist()
    assert masks.setdefault("w", A).tolist() == B.tolist()
    assert masks.setdefault("t", torch.tensor([0.0])).tolist() == [False]
    assert {mask.dtype for mask in masks.values()} == {torch.bool}


def grow(masks: Masks, other: dict[str, object]) -> None:
    masks |= other  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "enter",
    [
        lambda masks, bad: masks.update({"fine": A, **bad}),
        lambda masks, bad: masks.update(**bad),
        lambda masks, bad: grow(masks, {"fine": A, **bad}),
        lambda masks, bad: [masks.setdefault(name, value) for name, value in bad.items()],
        lambda masks, bad: {"fine": A, **bad} | masks,
    ],
)
@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        (torch.tensor([0.5]), ValueError, "'bad' must be bool or hold only 0 and 1"),
        ([True], TypeError, "'bad' must be a tensor; found a list"),
    ],
)
def test_what_is_no_mask_enters_nowhere_and_leaves_no_trace(
    enter: Callable[[Masks, dict[str, object]], object], bad: object, error: type[Exception], message: str
) -> None:
    masks = Masks({"w": A})
    with pytest.raises(error, match=message):
        enter(masks, {"bad": bad})
    assert list(masks) == ["w"]


def test_scales_of_norms_are_not_pruned_whatever_their_shape() -> None:
    class OwnNorm(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1, 3, 1, 1))

    model = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm((3, 4)), nn.RMSNorm((3, 4)), OwnNorm())
    assert list(prunable(model)) == ["0.weight"]
    assert list(prunable(nn.LayerNorm((3, 4)))) == []
    assert list(prunable(model, "1.*")) == ["1.weight", "1.bias"]


def test_biases_and_empty_tensors_are_not_pruned() -> None:
    attention = nn.MultiheadAttention(4, 2, add_bias_kv=True)
    assert list(prunable(attention)) == ["in_proj_weight", "out_proj.weight"]
    assert list(prunable(nn.ModuleDict({"a": attention}))) == ["a.in_proj_weight", "a.out_proj.weight"]
    assert list(prunable(attention, "bias_*")) == ["bias_k", "bias_v"]

    class Biased(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bias = nn.Parameter(torch.ones(2, 2))
            self.biased_weight = nn.Parameter(torch.ones(2, 2))
            self.empty = nn.Parameter(torch.ones(0, 2))

    assert list(prunable(Biased())) == ["biased_weight"]
