r"""A closed form of what a swap does to the images, which samples nothing anew.

Along the dense trajectory it takes the differences $e_t$ between both predictions and carries them on to the image, as
the mean over images of

$$\Big\|\sum_t w_t\,e_t\Big\|^2, \qquad w_t = \Big|\sqrt{1 - \bar\alpha'} - \sqrt{\bar\alpha'/\bar\alpha}\,
\sqrt{1 - \bar\alpha}\Big|$$

where $w_t$ is how far one DDIM step, from $\bar\alpha$ to $\bar\alpha'$, moves x by an error of the predicted noise.
From there to the image it keeps its size: so it is where an exact network goes on and images are Gaussian of variance
1. Real images damp it in the noisiest steps and amplify it in the middle, by a factor of 2 to 3 where that was tried.
The sum is over the steps of the interval, whose errors mostly point the same way; with one step it is
$w_t^2\,\|e_t\|^2$.

References:
    Song et al., Denoising Diffusion Implicit Models, ICLR 2021.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from torch import Tensor

from gen_tickets._intervals import paced, refuse
from gen_tickets.stepwise.damage import Space
from gen_tickets.stepwise.trajectories import Trajectories

__all__ = ["Prior", "weights"]


class Prior:
    """The closed form for the swaps of trajectories.

    Args:
        trajectories: dense samplings, and the choices.

    Attributes:
        trajectories: the same.
        spaces: `prior` alone.

    Raises:
        ScheduleError: their sampler has a first step without any signal.
    """

    spaces: tuple[Space, ...] = ("prior",)

    def __init__(self, trajectories: Trajectories) -> None:
        self.trajectories, levels = trajectories, trajectories.grid.levels
        if not np.isfinite(levels).all():
            refuse(
                "a first step without any signal", "finite log-SNRs", "Measure in pixels, or with another scheduler."
            )
        self._weights = weights(levels)

    @torch.no_grad()
    def cell(self, interval: int, choice: int) -> dict[Space, float]:
        """The damage of one swap, the mean over images, in pixels or latents; see `Damage.cell`.

        Args:
            interval: its number, from noise to image.
            choice: a number in the trajectories' `names`.

        Raises:
            ScheduleError: there is no such interval or choice.
        """
        walks = self.trajectories
        known = walks.known(interval, choice)
        if known is not None:
            return {"prior": known}
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
        return {"prior": total / count}


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
