"""What a step schedule does not take: samplers of other levels or needs, of several calls a step, and other images."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from common.runs.errors import UsageError
from gen_tickets._config_schedule import Schedule
from gen_tickets.denoising import Denoising
from gen_tickets.draw import Sampler
from gen_tickets.networks import Network
from gen_tickets.schedule import Member, ScheduleError, StepSchedule
from gen_tickets.scheduled import Predicted, Scheduled, log_snr
from gen_tickets.stepwise._checks import check
from gen_tickets.stepwise.bench import Bench
from gen_tickets.stepwise.command import _images
from gen_tickets.stepwise.family import folders
from gen_tickets.stepwise.training import _split

MEMBERS = {"dense": Member("", 1.0), "small": Member("", 0.2)}
SHIFTED: dict[str, Any] = {"_class_name": "DDIMScheduler", "timestep_spacing": "trailing"}


@pytest.mark.parametrize("scheduler", ["LCMScheduler", "TCDScheduler", "UniPCMultistepScheduler"])
def test_samplers_get_the_noise_levels_that_the_network_learnt(scheduler: str) -> None:
    """Some have betas of their own where nothing is said."""
    kept = Sampler(scheduler, 4).solver().alphas_cumprod.double().numpy()
    assert np.log(kept / (1 - kept)) == pytest.approx(log_snr(), abs=1e-3)


@pytest.mark.parametrize(
    ("scheduler", "message"),
    [
        ("CogVideoXDDIMScheduler", "found other noise levels than those that the network learnt; expected the same"),
        ("FlowMatchEulerDiscreteScheduler", "expected one that samples, such as ddim"),
        ("AmusedScheduler", "mask_token_id.*expected one that samples, such as ddim"),
        ("RePaintScheduler", "original_image.*expected one that samples, such as ddim"),
        ("DDIMInverseScheduler", "its steps are from images to noise; expected one that samples"),
    ],
)
def test_samplers_that_do_not_draw_from_the_learnt_noise_levels_are_refused(scheduler: str, message: str) -> None:
    with pytest.raises(UsageError, match=f"--scheduler {scheduler}: .*{message}"):
        Sampler(scheduler, 4).solver()


@pytest.mark.filterwarnings("ignore:__array_wrap__:DeprecationWarning")  # of diffusers
@pytest.mark.parametrize("scheduler", ["HeunDiscreteScheduler", "KDPM2DiscreteScheduler", "PNDMScheduler"])
def test_samplers_that_call_the_network_twice_a_step_are_refused(scheduler: str) -> None:
    schedule = StepSchedule.of([-5.0], ["dense", "small"], MEMBERS)
    with pytest.raises(ScheduleError, match="expected one call of the network a step"):
        schedule.steps_of(Sampler(scheduler, 10).solver(), log_snr())


def test_a_sampler_with_more_calls_than_steps_is_refused() -> None:
    """By trailing spacing, 61 steps come out as 62."""
    assert len(Sampler("ddim", 61).solver(SHIFTED).timesteps) == 62
    found: Any = SimpleNamespace(network=Network("ddpm", "tiny", (1, 8, 8), scheduler=SHIFTED), names=["dense"])
    nothing: Any = None
    with pytest.raises(ScheduleError, match="found 62 calls of the network in 61 steps of ddim; expected one a step"):
        Bench(Schedule(steps=61), found, nothing, nothing, nothing, nothing, "search")


def test_a_learning_rate_is_refused_before_the_search() -> None:
    with pytest.raises(UsageError, match="--lr"):
        check(Schedule(tickets=["here"], tune=5, lr=0.0))


def test_other_images_than_the_tickets_learnt_from_are_refused() -> None:
    given: Any = SimpleNamespace(find={"dataset": "digits", "data": "0" * 64})
    with pytest.raises(UsageError, match=r"digits: found images of sha256 \w{12}\.\.\.; expected 000000000000\.\.\."):
        _images(Schedule(), given)
    del given.find["data"]
    assert _images(Schedule(), given).name == "digits"


def test_names_that_differ_in_dots_are_two_networks() -> None:
    class Says(nn.Module):
        def __init__(self, value: float) -> None:
            super().__init__()
            self.value = value

        def forward(self, sample: Tensor, timestep: Tensor) -> Predicted:
            return Predicted(torch.full_like(sample, self.value))

    names = ["v1.0", "v1_0"]
    schedule = StepSchedule.of([0.0], names, dict.fromkeys(names, Member("", 0.5)))
    made = Scheduled(schedule, {"v1.0": Says(0.1), "v1_0": Says(0.2)}, log_snr())
    said = [float(made(torch.zeros(1, 1, 2, 2), time).sample.mean()) for time in (900, 10)]
    assert said == pytest.approx([0.1, 0.2])


def test_the_first_seed_of_a_run_is_that_of_the_least_number(tmp_path: Path) -> None:
    for seed in (2, 10):
        home = tmp_path / "rounds" / f"seed-{seed}"
        for ticket in (home / "dense", home / "global" / "round-01"):
            ticket.mkdir(parents=True)
            (ticket / "ticket.json").touch()
    assert {path.relative_to(tmp_path).parts[1] for path in folders([tmp_path])} == {"seed-2"}


def test_held_out_images_are_of_all_classes() -> None:
    """Images of a folder lie class by class."""
    labels = torch.arange(10).repeat_interleave(20)
    images = labels.float().view(-1, 1, 1, 1).expand(-1, 1, 8, 8).contiguous()
    for part, count in zip(_split(Denoising(images, labels)), (18, 2), strict=True):
        assert part.labels is not None
        assert torch.bincount(part.labels).tolist() == [count] * 10
        assert torch.equal(part.images[:, 0, 0, 0].long(), part.labels)
