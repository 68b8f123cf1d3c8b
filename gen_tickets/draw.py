"""Images out of a network: one call of a generator, or the steps of a scheduler of diffusers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from common.runs.errors import UsageError
from common.runs.ranges import AT_LEAST_ONE, check_ranges
from gen_tickets._batches import step_seed
from gen_tickets.networks import Network
from gen_tickets.pipelines import solver_of
from gen_tickets.walk import Walk

__all__ = ["SCHEDULERS", "Sampler", "denoise", "draw", "finisher", "grid", "pixels"]

SCHEDULERS: Mapping[str, str] = {
    "ddim": "DDIMScheduler",
    "ddpm": "DDPMScheduler",
    "dpm-solver++": "DPMSolverMultistepScheduler",
}
"""Name to the scheduler of diffusers; with the 1000 training steps and linear betas of DDPM, or as a model says."""

_STEP = ("noise predicted", "timestep", "images")  # all that a scheduler's step may need
_LEVELS = ("num_train_timesteps", "beta_start", "beta_end", "beta_schedule")


@dataclass(frozen=True)
class Sampler:
    """How a U-Net draws: a name in `SCHEDULERS` or of a scheduler class of diffusers, and how many of its steps.

    Raises:
        UsageError: there is no such scheduler, or no step.

    >>> Sampler("EulerDiscreteScheduler", 3).solver().timesteps.shape
    torch.Size([3])
    """

    scheduler: str = "ddim"
    steps: int = 50

    def __post_init__(self) -> None:
        if self.scheduler not in SCHEDULERS and not self.scheduler.endswith("Scheduler"):
            raise UsageError(
                f"--scheduler is one of {', '.join(SCHEDULERS)}, or a class of diffusers such as "
                f"EulerDiscreteScheduler; found {self.scheduler!r}"
            )
        check_ranges(self, {"steps": AT_LEAST_ONE})

    def solver(self, config: Mapping[str, Any] | None = None) -> Any:
        """A scheduler of diffusers at its steps, with the noise levels of a config, or of DDPM without one.

        Raises:
            UsageError: diffusers has no such class, it does not sample from these noise levels, its steps need
                more than images and noise, or it has fewer steps.
        """
        import diffusers

        kind = getattr(diffusers, SCHEDULERS.get(self.scheduler, self.scheduler), None)
        if kind is None:
            raise UsageError(f"--scheduler {self.scheduler}: diffusers {diffusers.__version__} has no such class")
        trained = solver_of(config)
        given = {name: trained.config[name] for name in _LEVELS} if config is None else dict(config)
        try:
            made = kind.from_config(given)
            most = made.config.get("num_train_timesteps")
            if most is not None and self.steps > most:
                raise UsageError(f"--steps {self.steps} of {self.scheduler}: expected at most its {most} timesteps")
            made.set_timesteps(self.steps)
            own = torch.as_tensor(made.alphas_cumprod).float()
            signature(made.step).bind(*_STEP)
            if made.timesteps[0] < made.timesteps[-1]:
                raise ValueError("its steps are from images to noise")
        except (AttributeError, ImportError, LookupError, TypeError, ValueError) as error:
            why = repr(error) if isinstance(error, LookupError) else " ".join(str(error).split())
            raise UsageError(f"--scheduler {self.scheduler}: {why}; expected one that samples, such as ddim") from None
        learnt = trained.alphas_cumprod
        if own.shape != learnt.shape or not torch.allclose(own, learnt, rtol=0, atol=1e-4):
            raise UsageError(
                f"--scheduler {self.scheduler}: found other noise levels than those that the network learnt; expected "
                "the same, as ddim has them"
            )
        return made


def denoise(
    model: nn.Module,
    noise: Tensor,
    sampler: Sampler,
    seed: int = 0,
    *,
    config: Mapping[str, Any] | None = None,
    labels: Tensor | None = None,
) -> Tensor:
    """Images from noise, by a denoiser.

    Args:
        model: from images, timesteps (N,) and perhaps labels (N,) to an output with `.sample`, the predicted noise.
        noise: (N, C, H, W).
        sampler: scheduler and steps.
        seed: of the noise that a stochastic scheduler adds, which is never that of `Network.noise`.
        config: of the scheduler that the model was trained with.
        labels: classes (N,) of a conditional model.

    Returns:
        (N, C, H, W), about in [-1, 1].
    """
    walk = Walk(noise, sampler.solver(config), seed, labels)
    while walk.done < walk.steps:
        walk.step(model)
    return walk.images


@torch.no_grad()
def draw(
    network: Network,
    maker: nn.Module,
    noise: Tensor,
    sampler: Sampler | None = None,
    *,
    batch: int = 64,
    seed: int = 0,
    watch: Callable[[int], object] = lambda _: None,
) -> Tensor:
    """Images of a network from noise or latents, in batches.

    Args:
        network: what `maker` is the image-making part of.
        maker: in eval mode, in any engine's form.
        noise: (N, ...), as `Network.noise` gives it.
        sampler: of a U-Net; DDIM in 50 steps by default.
        batch: images at once; the last one may be smaller.
        seed: of the noise that a stochastic scheduler adds.
        watch: is told how many images are done, after every batch.

    Returns:
        (N, C, H, W) in [-1, 1].
    """
    chosen, finish, found, done = sampler or Sampler(), finisher(network), list[Tensor](), 0
    for index, part in enumerate(noise.split(batch)):
        if network.denoises:
            labels = None if network.classes is None else network.labels(len(part), done)
            added = step_seed(seed, index)
            images = denoise(maker, part, chosen, added, config=network.scheduler, labels=labels)
        else:
            images = maker(part)
        found.append(finish(images))
        done += len(part)
        watch(done)
    return torch.cat(found)


def finisher(network: Network) -> Callable[[Tensor], Tensor]:
    """What makes images in [-1, 1] of what a network draws: clipping, and the decoding of latents."""
    if network.autoencoder is None:
        return lambda drawn: drawn.clamp(-1, 1)
    from gen_tickets.latents import decode, load_autoencoder

    decoder = load_autoencoder(network.autoencoder)
    return lambda drawn: decode(decoder, drawn).clamp(-1, 1)


def pixels(images: Tensor) -> np.ndarray:
    """Images (N, C, H, W) in [-1, 1] as bytes (N, H, W, C).

    >>> pixels(torch.tensor([-1.0, 1.0]).reshape(1, 1, 1, 2)).tolist()
    [[[[0], [255]]]]
    """
    from gen_tickets.data import as_bytes

    return as_bytes(images).permute(0, 2, 3, 1).numpy()


def grid(images: np.ndarray, path: Path) -> None:
    """Write images (N, H, W, C) of bytes as one picture, in rows of about the square root of N."""
    from matplotlib.image import imsave

    count, height, width, channels = images.shape
    across = int(np.ceil(np.sqrt(count)))
    down = -(-count // across)
    sheet = np.full((down * across, height + 1, width + 1, channels), 255, dtype=np.uint8)
    sheet[:count, :height, :width] = images
    whole = sheet.reshape(down, across, height + 1, width + 1, channels).swapaxes(1, 2)
    whole = whole.reshape(down * (height + 1), across * (width + 1), channels)
    imsave(path, np.repeat(whole, 3, axis=2) if channels == 1 else whole)
