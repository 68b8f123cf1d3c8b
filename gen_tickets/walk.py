"""A sampling under way, one step of a scheduler at a time, from any point of which others can branch off."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn

from gen_tickets._batches import step_seed

__all__ = ["Walk"]


class Walk:
    """Images on their way from noise, with the scheduler's state and what a network said last.

    Args:
        noise: (N, C, H, W).
        solver: a scheduler of diffusers at its steps, as `Sampler.solver` makes it; it belongs to the walk.
        seed: of the noise that a stochastic scheduler adds, which is never that of `Network.noise`.
        labels: classes (N,) of a conditional model.

    Attributes:
        images: (N, C, H, W), where they are now.
        done: how many steps have been taken.

    >>> from gen_tickets.draw import Sampler
    >>> from gen_tickets.models import build
    >>> walk, unet = Walk(torch.randn(2, 1, 8, 8), Sampler(steps=3).solver()), build("ddpm", "tiny")
    >>> with torch.no_grad():
    ...     walk.step(unet)
    ...     other = walk.branch()
    ...     other.step(None)
    >>> walk.done, other.done, walk.steps
    (1, 2, 3)
    """

    def __init__(self, noise: Tensor, solver: Any, seed: int = 0, labels: Tensor | None = None) -> None:
        self.solver, self.labels, self.done = solver, labels, 0
        self.images = noise * solver.init_noise_sigma
        self._said: Tensor | None = None
        self._generator = torch.Generator(noise.device).manual_seed(step_seed(seed, "scheduler"))
        self._stochastic = "generator" in signature(solver.step).parameters

    @property
    def steps(self) -> int:
        """Of the whole walk."""
        return len(self.solver.timesteps)

    def step(self, model: nn.Module | None) -> None:
        """Take one step.

        Args:
            model: from images, timesteps (N,) and perhaps labels (N,) to an output with `.sample`, the predicted noise;
                None skips the network: what was said last is said again; to DDIM, but for clipping, one longer step.

        Raises:
            ValueError: nothing has been said yet, or all steps are taken.
        """
        if self.done == self.steps:
            raise ValueError(f"found a walk at its end; expected fewer than {self.steps} steps taken")
        time = self.solver.timesteps[self.done]
        seen = self.solver.scale_model_input(self.images, time)
        if model is not None:
            given = () if self.labels is None else (self.labels,)
            self._said = model(seen, time.to(seen.device).expand(len(seen)), *given).sample.float()
        if self._said is None:
            raise ValueError("found a first step without a network; expected one, as there is no earlier prediction")
        extra: Mapping[str, Any] = {"generator": self._generator} if self._stochastic else {}
        self.images = self.solver.step(self._said, time, self.images, **extra).prev_sample
        self.done += 1

    def branch(self) -> Walk:
        """Another walk that goes on from here; neither changes the other."""
        other = copy.copy(self)
        other.solver = copy.deepcopy(self.solver)
        other._generator = self._generator.clone_state()
        return other
