"""What it does to the images when one interval is denoised by another network: a table of K intervals by M choices.

A cell is measured in several spaces, of the same images:

- `pixels` and `features`: the mean over images of the squared distance between the images of the dense network and
  those of a single swap, from the same noise;
- `data`: the two above hold the dense network's images for the best there are. A ticket may draw better ones, and then
  they pass over it. Here images are held against real ones instead, those of the training: damage is by how much their
  Frechet distance from these, of sets of features, rises above that of the dense network, less than nothing where the
  images are better. Of few images a Frechet distance is too large, but by about the same for all from the same noise.

The `prior` samples nothing anew, see `gen_tickets.stepwise.prior`.

A whole schedule is sampled for its damage. In features it is also told how far the images drift as a set, by the
Frechet distance between both sets: images that change places with one another do no harm, images that all change in one
way do.

References:
    Liu et al., OMS-DPM: Optimizing the Model Schedule for Diffusion Probabilistic Models, ICML 2023.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from torch import Tensor

from common.runs.errors import UsageError
from gen_tickets._intervals import paced, refuse
from gen_tickets.data import as_bytes
from gen_tickets.distances import Statistics, frechet, statistics
from gen_tickets.extractors import Extractor
from gen_tickets.stepwise.trajectories import Trajectories

__all__ = ["Damage", "Space", "Swaps", "Whole", "table"]

Space = Literal["pixels", "features", "prior", "data"]


class Swaps(Protocol):
    """What can tell the damage of single swaps: `Damage`, or `gen_tickets.stepwise.prior.Prior`.

    Attributes:
        trajectories: dense samplings, and the choices.
        spaces: those that are measured.
    """

    trajectories: Trajectories
    spaces: tuple[Space, ...]

    def cell(self, interval: int, choice: int) -> Mapping[Space, float]:
        """The damage of one swap by space, see `Damage.cell`."""


@dataclass(frozen=True)
class Whole:
    """What a whole schedule does to the images.

    Attributes:
        damage: mean squared distance from those of the dense network from the same noise; in `data`, by how much the
            drift is above the dense network's.
        drift: Frechet distance of sets of features from those of the dense network, in `data` from real ones; in pixels
            the damage.
    """

    damage: float
    drift: float


class Damage:
    """How far schedules take the images away from those of the dense network, and from real ones.

    Args:
        trajectories: dense samplings, and the choices.
        extractor: of `features`, see `gen_tickets.extractors.load`; without one damage is in pixels, of [-1, 1], alone.
            Sets of features need two noises at least.
        real: statistics of the features of real images, by which damage is in `data` too.

    Attributes:
        trajectories: the same.
        spaces: those that are measured.

    Raises:
        UsageError: real images without an extractor.

    >>> from gen_tickets.draw import Sampler
    >>> from gen_tickets.models import build
    >>> from gen_tickets.networks import Network
    >>> from gen_tickets.scheduled import log_snr
    >>> from gen_tickets.stepwise.grid import grid
    >>> network, sampler = Network("ddpm", "tiny", (1, 8, 8)), Sampler("ddim", 4)
    >>> models = {"dense": build("ddpm", "tiny").eval(), "small": build("ddpm", "tiny").eval()}
    >>> walks = Trajectories(network, models, network.noise(2, 0), sampler, grid(sampler.solver(), log_snr(), 2))
    >>> found = Damage(walks)
    >>> found.cell(0, 0), found.cell(0, 1)["pixels"] > 0, found.cell(0, 2)
    ({'pixels': 0.0}, True, {'pixels': inf})
    """

    def __init__(
        self, trajectories: Trajectories, extractor: Extractor | None = None, real: Statistics | None = None
    ) -> None:
        if real is not None and extractor is None:
            raise UsageError("damage in data needs an extractor; found none. Name one, or leave the real images out.")
        self.trajectories, self._images = trajectories, trajectories.dense.double().flatten(1)
        self.spaces: tuple[Space, ...] = ("pixels",)
        if extractor is not None:
            self.spaces += ("features",)
            self._extractor = extractor
            self._dense = self._seen(trajectories.dense)
            self._centre = statistics(self._dense)
        if real is not None:
            self.spaces += ("data",)
            self._real, self._own = real, frechet(self._centre, real)

    def cell(self, interval: int, choice: int) -> dict[Space, float]:
        """The damage of one swap in every space; 0 for the dense network, inf for a skipped first interval.

        Args:
            interval: its number, from noise to image.
            choice: a number in the trajectories' `names`.

        Raises:
            ScheduleError: there is no such interval or choice.
        """
        walks = self.trajectories
        known = walks.known(interval, choice)
        if known is not None:
            return dict.fromkeys(self.spaces, known)
        images = walks.swap(interval, walks.models[choice], paced(walks.names[choice])[1])
        found: dict[Space, float] = {"pixels": _apart(images.double().flatten(1), self._images)}
        if "features" in self.spaces:
            seen = self._seen(images)
            found["features"] = _apart(seen, self._dense)
            if "data" in self.spaces:
                found["data"] = frechet(statistics(seen), self._real) - self._own
        return found

    def joint(self, assignment: Sequence[int]) -> dict[Space, Whole]:
        """What a whole schedule does in every space, which is sampled for it.

        Args:
            assignment: a number in the trajectories' `names` for every interval.

        Raises:
            ScheduleError: see `Trajectories.assigned`.
        """
        images = self.trajectories.assigned(assignment)
        moved = _apart(images.double().flatten(1), self._images)
        found: dict[Space, Whole] = {"pixels": Whole(moved, moved)}
        if "features" in self.spaces:
            seen = self._seen(images)
            about = statistics(seen)
            found["features"] = Whole(_apart(seen, self._dense), frechet(about, self._centre))
            if "data" in self.spaces:
                drift = frechet(about, self._real)
                found["data"] = Whole(drift - self._own, drift)
        return found

    def _seen(self, images: Tensor) -> Tensor:
        return self._extractor(as_bytes(images))[0].double().flatten(1)


def _apart(one: Tensor, other: Tensor) -> float:
    return float((one - other).square().sum(dim=1).mean())


def table(
    swaps: Swaps,
    space: Space,
    names: Sequence[str],
    done: Mapping[tuple[int, int], float] | None = None,
    tell: Callable[[int, int, Mapping[Space, float]], object] = lambda *_: None,
) -> np.ndarray:
    """The damage (K, M) of every swap, interval by interval.

    Args:
        swaps: damages of single cells.
        space: the one of the table.
        names: the choices, some or all of the trajectories' `names`.
        done: (interval, number in `names`) to what was found before.
        tell: is called with interval, number in `names` and damages by space after every other cell.

    Raises:
        ScheduleError: there is no such choice.
        UsageError: the space is not measured there.

    >>> from gen_tickets.draw import Sampler
    >>> from gen_tickets.models import build
    >>> from gen_tickets.networks import Network
    >>> from gen_tickets.scheduled import log_snr
    >>> from gen_tickets.stepwise.grid import grid
    >>> network, sampler = Network("ddpm", "tiny", (1, 8, 8)), Sampler("ddim", 4)
    >>> models = {"dense": build("ddpm", "tiny").eval(), "small": build("ddpm", "tiny").eval()}
    >>> walks = Trajectories(network, models, network.noise(2, 0), sampler, grid(sampler.solver(), log_snr(), 2))
    >>> found = table(Damage(walks), "pixels", ["dense", "small"])
    >>> found.shape, found[:, 0].tolist(), bool((found[:, 1] > 0).all())
    ((2, 2), [0.0, 0.0], True)
    """
    known = swaps.trajectories.names
    for name in names:
        if name not in known:
            refuse(f"a choice {name!r}", f"one of {', '.join(known)}", "Correct the name.")
    if space not in swaps.spaces:
        raise UsageError(f"damage is measured in {', '.join(swaps.spaces)} here; found {space!r}. Name one of them.")
    found = np.zeros((len(swaps.trajectories.grid.counts), len(names)))
    for interval, column in np.ndindex(found.shape):
        if done is not None and (interval, column) in done:
            found[interval, column] = done[interval, column]
            continue
        cell = swaps.cell(interval, known.index(names[column]))
        found[interval, column] = cell[space]
        tell(interval, column, cell)
    return found
