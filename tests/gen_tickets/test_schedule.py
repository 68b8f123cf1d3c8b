"""Step schedules: who denoises when, on disk and back, inside any sampler and pipeline."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from common.masks import Masks
from common.ticket import Ticket, TicketError
from gen_tickets.cli import main
from gen_tickets.draw import Sampler, denoise
from gen_tickets.models import build
from gen_tickets.networks import Network
from gen_tickets.schedule import SKIP, Interval, Member, ScheduleError, StepSchedule
from gen_tickets.scheduled import Predicted, Scheduled, log_snr
from gen_tickets.walk import Walk

MEMBERS = {"dense": Member("", 1.0), "small": Member("", 0.2)}


class Says(nn.Module):
    """Predicts a constant times the image, and counts."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value, self.times = nn.Parameter(torch.tensor(value)), list[int]()

    def forward(self, sample: Tensor, timestep: Tensor, *_: Any) -> Predicted:
        self.times += timestep.long().tolist()
        return Predicted(sample * self.value.detach())


def both(*names: str, bounds: tuple[float, ...]) -> tuple[Scheduled, dict[str, Says]]:
    nets = {"dense": Says(0.1), "small": Says(0.2)}
    return Scheduled(StepSchedule.of(bounds, names, MEMBERS), nets, log_snr()), nets


def test_log_snr_is_that_of_the_noise_schedule() -> None:
    kept = diffusers.DDPMScheduler().alphas_cumprod[[0, 500, 999]].double()
    assert log_snr()[[0, 500, 999]] == pytest.approx(torch.logit(kept).numpy(), abs=1e-9)
    assert (np.diff(log_snr()) < 0).all()


@pytest.mark.parametrize("scheduler", ["ddim", "ddpm", "dpm-solver++", "EulerDiscreteScheduler"])
def test_every_step_calls_the_network_of_its_interval(scheduler: str) -> None:
    made, nets = both("small", "dense", bounds=(-2.0,))
    denoise(made, torch.randn(2, 1, 4, 4), Sampler(scheduler, 7))
    steps = Sampler(scheduler, 7).solver().timesteps.double().numpy()
    early = np.interp(steps, np.arange(1000), log_snr()) < -2.0
    assert 0 < early.sum() < 7
    assert nets["small"].times[::2] == steps[early].astype(int).tolist()
    assert nets["dense"].times[::2] == steps[~early].astype(int).tolist()
    assert made.calls == {"dense": 2 * (~early).sum(), "small": 2 * early.sum()}


def test_a_schedule_of_one_network_is_that_network() -> None:
    net, noise = build("ddpm", "tiny").eval(), torch.randn(2, 1, 8, 8)
    schedule = StepSchedule.of([], ["dense"], MEMBERS)
    with torch.no_grad():
        ours = denoise(Scheduled(schedule, {"dense": net}, log_snr()), noise, Sampler("ddim", 3))
        theirs = denoise(net, noise, Sampler("ddim", 3))
    assert torch.equal(ours, theirs)


def test_a_mixed_batch_is_split() -> None:
    made, _ = both("small", "dense", bounds=(-2.0,))
    said = made(torch.ones(3, 1, 1, 1), torch.tensor([999, 0, 998])).sample.flatten()
    assert torch.equal(said, torch.tensor([0.2, 0.1, 0.2]))


def test_a_mixed_batch_with_a_skipped_interval_is_refused() -> None:
    made, _ = both("small", SKIP, bounds=(-2.0,))
    with pytest.raises(ScheduleError, match="several intervals, one of them skipped"):
        made(torch.ones(2, 1, 1, 1), torch.tensor([999, 0]))


def test_skipping_is_one_longer_step_of_ddim() -> None:
    made, nets = both("dense", SKIP, "small", bounds=(-1.5, 1.5))
    noise, config = torch.randn(2, 1, 4, 4), {"clip_sample": False}
    found = denoise(made, noise, Sampler("ddim", 10), config=config)
    kept, x = diffusers.DDPMScheduler().alphas_cumprod, noise
    used = [900, 800, 700, 600, 500, 100, 0]  # those between lie from -1.5 to 1.5
    for now, later in pairwise([*used, None]):
        said = x * (0.1 if now is not None and now >= 500 else 0.2)
        after = torch.tensor(1.0) if later is None else kept[later]
        x = after.sqrt() * (x - (1 - kept[now]).sqrt() * said) / kept[now].sqrt() + (1 - after).sqrt() * said
    assert (nets["dense"].times[::2], nets["small"].times[::2]) == (used[:5], used[5:])
    torch.testing.assert_close(found, x)


def test_a_sampling_begins_with_a_network_even_where_its_first_step_is_skipped() -> None:
    made, nets = both("small", SKIP, bounds=(-9.0,))
    for _ in range(2):  # the second sampling does not go on with the prediction of the first
        denoise(made, torch.randn(1, 1, 2, 2), Sampler("ddim", 3))
    assert nets["small"].times == [666, 666]


def test_a_walk_that_branches_off_goes_on_alike() -> None:
    net, noise = Says(0.1), torch.randn(3, 1, 4, 4)
    for scheduler in ("ddpm", "dpm-solver++"):
        walk = Walk(noise, Sampler(scheduler, 6).solver(), seed=1)
        for _ in range(3):
            walk.step(net)
        other = walk.branch()
        for one in (walk, other):
            while one.done < one.steps:
                one.step(net)
        assert torch.equal(walk.images, other.images)
        assert torch.equal(walk.images, denoise(net, noise, Sampler(scheduler, 6), seed=1))
        with pytest.raises(ValueError, match="at its end"):
            walk.step(net)
    with pytest.raises(ValueError, match="first step without a network"):
        Walk(noise, Sampler("ddim", 2).solver()).step(None)


