"""The watch over a joint training, on losses that are given."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gen_tickets.stepwise._guard import Stopped, Watch


def watched(losses: list[float], patience: int) -> tuple[Watch, list[int]]:
    """A watch shown losses of a network whose weight is the number of its check, and the checks it let pass."""
    model, given, passed = nn.Linear(1, 1), iter([1.0, *losses]), []

    def curve(model: nn.Module, given: Iterator[float] = given) -> Tensor:
        return torch.tensor([1.0, next(given)])

    looked: Any = curve
    watch = Watch(looked, [0, 0], [], 1, len(losses), 0.01, patience, model)
    for number in range(1, len(losses) + 1):
        nn.init.constant_(model.weight, number)
        try:
            watch(number, model)
        except Stopped:
            break
        passed.append(number)
    return watch, passed


def test_a_rise_that_goes_back_is_waited_for() -> None:
    watch, passed = watched([1.05, 1.02, 0.9, 1.05, 0.8], patience=3)
    assert (watch.stopped, passed) == (None, [1, 2, 3, 4, 5])
    assert watch.good["weight"].item() == 5
    assert watch.metrics()["loss_after"] == pytest.approx([1.0, 0.8])


def test_a_rise_that_stays_ends_it_at_the_last_good_average() -> None:
    watch, passed = watched([0.9, 1.05, 1.04, 1.03, 0.5], patience=3)
    assert passed == [1, 2, 3]
    assert watch.good["weight"].item() == 1
    assert watch.metrics()["loss_after"] == pytest.approx([1.0, 0.9])
    assert str(watch.stopped).startswith(
        "at step 4 the dense loss in interval 1 was 1.03, 3.0 % above the 1 of the start, the last of 3 checks in a "
        "row; at most 1 % are allowed. The weights are the average of step 1, the last good one."
    )


def test_a_rise_at_the_end_is_not_the_outcome() -> None:
    watch, passed = watched([0.9, 1.05], patience=3)
    assert passed == [1]
    assert watch.good["weight"].item() == 1
    assert "the average of step 1, the last good one" in str(watch.stopped)


def test_a_loss_that_is_no_number_is_a_rise() -> None:
    watch, _ = watched([0.9, float("nan"), 0.8], patience=1)
    assert watch.stopped is not None
    assert watch.good["weight"].item() == 1
