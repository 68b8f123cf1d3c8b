"""Cached dense trajectories: a swap equals a whole sampling of its schedule, and costs only the steps from there on."""

from __future__ import annotations

import copy
from itertools import product
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gen_tickets.draw import Sampler, draw
from gen_tickets.latents import decode, load_autoencoder
from gen_tickets.models import build
from gen_tickets.networks import Network
from gen_tickets.schedule import Member, ScheduleError, StepSchedule
from gen_tickets.scheduled import Predicted, Scheduled, log_snr
from gen_tickets.stepwise.grid import grid
from gen_tickets.stepwise.trajectories import Trajectories

NETWORK = Network("ddpm", "tiny", (1, 8, 8))
CONDITIONAL = Network("ddpm", "tiny", (1, 8, 8), classes=3)
UNCLIPPED = {"_class_name": "DDIMScheduler", "clip_sample": False}
KEPT = diffusers.DDPMScheduler().alphas_cumprod
SOLVERS = ["ddim", "ddpm", "dpm-solver++"]
CASES = [("ddim", NETWORK), ("ddpm", CONDITIONAL), ("dpm-solver++", NETWORK)]


class Gaussian(nn.Module):
    """The exact denoiser of Gaussian images, and some of an untrained U-Net: images within [-1, 1] that all weights
    matter to."""

    def __init__(self, network: Network, seed: int, share: float = 0.3, spread: float = 0.3) -> None:
        super().__init__()
        self.unet, self.share, self.spread = network.initial(seed).eval(), share, spread
        self.calls = 0

    def forward(self, images: Tensor, times: Tensor, *labels: Tensor) -> Predicted:
        self.calls += len(images)
        kept = KEPT[times].reshape(-1, 1, 1, 1)
        exact = (1 - kept).sqrt() / (kept * self.spread**2 + 1 - kept) * images
        return Predicted(exact + self.share * self.unet(images, times, *labels).sample)


def networks(network: Network = NETWORK) -> dict[str, Gaussian]:
    return {"dense": Gaussian(network, 0), "middle": Gaussian(network, 1), "small": Gaussian(network, 2)}


def made(
    models: dict[str, Any], sampler: Sampler, intervals: int = 3, network: Network = NETWORK, **given: Any
) -> Trajectories:
    steps = grid(sampler.solver(network.scheduler), log_snr(network.scheduler), intervals)
    return Trajectories(network, models, network.noise(3, 5), sampler, steps, **given)


def sampled(models: dict[str, Any], walks: Trajectories, choices: tuple[int, ...], sampler: Sampler, network: Network,
            **given: int) -> Tensor:  # fmt: skip
    """Images of a schedule from the very beginning, by the denoiser that a pipeline would use."""
    members = {name: Member("", 1.0) for name in models}
    schedule = StepSchedule.of(walks.grid.bounds, [walks.names[choice] for choice in choices], members)
    whole = Scheduled(schedule, models, log_snr(network.scheduler))
    return draw(network, whole, network.noise(3, 5), sampler, **given)


@pytest.mark.parametrize(("scheduler", "network"), CASES)
def test_dense_images_are_those_of_draw_and_a_swapped_in_dense_network_changes_no_bit(
    scheduler: str, network: Network
) -> None:
    models, sampler = networks(network), Sampler(scheduler, 6)
    walks = made(models, sampler, network=network, batch=2, seed=4)
    whole = draw(network, models["dense"], network.noise(3, 5), sampler, batch=2, seed=4)
    assert torch.equal(walks.dense, whole)
    assert float((whole.abs() < 1).float().mean()) > 0.9  # nothing is hidden by clipping
    for interval in range(3):
        assert torch.equal(walks.swap(interval, copy.deepcopy(models["dense"])), whole)
    assert torch.equal(walks.assigned((0, 0, 0)), whole)


@pytest.mark.parametrize(("scheduler", "network"), CASES)
def test_a_swap_is_a_whole_sampling_of_its_schedule(scheduler: str, network: Network) -> None:
    models, sampler = networks(network), Sampler(scheduler, 6)
    walks = made(models, sampler, network=network, batch=2, seed=4)
    for interval, choice in product(range(3), (2, 3)):
        if (interval, choice) == (0, 3):
            continue
        choices = tuple(choice if number == interval else 0 for number in range(3))
        whole = sampled(models, walks, choices, sampler, network, batch=2, seed=4)
        swapped = walks.swap(interval, walks.models[choice])
        assert torch.equal(swapped, whole)
        assert torch.equal(walks.assigned(choices), whole)
        assert float((swapped - walks.dense).abs().max()) > 1e-3


