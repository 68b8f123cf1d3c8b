"""Damage tables: what single swaps do to the images, measured, and in closed form where that is exact."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast

import diffusers
import numpy as np
import pytest
import torch
from test_stepwise_trajectories import KEPT, NETWORK, UNCLIPPED, Gaussian, made, networks
from torch import Tensor, nn

from common.runs.errors import UsageError
from gen_tickets.data import as_bytes
from gen_tickets.distances import frechet, statistics
from gen_tickets.draw import Sampler
from gen_tickets.extractors import Extractor, wrap
from gen_tickets.networks import Network
from gen_tickets.schedule import ScheduleError
from gen_tickets.scheduled import Predicted
from gen_tickets.stepwise import trajectories
from gen_tickets.stepwise.damage import Damage, Space, Swaps, table
from gen_tickets.stepwise.grid import Grid
from gen_tickets.stepwise.prior import Prior, weights
from gen_tickets.stepwise.trajectories import Trajectories

SAMPLER = Sampler("ddim", 6)


class Bytes(nn.Module):
    """Features that are the bytes themselves, in another order."""

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        flat = images.flatten(1).float()
        return flat.flip(1), flat[:, :3]


@pytest.fixture(scope="module")
def extractor() -> Extractor:
    return wrap("bytes", Bytes(), (1, 8, 8))


def test_a_cell_is_the_mean_squared_distance_of_a_swap(extractor: Extractor) -> None:
    walks = made(networks(), SAMPLER, batch=2)
    for interval, choice in [(0, 1), (1, 2), (2, 3)]:
        swapped = walks.swap(interval, walks.models[choice])
        by_hand = ((swapped.double() - walks.dense.double()).numpy() ** 2).reshape(3, -1).sum(1).mean()
        found = Damage(walks, extractor).cell(interval, choice)
        assert found["pixels"] == pytest.approx(by_hand, rel=1e-9)
        levels = (as_bytes(swapped).double() - as_bytes(walks.dense).double()).numpy()
        by_hand = (levels**2).reshape(3, -1).sum(1).mean()
        assert found["features"] == pytest.approx(by_hand, rel=1e-9)


DISTANCES: tuple[Space, ...] = ("pixels", "features", "prior")  # from the dense network's images


def measuring(walks: Trajectories, space: Space, extractor: Extractor) -> Swaps:
    """What measures in a space."""
    return Prior(walks) if space == "prior" else Damage(walks, extractor)


@pytest.mark.parametrize("space", DISTANCES)
def test_damage_grows_as_weights_are_perturbed_more(space: Any, extractor: Extractor) -> None:
    models: dict[str, nn.Module] = {"dense": Gaussian(NETWORK, 0)}
    for size in (0.01, 0.04, 0.16):
        torch.manual_seed(3)
        models[str(size)] = other = copy.deepcopy(models["dense"])
        with torch.no_grad():
            for weight in other.parameters():
                weight.add_(size * weight.std(correction=0) * torch.randn_like(weight))
    walks = made(models, SAMPLER)
    found = table(measuring(walks, space, extractor), space, walks.names[:-1])
    assert found.shape == (3, 4)
    assert (np.diff(found, axis=1) > 0).all()
    assert (found[:, 3] > 10 * found[:, 1]).all()


@pytest.mark.parametrize("space", DISTANCES)
def test_the_dense_column_is_nothing_and_a_skipped_beginning_everything(space: Any, extractor: Extractor) -> None:
    models = networks()
    walks = made({**models, "twin": copy.deepcopy(models["dense"])}, SAMPLER)
    damage = measuring(walks, space, extractor)
    found = table(damage, space, walks.names)
    assert walks.names == ["dense", "middle", "small", "twin", "skip"]
    assert not found[:, [0, 3]].any()
    assert found[0, 4] == np.inf
    assert (found[:, 1:3] > 0).all()
    assert (found[1:, 4] > 0).all()
    assert np.array_equal(
        found, [[damage.cell(interval, choice)[space] for choice in range(5)] for interval in range(3)]
    )


def test_joint_damage_is_that_of_the_whole_schedule(extractor: Extractor) -> None:
    walks = made(networks(), SAMPLER)
    damage = Damage(walks, extractor)
    assert damage.spaces == ("pixels", "features")
    assert {one.damage for one in damage.joint((0, 0, 0)).values()} == {0}
    assert {space: one.damage for space, one in damage.joint((0, 2, 0)).items()} == damage.cell(1, 2)
    joint = (walks.assigned((2, 1, 3)) - walks.dense).double().square().sum(dim=(1, 2, 3)).mean()
    whole = Damage(walks).joint((2, 1, 3))
    assert list(whole) == ["pixels"]
    assert whole["pixels"].damage == whole["pixels"].drift == pytest.approx(float(joint))


def test_drift_is_of_sets_of_images(extractor: Extractor) -> None:
    images = torch.rand(9, 1, 8, 8, generator=torch.Generator().manual_seed(0)) - 0.5
    for changed, drifts in ((images.flip(0), False), (images + 0.25, True)):
        walks = cast(Trajectories, SimpleNamespace(dense=images, assigned=lambda _, found=changed: found))
        whole = Damage(walks, extractor).joint((0,))["features"]
        assert whole.damage > 0
        assert whole.drift == pytest.approx(whole.damage if drifts else 0, rel=1e-3, abs=1e-3)


class Levels(nn.Module):
    """Two features: mean and deviation of the bytes."""

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        flat = images.flatten(1).float()
        return torch.stack([flat.mean(1), flat.std(1)], 1), flat[:, :3]


def test_in_data_a_network_that_draws_like_the_real_images_does_less_than_no_damage() -> None:
    walks, levels = made(networks(), SAMPLER), wrap("levels", Levels(), (1, 8, 8))
    seen = [statistics(levels(as_bytes(images))[0]) for images in (walks.assigned((0, 2, 0)), walks.dense)]
    damage, own = Damage(walks, levels, seen[0]), frechet(seen[1], seen[0])
    found = table(damage, "data", walks.names[:-1])
    assert not found[:, 0].any()
    assert found[1, 2] == found.min() == pytest.approx(-own, rel=1e-3)
    whole = damage.joint((0, 2, 0))["data"]
    assert (whole.damage, whole.drift) == pytest.approx((-own, 0), abs=1e-3 * own)
    assert damage.joint((0, 0, 0))["data"].drift == pytest.approx(own)


def test_the_weights_are_the_derivative_of_a_step_of_ddim() -> None:
    solver = diffusers.DDIMScheduler(clip_sample=False)
    solver.set_timesteps(20)
    levels = torch.logit(KEPT[solver.timesteps].double()).numpy()
    image, said, small = torch.full((1, 1, 1, 1), 0.7).double(), torch.full((1, 1, 1, 1), 0.2).double(), 1e-3
    found = []
    for time in solver.timesteps:
        moved, stayed = (solver.step(said + error, time, image).prev_sample for error in (small, -small))
        found.append(abs(float(moved - stayed)) / (2 * small))
    assert weights(levels) == pytest.approx(found, rel=1e-4)


class Unit(nn.Module):
    """The exact denoiser of Gaussian images of variance 1, and an error that is the same everywhere."""

    def __init__(self, error: float) -> None:
        super().__init__()
        self.error = error

    def forward(self, images: Tensor, times: Tensor) -> Predicted:
        return Predicted((1 - KEPT[times]).sqrt().reshape(-1, 1, 1, 1) * images + self.error)


@pytest.mark.parametrize("intervals", [4, 40])
def test_the_prior_is_exact_for_gaussian_images(intervals: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trajectories, "finisher", lambda _: lambda drawn: drawn)  # such images leave [-1, 1]
    network = Network("ddpm", "tiny", (1, 8, 8), scheduler=UNCLIPPED)
    walks = made({"dense": Unit(0.0), "small": Unit(0.02)}, Sampler("ddim", 200), intervals, network)
    measured = table(Damage(walks), "pixels", ["dense", "small"])[:, 1]
    prior = table(Prior(walks), "prior", ["dense", "small"])[:, 1]
    assert prior == pytest.approx(measured, rel=0.05)
    assert prior.max() > 3 * prior.min()


@torch.no_grad()
def test_the_prior_of_a_step_is_its_error_times_its_weight() -> None:
    models = networks()
    walks = made(models, Sampler("ddim", 3), 3, batch=2)
    prior, factor = Prior(walks), weights(walks.grid.levels)
    said, before = walks.said(1), [steps[0].noise for steps in walks.said(0)]
    errors = torch.cat([models["small"](*steps[0].inputs).sample - steps[0].noise for steps in said])
    held = torch.cat([earlier - steps[0].noise for earlier, steps in zip(before, said, strict=True)])
    for choice, error in ((2, errors), (3, held)):
        by_hand = factor[1] ** 2 * float(error.double().square().sum()) / 3
        assert prior.cell(1, choice)["prior"] == pytest.approx(by_hand, rel=1e-5)


def test_a_table_goes_on_where_it_was_interrupted() -> None:
    walks = made(networks(), SAMPLER)
    damage, names, kept = Damage(walks), ["dense", "small", "skip"], dict[tuple[int, int], float]()

    def keep(interval: int, column: int, found: Mapping[Space, float]) -> None:
        if len(kept) == 5:
            raise KeyboardInterrupt
        kept[interval, column] = found["pixels"]

    with pytest.raises(KeyboardInterrupt):
        table(damage, "pixels", names, tell=keep)
    assert list(kept) == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]
    later: list[tuple[int, int]] = []
    kept[1, 1] = 42.0
    found = table(damage, "pixels", names, kept, lambda interval, column, _: later.append((interval, column)))
    assert later == [(1, 2), (2, 0), (2, 1), (2, 2)]
    assert found[1, 1] == 42.0
    assert found[2, 1] == damage.cell(2, 2)["pixels"]  # of the network of that name, wherever it stands
    assert found[2, 2] == damage.cell(2, 3)["pixels"]


@pytest.mark.parametrize(
    ("kind", "wrong", "text"),
    [
        (
            UsageError,
            lambda walks: Damage(walks, real=statistics(torch.rand(9, 2))),
            "damage in data needs an extractor; found none",
        ),
        (UsageError, lambda walks: table(Damage(walks), "features", ["dense"]), "in pixels here; found 'features'"),
        (UsageError, lambda walks: table(Prior(walks), "pixels", ["dense"]), "in prior here; found 'pixels'"),
        (ScheduleError, lambda walks: Damage(walks).cell(3, 1), "found the cell (3, 1); expected an interval below 3"),
        (ScheduleError, lambda walks: Damage(walks).cell(-1, 1), "found the cell (-1, 1)"),
        (ScheduleError, lambda walks: Damage(walks).cell(0, 4), "and a choice below 4"),
        (
            ScheduleError,
            lambda walks: table(Damage(walks), "pixels", ["dense", "tiny"]),
            "found a choice 'tiny'; expected one of",
        ),
    ],
)
def test_mistakes_are_named(kind: type[Exception], wrong: Any, text: str) -> None:
    with pytest.raises(kind) as caught:
        wrong(made(networks(), Sampler("ddim", 3)))
    assert text in str(caught.value)


def test_a_first_step_without_any_signal_has_no_prior() -> None:
    walks = made(networks(), Sampler("ddim", 3))
    walks.grid = Grid(walks.grid.bounds, walks.grid.counts, (-np.inf, *walks.grid.levels[1:]))
    with pytest.raises(ScheduleError, match="found a first step without any signal; expected finite log-SNRs"):
        Prior(walks)
