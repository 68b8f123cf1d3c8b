"""What it does to the images when one interval is denoised by another network: a table of K intervals by M choices.

In `pixels` and `features` a cell is measured: the mean over images of the squared distance between the images of the
dense network and those of a single swap, from the same noise. The `prior` samples nothing anew, see
`gen_tickets.stepwise.prior`.

A whole schedule is sampled for its damage. In features it is also told how far the images drift as a set, by the
Frechet distance between both sets: images that change places with one another do no harm, images that all change in one
way do.

All of these hold the dense network's images for the best there are. A ticket may draw better ones, and then they pass
over it. In `data` images are held against real ones instead, those of the training: drift is the Frechet distance from
them, of sets of features, and damage what it has more than that of the dense network, less than nothing where the
images are better. Of few images a Frechet distance is too large, but by about the same for all from the same noise.

References:
    Liu et al., OMS-DPM: Optimizing the Model Schedule for Diffusion Probabilistic Models, ICML 2023.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

import numpy as np
from torch import Tensor

from common.runs.errors import UsageError
from common.runs.options import did_you_mean
from gen_tickets._intervals import SKIP, paced, refuse
from gen_tickets.data import as_bytes
from gen_tickets.distances import Statistics, frechet, statistics
from gen_tickets.extractors import Extractor
from gen_tickets.stepwise.prior import Prior
from gen_tickets.stepwise.trajectories import Trajectories

__all__ = ["SPACES", "Damage", "Space", "Whole", "table"]

Space = Literal["pixels", "features", "prior", "data"]
SPACES: tuple[Space, ...] = get_args(Space)


@dataclass(frozen=True)
class Whole:
    """What a whole schedule does to the images.

    Attributes:
        damage: mean squared distance from those of the dense network from the same noise; in `data`, by how much the
            drift is above the dense network's.
        drift: Frechet distance of sets of features from those of the dense network, in `data` from real ones; in pixels
            and for the prior the damage.
    """

    damage: float
    drift: float


class Damage:
    """How far schedules take the images away from those of the dense network, or from real ones.

    Args:
        trajectories: dense samplings, and the choices.
        space: `pixels` in [-1, 1], `features` of an extractor, the `prior`, which is in pixels or latents, or `data`.
        extractor: of `features` and `data`, see `gen_tickets.extractors.load`.
        real: statistics of the features of real images, of `data`.

    Raises:
        UsageError: there is no such space, or what it needs is not given.
        ScheduleError: a prior of a sampler whose first step is without any signal.

    >>> from gen_tickets.draw import Sampler
    >>> from gen_tickets.models import build
    >>> from gen_tickets.networks import Network
    >>> from gen_tickets.scheduled import log_snr
    >>> from gen_tickets.stepwise.grid import grid
    >>> network, sampler = Network("ddpm", "tiny", (1, 8, 8)), Sampler("ddim", 4)
    >>> models = {"dense": build("ddpm", "tiny").eval(), "small": build("ddpm", "tiny").eval()}
    >>> walks = Trajectories(network, models, network.noise(2, 0), sampler, grid(sampler.solver(), log_snr(), 2))
    >>> found = Damage(walks)
    >>> found.cell(0, 0), found.cell(0, 1) > 0, found.cell(0, 2)
    (0.0, True, inf)
    """

    def __init__(
        self,
        trajectories: Trajectories,
        space: Space = "pixels",
        extractor: Extractor | None = None,
        real: Statistics | None = None,
    ) -> None:
        if space not in SPACES:
            hint = did_you_mean(space, SPACES)
            raise UsageError(f"damage is measured in one of {', '.join(SPACES)}; found {space!r}.{hint}")
        if space in ("features", "data") and extractor is None:
            raise UsageError(f"damage in {space} needs an extractor; found none. Name one, or measure it in pixels.")
        if space == "data" and real is None:
            raise UsageError("damage in data needs real images; found none. Give their statistics, or choose features.")
        self.trajectories, self.space = trajectories, space
        self._extractor = extractor if space in ("features", "data") else None
        self._real = real if space == "data" else None
        self._prior = Prior(trajectories) if space == "prior" else None
        self._dense = self._seen(trajectories.dense)

    def cell(self, interval: int, choice: int) -> float:
        """The damage of one swap; 0 for the dense network, inf for a skipped first interval.

        Args:
            interval: its number, from noise to image.
            choice: a number in the trajectories' `names`.

        Raises:
            ScheduleError: there is no such interval or choice.
        """
        walks, count = self.trajectories, len(self.trajectories.grid.counts)
        if not (0 <= interval < count and 0 <= choice < len(walks.names)):
            expected = f"an interval below {count} and a choice below {len(walks.names)}"
            refuse(f"the cell ({interval}, {choice})", expected, "Correct it.")
        if choice == 0:
            return 0.0
        if interval == 0 and walks.names[choice] == SKIP:
            return float("inf")
        if self._prior is not None:
            return self._prior(interval, choice)
        return self._far(self._seen(walks.swap(interval, walks.models[choice], paced(walks.names[choice])[1])))

    def joint(self, assignment: Sequence[int]) -> Whole:
        """What a whole schedule does, which is sampled for it; for the prior, which is of single swaps, in pixels.

        Args:
            assignment: a number in the trajectories' `names` for every interval.

        Raises:
            ScheduleError: see `Trajectories.assigned`.
        """
        seen = self._seen(self.trajectories.assigned(assignment))
        if self._real is not None:
            drift = self._drift(seen)
            return Whole(drift - self._own, drift)
        damage = self._far(seen)
        return Whole(damage, damage if self._extractor is None else self._drift(seen))

    @cached_property
    def _centre(self) -> Statistics:
        """What a set of images drifts from."""
        return statistics(self._dense) if self._real is None else self._real

    @cached_property
    def _own(self) -> float:
        """The drift of the dense network's images."""
        return self._drift(self._dense)

    def _drift(self, seen: Tensor) -> float:
        return frechet(statistics(seen), self._centre)

    def _seen(self, images: Tensor) -> Tensor:
        """Images as they are compared, (N, D)."""
        found = images if self._extractor is None else self._extractor(as_bytes(images))[0]
        return found.double().flatten(1)

    def _far(self, seen: Tensor) -> float:
        if self._real is not None:
            return self._drift(seen) - self._own
        return float((seen - self._dense).square().sum(dim=1).mean())


