"""Loss by bin of timesteps on held-out images, and which timestep lies in which interval."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from gen_tickets.denoising import Denoising
from gen_tickets.schedule import Member, ScheduleError, StepSchedule
from gen_tickets.scheduled import log_snr
from gen_tickets.stepwise.curves import Curve, numbers

DIGITS = load_digits()
HELD_OUT = Denoising(torch.tensor(DIGITS.images, dtype=torch.float32)[:7, None] / 8 - 1)


def test_a_curve_is_the_loss_by_bin_on_the_same_images_every_time() -> None:
    class Scaled(nn.Module):
        """Sees, at timestep t, t / 1000 times its input in place of the noise."""

        def __init__(self) -> None:
            super().__init__()
            self.zero, self.was = nn.Parameter(torch.zeros(())), list[bool]()

        def forward(self, x: Tensor, t: Tensor) -> Any:
            self.was.append(self.training)
            return SimpleNamespace(sample=x * (t / 1000)[:, None, None, None] + self.zero)

    model, bins = Scaled(), torch.where(torch.arange(1000) < 100, 1, 0)
    curve = Curve(HELD_OUT, bins, count=5)
    assert curve.batch.timesteps.tolist() == [190, 370, 550, 730, 910, 10, 30, 50, 70, 90]
    found = curve(model)
    noisy = HELD_OUT.scheduler.add_noise(*curve.batch[:3])
    errors = (noisy * curve.batch.timesteps[:, None, None, None] / 1000 - curve.batch.noise).square().mean((1, 2, 3))
    assert found.tolist() == pytest.approx([errors[:5].mean().item(), errors[5:].mean().item()])
    assert torch.equal(curve(model), found)
    assert torch.equal(Curve(HELD_OUT, bins, count=5)(model), found)
    assert not torch.equal(Curve(HELD_OUT, bins, count=5, seed=1)(model), found)
    assert model.training
    assert not any(model.was)
    only = curve(model, {"zero": torch.tensor(1.0)}, [1])
    assert bool(only[0].isnan())
    assert only[1] != found[1]


def test_intervals_of_timesteps_are_those_of_the_schedule() -> None:
    levels, bounds = log_snr(), [-4.0, 0.5, float(log_snr()[3])]
    members = {name: Member("", 1.0) for name in "abcd"}
    wanted = StepSchedule.of(bounds, list("abcd"), members).at(levels)
    assert np.array_equal(numbers(bounds, levels).numpy(), wanted)
    assert set(wanted) == {0, 1, 2, 3}


def test_images_come_again_with_their_labels() -> None:
    images, labels = HELD_OUT.images[:3], torch.tensor([4, 5, 6])
    batch = Curve(Denoising(images, labels), torch.zeros(1000), count=7).batch
    assert len(batch.noise.unique(dim=0)) == 7
    assert batch.labels is not None
    for image, label in zip(batch.images, batch.labels, strict=True):
        assert torch.equal(image, images[label - 4])
    assert batch.labels.bincount()[4:].sort().values.tolist() == [2, 2, 3]


def test_bins_without_timesteps_are_refused() -> None:
    bins = torch.arange(1000) // 500
    with pytest.raises(ScheduleError, match=r"found bins \[0, 2\] for 1000 timesteps, 64 images each; expected"):
        Curve(HELD_OUT, 2 * bins)
    with pytest.raises(ScheduleError, match=r"for 999 timesteps, 64 images each; expected .* for 1000"):
        Curve(HELD_OUT, bins[1:])
    with pytest.raises(ScheduleError, match="0 images each"):
        Curve(HELD_OUT, bins, count=0)