@pytest.mark.parametrize("scheduler", SOLVERS)
def test_assignments_are_whole_samplings_of_their_schedules(scheduler: str) -> None:
    models, sampler = networks(), Sampler(scheduler, 8)
    walks = made(models, sampler, 4, batch=2, seed=1)
    for choices in [(2, 1, 0, 1), (1, 3, 3, 0), (0, 2, 3, 2), (0, 0, 3, 1)]:
        assert torch.equal(walks.assigned(choices), sampled(models, walks, choices, sampler, NETWORK, batch=2, seed=1))


PACED = ["dense", "middle", "small", "dense/2", "small/3", "skip"]


@pytest.mark.parametrize("scheduler", SOLVERS)
def test_with_one_state_kept_the_images_are_the_same(scheduler: str) -> None:
    models, sampler = networks(), Sampler(scheduler, 6)
    every, one = (made(models, sampler, seed=4, batch=2, states=states) for states in (True, False))
    assert [len(walks) for walks in every._walks + one._walks] == [3, 3, 1, 1]
    assert torch.equal(one.dense, every.dense)
    for choices in product(range(3), repeat=3):
        assert torch.equal(one.assigned(choices), every.assigned(choices))
    assert torch.equal(one.swap(2, models["small"]), every.swap(2, models["small"]))
    with pytest.raises(ScheduleError, match="no state at the start of interval 1"):
        one.said(1)


@pytest.mark.parametrize("scheduler", SOLVERS)
def test_networks_at_every_second_step_are_whole_samplings_too(scheduler: str) -> None:
    """Intervals of odd length, so that some begin at a rest."""
    models, sampler = networks(), Sampler(scheduler, 13)
    walks = made(models, sampler, 4, batch=2, seed=1, names=PACED)
    for choices in [(3, 3, 4, 0), (4, 5, 3, 3), (0, 3, 4, 4), (3, 3, 3, 3)]:
        assert torch.equal(walks.assigned(choices), sampled(models, walks, choices, sampler, NETWORK, batch=2, seed=1))
    assert torch.equal(walks.swap(2, models["small"], 3), walks.assigned((0, 0, 4, 0)))