def table(
    damage: Damage,
    names: Sequence[str],
    done: Mapping[tuple[int, int], float] | None = None,
    tell: Callable[[int, int, float], object] = lambda *_: None,
) -> np.ndarray:
    """The damage (K, M) of every swap, interval by interval.

    Args:
        damage: of single cells.
        names: the choices, some or all of the trajectories' `names`.
        done: (interval, number in `names`) to what was found before.
        tell: is called with interval, number in `names` and damage after every other cell.

    Raises:
        ScheduleError: there is no such choice.

    >>> from gen_tickets.draw import Sampler
    >>> from gen_tickets.models import build
    >>> from gen_tickets.networks import Network
    >>> from gen_tickets.scheduled import log_snr
    >>> from gen_tickets.stepwise.grid import grid
    >>> network, sampler = Network("ddpm", "tiny", (1, 8, 8)), Sampler("ddim", 4)
    >>> models = {"dense": build("ddpm", "tiny").eval(), "small": build("ddpm", "tiny").eval()}
    >>> walks = Trajectories(network, models, network.noise(2, 0), sampler, grid(sampler.solver(), log_snr(), 2))
    >>> found = table(Damage(walks, "prior"), ["dense", "small"])
    >>> found.shape, found[:, 0].tolist(), bool((found[:, 1] > 0).all())
    ((2, 2), [0.0, 0.0], True)
    """
    known = damage.trajectories.names
    for name in names:
        if name not in known:
            refuse(f"a choice {name!r}", f"one of {', '.join(known)}", "Correct the name.")
    found = np.zeros((len(damage.trajectories.grid.counts), len(names)))
    for (interval, column), _ in np.ndenumerate(found):
        before = None if done is None else done.get((interval, column))
        found[interval, column] = damage.cell(interval, known.index(names[column])) if before is None else before
        if before is None:
            tell(interval, column, float(found[interval, column]))
    return found