def two(folder: Path, network: Network | None = None) -> dict[str, Member]:
    """A dense network and a ticket of it on disk."""
    made = network or Network("ddpm", "tiny", (1, 8, 8))
    model, members = made.initial(0), {}
    state = dict(model.state_dict())
    for name, density in (("dense", 1.0), ("small", 0.2)):
        torch.manual_seed(1)
        masks = Masks({n: torch.rand_like(p) < density for n, p in model.named_parameters() if p.dim() == 4})
        trained = {n: value * masks.get(n, 1) for n, value in state.items()}
        ticket = Ticket(masks, state, trained=trained, recipe={"network": made.as_dict()})
        members[name] = Member(str(ticket.save(folder / name)), ticket.density, ticket.digest, seconds=density)
    return members


def test_on_disk_and_back_and_into_a_pipeline(tmp_path: Path) -> None:
    schedule = StepSchedule.of([-2.0], ["small", "dense"], two(tmp_path / "run"), about={"budget": 0.5})
    folder = schedule.save(tmp_path / "schedule")
    moved = folder.rename(tmp_path / "moved")
    found = StepSchedule.load(moved)
    assert (found.intervals, found.about) == (schedule.intervals, {"budget": 0.5})
    assert {n: replace(m, folder="") for n, m in found.members.items()} == {
        n: replace(m, folder="") for n, m in schedule.members.items()
    }
    assert found.cost(np.array([-5.0, -4.0, 3.0])) == pytest.approx(0.2 + 0.2 + 1.0, abs=0.02)
    pipeline: Any = diffusers.DDPMPipeline(found.denoiser("masked"), diffusers.DDIMScheduler())
    pipeline.set_progress_bar_config(disable=True)
    images = pipeline(batch_size=2, num_inference_steps=4, output_type="np").images
    assert images.shape == (2, 8, 8, 1)
    assert images.std() > 0
    assert min(found.denoiser("dense").calls) == "dense"


def edited(folder: Path, change: Any) -> Path:
    path = folder / "schedule.json"
    known = json.loads(path.read_text())
    change(known)
    path.write_text(json.dumps(known))
    return folder


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda known: known["intervals"][0].update(log_snr_to=-3.0), "a gap between -3.0 and -2.0"),
        (lambda known: known["intervals"][0].update(log_snr_to=-1.0), "an overlap between -1.0 and -2.0"),
        (lambda known: known["intervals"][1].update(log_snr_to=4.0), "intervals from null"),
        (lambda known: known["intervals"][0].update(ticket="tiny"), "'tiny'; expected one of dense, small, skip"),
        (lambda known: known["intervals"][0].update(ticket="skip"), "skip at the beginning"),
        (lambda known: known["intervals"][0].pop("ticket"), "fields that do not fit"),
        (lambda known: known.update(version=2), "of version 2"),
    ],
)
def test_a_schedule_that_does_not_fit_together_is_refused(change: Any, message: str, tmp_path: Path) -> None:
    folder = StepSchedule.of([-2.0], ["small", "dense"], two(tmp_path)).save(tmp_path / "schedule")
    with pytest.raises(ScheduleError, match=message):
        StepSchedule.load(edited(folder, change))


def test_other_tickets_than_those_of_the_schedule_are_refused(tmp_path: Path) -> None:
    members = two(tmp_path)
    folder = StepSchedule.of([-2.0], ["small", "dense"], members).save(tmp_path / "schedule")
    Ticket.load(members["dense"].folder).save(folder / "tickets" / "small")
    with pytest.raises(ScheduleError, match="found the ticket"):
        StepSchedule.load(folder).denoiser()
    other = two(tmp_path / "other", Network("ddpm", "tiny", (1, 16, 16)))
    mixed = StepSchedule.of([-2.0], ["small", "dense"], {"dense": members["dense"], "small": other["small"]})
    with pytest.raises(TicketError, match="expected"):
        mixed.denoiser()
    with pytest.raises(ScheduleError, match="Make one with gen-tickets schedule"):
        StepSchedule.load(tmp_path / "nowhere")


def test_equal_neighbours_become_one_interval() -> None:
    found = StepSchedule.of([-4.0, 0.0, 2.0], ["small", "small", "dense", "dense"], MEMBERS)
    assert found.intervals == (Interval(None, 0.0, "small"), Interval(0.0, None, "dense"))


def test_sample_draws_by_a_schedule(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = StepSchedule.of([-2.0, 0.0], ["small", "dense", SKIP], two(tmp_path)).save(tmp_path / "schedule")
    words = [
        "sample",
        "--schedule",
        str(folder),
        "--count",
        "3",
        "--batch",
        "2",
        "--steps",
        "5",
        "--out",
        str(tmp_path),
    ]
    found = {}
    for engine in ("dense", "sparse"):
        assert main([*words, "--engine", engine, "--json"]) == 0
        result = json.loads(capsys.readouterr().out)
        assert result["steps_of"] == {"small": 2, "dense": 1, "skip": 2}
        with np.load(result["samples"]) as stored:
            found[engine] = stored["images"].astype(int)
    assert found["dense"].std() > 10
    assert np.abs(found["dense"] - found["sparse"]).max() <= 1
    assert main([*words, "--model", "tiny"]) == 2
    (folder / "schedule.json").write_text("{}")
    assert main(words) == 1
    assert "of version None" in capsys.readouterr().err


def test_a_first_step_to_skip_is_taken_by_the_network_before() -> None:
    schedule = StepSchedule.of([-9.0], ["small", SKIP], MEMBERS)
    assert schedule.steps_of(Sampler("ddim", 3).solver(), log_snr()) == {"small": 1, SKIP: 2}