def test_the_noise_of_a_stochastic_scheduler_is_that_of_the_seed() -> None:
    models, sampler = networks(), Sampler("ddpm", 6)
    first, again, other = (made(models, sampler, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first.swap(1, models["small"]), again.swap(1, models["small"]))
    assert torch.equal(first.swap(1, models["small"]), first.swap(1, models["small"]))  # nothing is used up
    assert not torch.equal(first.dense, other.dense)


def test_only_the_steps_from_the_interval_on_are_taken() -> None:
    models = networks()
    walks = made(models, Sampler("ddim", 7))
    assert walks.grid.counts == (3, 2, 2)
    assert models["dense"].calls == 3 * 7
    models["dense"].calls = 0
    walks.swap(1, models["small"])
    assert (models["dense"].calls, models["small"].calls) == (3 * 2, 3 * 2)
    walks.swap(2, None)
    assert models["dense"].calls == 3 * 2
    walks.assigned((0, 0, 1))
    walks.assigned((0, 0, 0))
    assert (models["dense"].calls, models["middle"].calls) == (3 * 2, 3 * 2)


@torch.no_grad()
def test_to_ddim_a_skipped_interval_is_one_longer_step() -> None:
    network = Network("ddpm", "tiny", (1, 8, 8), scheduler=UNCLIPPED)
    models, sampler = networks(network), Sampler("ddim", 6)
    walks = made(models, sampler, network=network)
    times = [*sampler.solver(UNCLIPPED).timesteps.tolist()]
    x = network.noise(3, 5).double()
    for begin, end in [(0, 1), (1, 4), (4, 5), (5, 6)]:  # steps 2 and 3, the second interval, say what 1 said
        level, after = KEPT[times[begin]].double(), KEPT[times[end]].double() if end < 6 else torch.tensor(1.0)
        said = models["dense"](x.float(), torch.full((3,), times[begin])).sample.double()
        x = after.sqrt() * (x - (1 - level).sqrt() * said) / level.sqrt() + (1 - after).sqrt() * said
    assert float((walks.swap(1, None) - x.clamp(-1, 1)).abs().max()) < 1e-5
    assert float((walks.dense - x.clamp(-1, 1)).abs().max()) > 1e-2


@torch.no_grad()
def test_what_the_dense_network_said_is_what_it_says_on_its_own_way() -> None:
    models, sampler = networks(CONDITIONAL), Sampler("ddim", 6)
    walks = made(models, sampler, network=CONDITIONAL, batch=2)
    models["dense"].calls = 0
    found = walks.said(1)
    assert [[len(step.noise) for step in steps] for steps in found] == [[2, 2], [1, 1]]
    assert walks.said(1) is found
    assert models["dense"].calls == 3 * 2
    times = sampler.solver().timesteps
    assert [step.inputs[1].tolist() for step in found[0]] == [[int(times[2])] * 2, [int(times[3])] * 2]
    assert [steps[0].inputs[2].tolist() for steps in found] == [[0, 1], [2]]
    for steps in found:
        assert all(torch.equal(step.noise, models["dense"](*step.inputs).sample) for step in steps)
        assert all(step.before is steps[0].before for step in steps)
    for first, second in zip(walks.said(0), found, strict=True):
        assert first[0].before is None
        assert torch.equal(first[-1].noise, second[0].before)
    assert torch.equal(walks.said(0)[0][0].inputs[0], CONDITIONAL.noise(3, 5)[:2])


@torch.no_grad()
def test_latents_are_decoded(tmp_path: Path) -> None:
    torch.manual_seed(0)
    blocks = {"down_block_types": ["DownEncoderBlock2D"] * 2, "up_block_types": ["UpDecoderBlock2D"] * 2}
    sizes = {"in_channels": 1, "out_channels": 1, "latent_channels": 2, "norm_num_groups": 4, "sample_size": 16}
    coder = diffusers.AutoencoderKL(block_out_channels=(8, 8), **blocks, **sizes)
    coder.save_pretrained(tmp_path)
    unet = build("ddpm", "tiny", image=(2, 8, 8)).config
    network = Network("ddpm", "tiny", (1, 16, 16), unet=dict(unet), autoencoder=str(tmp_path))
    models, sampler = networks(network), Sampler("ddim", 4)
    walks = made(models, sampler, 2, network)
    assert walks.dense.shape == walks.swap(1, None).shape == (3, 1, 16, 16)
    bare = Network("ddpm", "tiny", (1, 16, 16), unet=dict(unet), scheduler={"clip_sample": True})
    latents = made(models, sampler, 2, bare).swap(1, models["small"])
    decoded = decode(load_autoencoder(str(tmp_path)), latents)
    assert torch.allclose(walks.swap(1, models["small"]), decoded.clamp(-1, 1), atol=1e-6)


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        (lambda walks: walks.swap(3, None), "found interval 3; expected 0 to 2"),
        (lambda walks: walks.swap(-1, None), "found interval -1; expected 0 to 2"),
        (lambda walks: walks.said(3), "found interval 3; expected 0 to 2"),
        (lambda walks: walks.swap(0, None), "found skip at the beginning; expected a network"),
        (lambda walks: walks.assigned((3, 0, 0)), "found skip at the beginning; expected a network"),
        (lambda walks: walks.assigned((0, 0)), "found the assignment (0, 0); expected 3 numbers below 4"),
        (lambda walks: walks.assigned((0, 4, 0)), "found the assignment (0, 4, 0); expected 3 numbers below 4"),
        (lambda walks: walks.assigned((0, -1, 0)), "found the assignment (0, -1, 0); expected 3 numbers below 4"),
    ],
)
def test_mistakes_are_named(wrong: Any, text: str) -> None:
    with pytest.raises(ScheduleError) as caught:
        wrong(made(networks(), Sampler("ddim", 3)))
    assert text in str(caught.value)


def test_noise_and_the_samplers_own_grid_are_needed() -> None:
    sampler = Sampler("ddim", 4)
    steps = grid(sampler.solver(), np.asarray(log_snr()), 2)
    with pytest.raises(ScheduleError, match="found a grid of 4 steps; expected 5, those of the sampler"):
        Trajectories(NETWORK, networks(), NETWORK.noise(1, 0), Sampler("ddim", 5), steps)
    with pytest.raises(ScheduleError, match="found no noise; expected that of one image at least"):
        Trajectories(NETWORK, networks(), NETWORK.noise(0, 0), sampler, steps)
