"""Networks that are called at every so many-th step: on disk, in a sampler, in a batch, as a key."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gen_tickets.draw import Sampler, denoise
from gen_tickets.schedule import Interval, Member, ScheduleError, StepSchedule
from gen_tickets.scheduled import Predicted, Scheduled, log_snr
from gen_tickets.stepwise.tried import Tried

MEMBERS = {"dense": Member("", 1.0, seconds=3.0), "small": Member("", 0.2, seconds=1.0)}


class Counts(nn.Module):
    """Predicts the image, and remembers when."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.times = nn.Parameter(torch.zeros(1)), list[int]()

    def forward(self, sample: Tensor, timestep: Tensor, *_: Any) -> Predicted:
        self.times += timestep.long().tolist()
        return Predicted(sample)


def half() -> StepSchedule:
    return StepSchedule.of([-2.0], ["small/2", "dense"], MEMBERS)


@pytest.mark.parametrize(("scheduler", "steps"), [("ddim", 7), ("ddim", 20), ("dpm-solver++", 9)])
def test_a_sampler_calls_the_network_at_every_second_step(scheduler: str, steps: int) -> None:
    nets, schedule, sampler = {"dense": Counts(), "small": Counts()}, half(), Sampler(scheduler, steps)
    made = Scheduled(schedule, nets, log_snr())
    times = sampler.solver().timesteps.double().numpy()
    levels = np.interp(times, np.arange(1000), log_snr())
    early = times[levels < -2.0]
    for _ in range(2):  # a second sampling begins anew
        denoise(made, torch.randn(1, 1, 4, 4), sampler)
    assert nets["small"].times == 2 * early[::2].astype(int).tolist()
    assert nets["dense"].times == 2 * times[levels >= -2.0].astype(int).tolist()
    taken = schedule.taken(levels)
    assert taken == [("skip" if step % 2 else "small") if step < len(early) else "dense" for step in range(len(times))]
    assert schedule.cost(levels) == taken.count("small") + 3 * taken.count("dense")


def test_every_image_of_a_batch_of_several_timesteps_is_predicted() -> None:
    nets = {"dense": Counts(), "small": Counts()}
    made = Scheduled(half(), nets, log_snr())
    for _ in range(2):
        made(torch.ones(3, 1, 1, 1), torch.tensor([999, 998, 990]))
    assert nets["small"].times == 2 * [999, 998, 990]


def test_on_disk_it_is_a_number_and_by_default_one(tmp_path: Path) -> None:
    known = half().as_dict()
    assert known["intervals"][0] == {"log_snr_from": None, "log_snr_to": -2.0, "ticket": "small", "every": 2}
    del known["intervals"][1]["every"]
    known["members"] = {name: {**asdict(one), "folder": "tickets"} for name, one in MEMBERS.items()}
    (tmp_path / "schedule.json").write_text(json.dumps(known))
    assert StepSchedule.load(tmp_path).intervals == half().intervals
    assert half().intervals[1] == Interval(-2.0, None, "dense")


@pytest.mark.parametrize("every", [0, -1, 1.5, True, "2"])
def test_other_paces_are_refused(every: Any) -> None:
    with pytest.raises(ScheduleError, match=r"every: .*; expected a whole number from 1 on"):
        StepSchedule((Interval(None, None, "dense", every),), MEMBERS)


def test_the_key_of_a_schedule_is_the_name_of_a_folder() -> None:
    long = Tried((("kept-10", 1), ("dense", 1)) * 25, Sampler("ddim", 50), 0.7)
    other = Tried((("kept-10", 1), ("dense", 1)) * 24 + (("dense/2", 2),), Sampler("ddim", 50), 0.7)
    assert Tried((("dense/2", 5), ("dense", 3)), Sampler("ddim", 8), 0.7).key == "5xdense-every-2_3xdense"
    assert long.key != other.key
    assert max(len(long.key), len(other.key)) <= 100


def test_a_batch_of_several_timesteps_within_a_skipped_interval_repeats_the_prediction() -> None:
    made = Scheduled(StepSchedule.of([-2.0], ["small", "skip"], MEMBERS), {"small": Counts()}, log_snr())
    said = made(torch.ones(2, 1, 1, 1), 999).sample
    assert torch.equal(made(torch.zeros(2, 1, 1, 1), torch.tensor([5, 3])).sample, said)
