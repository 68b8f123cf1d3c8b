"""Criteria in half precision: sums over many batches neither saturate nor overflow, and scores are single precision."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from common import scores
from common.scores import Scorer

BY_LOSS: dict[str, Scorer] = {name: getattr(scores, name) for name in ("gradient", "snip", "taylor", "grasp", "fisher")}


def layer(weights: list[float], dtype: torch.dtype) -> nn.Linear:
    model = nn.Linear(len(weights), 1, bias=False).to(dtype)
    model.weight.data = torch.tensor([weights], dtype=dtype)
    return model


def curved(batches: int) -> scores.Objective:
    """Losses w + w w / 2 of every entry, whose gradient is 1 + w and whose curvature is one."""

    def losses(model: nn.Module) -> Iterator[Tensor]:
        for _ in range(batches):
            weight = model.get_parameter("weight")
            yield (weight + weight * weight / 2).sum()

    return losses


@pytest.mark.parametrize("name", BY_LOSS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_thousand_batches_count_as_one_does(name: str, dtype: torch.dtype) -> None:
    model = layer([1.0, 0.296875], dtype)
    found = BY_LOSS[name](model, {"weight": model.weight}, curved(1000))["weight"]
    wanted = BY_LOSS[name](model.float(), {"weight": model.weight}, curved(1))["weight"]
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, wanted, rtol=0.02, atol=0.0)
    assert found[0, 0] > 1.05 * found[0, 1]


@pytest.mark.parametrize(("name", "wanted"), [("snip", 120_000.0), ("taylor", 120_000.0), ("fisher", 120_000.0**2 / 2)])
def test_float16_does_not_overflow(name: str, wanted: float) -> None:
    model = layer([400.0], torch.float16)  # its square, and 300 times it, are beyond 65504
    found = BY_LOSS[name](
        model, {"weight": model.weight}, lambda m: [(m.get_parameter("weight") - 399).sum() * 300 for _ in range(3)]
    )
    assert found["weight"].item() == wanted


@pytest.mark.parametrize("name", BY_LOSS)
def test_double_precision_stays(name: str) -> None:
    model = layer([0.1, 0.7], torch.float64)
    found = BY_LOSS[name](model, {"weight": model.weight}, curved(2))["weight"]
    assert found.dtype == torch.float64
