r"""What it does to the images when one interval is denoised by another network: a table of K intervals by M choices.

In `pixels` and `features` a cell is measured: the mean over images of the squared distance between the images of the
dense network and those of a single swap, from the same noise. The `prior` samples nothing anew. Along the dense
trajectory it takes the differences $e_t$ between both predictions and carries them on to the image in closed form, as
the mean over images of

$$\Big\|\sum_t w_t\,e_t\Big\|^2, \qquad w_t = \Big|\sqrt{1 - \bar\alpha'} - \sqrt{\bar\alpha'/\bar\alpha}\,
\sqrt{1 - \bar\alpha}\Big|$$

where $w_t$ is how far one DDIM step, from $\bar\alpha$ to $\bar\alpha'$, moves x by an error of the predicted noise.
From there to the image it keeps its size: so it is where an exact network goes on and images are Gaussian of variance
1. Real images damp it in the noisiest steps and amplify it in the middle, by a factor of 2 to 3 where that was tried.
The sum is over the steps of the interval, whose errors mostly point the same way; with one step it is
$w_t^2\,\|e_t\|^2$.

A whole schedule is sampled for its damage. In features it is also told how far the images drift as a set, by the
Frechet distance between both sets: images that change places with one another do no harm, images that all change in one
way do.

References:
    Song et al., Denoising Diffusion Implicit Models, ICLR 2021.
    Liu et al., OMS-DPM: Optimizing the Model Schedule for Diffusion Probabilistic Models, ICML 2023.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, cast, get_args

import numpy as np
import torch
from torch import Tensor

from common.runs.errors import UsageError
from common.runs.options import did_you_mean
from gen_tickets._intervals import SKIP, paced, refuse
from gen_tickets.data import as_bytes
from gen_tickets.distances import Statistics, frechet, statistics
from gen_tickets.extractors import Extractor
from gen_tickets.stepwise.trajectories import Trajectories

__all__ = ["SPACES", "Damage", "Space", "Whole", "table", "weights"]

Space = Literal["pixels", "features", "prior"]
SPACES: tuple[Space, ...] = get_args(Space)


@dataclass(frozen=True)
class Whole:
    """What a whole schedule does to the images.

    Attributes:
        damage: mean squared distance from those of the dense network from the same noise.
        drift: Frechet distance from those of the dense network, of sets of features; elsewhere the damage.
    """

    damage: float
    drift: float


class Damage:
    """How far schedules take the images away from those of the dense network.

    Args:
        trajectories: dense samplings, and the choices.
        space: `pixels` in [-1, 1], `features` of an extractor, or the `prior`, which is in pixels or latents.
        extractor: of `features`, see `gen_tickets.extractors.load`.

    Raises:
        UsageError: there is no such space, or no extractor for features.
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

    def __init__(self, trajectories: Trajectories, space: Space = "pixels", extractor: Extractor | None = None) -> None:
        if space not in SPACES:
            hint = did_you_mean(space, SPACES)
            raise UsageError(f"damage is measured in one of {', '.join(SPACES)}; found {space!r}.{hint}")
        if space == "features" and extractor is None:
            raise UsageError("damage in features needs an extractor; found none. Name one, or measure it in pixels.")
        self.trajectories, self.space = trajectories, space
        self._extractor = extractor if space == "features" else None
        self._weights = _of(trajectories) if space == "prior" else np.zeros(0)
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
        if self.space == "prior":
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
        damage = self._far(seen)
        return Whole(damage, damage if self._extractor is None else frechet(statistics(seen), self._centre))

    @cached_property
    def _centre(self) -> Statistics:
        return statistics(self._dense)

    def _seen(self, images: Tensor) -> Tensor:
        """Images as they are compared, (N, D)."""
        found = images if self._extractor is None else self._extractor(as_bytes(images))[0]
        return found.double().flatten(1)

    def _far(self, seen: Tensor) -> float:
        return float((seen - self._dense).square().sum(dim=1).mean())

    @torch.no_grad()
    def _prior(self, interval: int, choice: int) -> float:
        walks = self.trajectories
        model, first, total, count = walks.models[choice], walks.grid.starts[interval], 0.0, 0
        every = paced(walks.names[choice])[1]
        for steps in walks.said(interval):
            moved, other = torch.zeros_like(steps[0].noise), steps[0].before
            for number, said in enumerate(steps):
                if model is not None and (first + number) % every == 0:
                    other = model(*said.inputs).sample.float()
                moved += self._weights[first + number] * (cast(Tensor, other) - said.noise)
            total += float(moved.double().square().sum())
            count += len(moved)
        return total / count


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


def weights(levels: Sequence[float] | np.ndarray) -> np.ndarray:
    """By how much an error of the predicted noise at each step moves the final image: w of the module's equation, (S,).

    Args:
        levels: log-SNR of the S steps, from noise to image; the last step goes to the image itself.

    >>> weights([-2.0, 0.0, 2.0]).round(3).tolist()
    [1.215, 0.593, 0.368]
    """
    sigma = np.exp(-np.asarray(levels, float) / 2)  # of x / sqrt(alpha), in which a step of DDIM is one of Euler
    after = np.append(sigma[1:], 0.0)
    return (sigma - after) / np.sqrt(1 + after**2)


def _of(trajectories: Trajectories) -> np.ndarray:
    """The weights of all steps of a sampler."""
    levels = trajectories.grid.levels
    if not np.isfinite(levels).all():
        refuse("a first step without any signal", "finite log-SNRs", "Measure in pixels, or with another scheduler.")
    return weights(levels)
