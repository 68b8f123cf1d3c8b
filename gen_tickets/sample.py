"""`gen-tickets sample`: images of a ticket, by any engine."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from common.runs.errors import UsageError
from common.runs.progress import Console
from common.scoped import threads
from common.ticket import Ticket
from gen_tickets.config import Sample
from gen_tickets.engines import ENGINES, denoises, engine, network, pruned

__all__ = ["SCHEDULERS", "denoise", "draw", "grid", "run"]

SCHEDULERS: Mapping[str, str] = {
    "ddim": "DDIMScheduler",
    "ddpm": "DDPMScheduler",
    "dpm-solver++": "DPMSolverMultistepScheduler",
}
"""Name to the scheduler of diffusers; each at its default of 1000 training steps with linear betas."""


def denoise(model: nn.Module, noise: Tensor, scheduler: str, steps: int, seed: int = 0) -> Tensor:
    """Images from noise, by a denoiser.

    Args:
        model: from images and timesteps (N,) to an output with `.sample`, the predicted noise.
        noise: (N, C, H, W).
        scheduler: a name in `SCHEDULERS`.
        steps: how many of its steps.
        seed: of the noise that a stochastic scheduler adds.

    Returns:
        (N, C, H, W), about in [-1, 1].
    """
    import diffusers

    solver: Any = getattr(diffusers, SCHEDULERS[scheduler])()
    solver.set_timesteps(steps)
    generator = torch.Generator(noise.device).manual_seed(seed)
    stochastic = {"generator": generator} if scheduler != "ddim" else {}
    x = noise * solver.init_noise_sigma
    for step in solver.timesteps:
        predicted = model(solver.scale_model_input(x, step), step.expand(len(x))).sample.float()
        x = solver.step(predicted, step, x, **stochastic).prev_sample
    return x


def run(config: Sample, console: Console) -> dict[str, Any]:
    """Draw images of a ticket and write them.

    Returns:
        `samples` and `grid` (paths), `images`, `engine`, `scheduler`, `steps`, `seconds` (of sampling alone),
        `seconds_per_image`, `threads`, `batch`, `density`, `weights` (`trained` or `rewound`).

    Raises:
        UsageError: a setting is out of its range, or the model is unknown.
        TicketError: the ticket cannot be read, or belongs to another model.
    """
    _check(config)
    ticket = Ticket.load(str(config.ticket))
    count = config.threads or torch.get_num_threads()
    with threads(count), torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(config.seed)
        model, inputs = network(config.model, min(config.batch, config.count))
        masks = pruned(model, ticket, 1.0)
        weights = "rewound" if ticket.trained is None else "trained"
        console.line(f"{config.model}: {masks.kept:,} of {masks.total:,} weights kept, {weights} ones")
        made = engine(config.engine, model, masks, inputs)
        noise = torch.randn(config.count, *inputs[0].shape[1:], generator=torch.Generator().manual_seed(config.seed))
        begin = time.perf_counter()
        images = draw(made, noise, config, console)
        seconds = time.perf_counter() - begin
    folder = Path(config.out)
    folder.mkdir(parents=True, exist_ok=True)
    pixels = ((images.permute(0, 2, 3, 1) + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).numpy()
    np.savez_compressed(folder / "samples.npz", images=pixels)
    grid(pixels, folder / "samples.png")
    console.line(
        f"{config.count} images in {seconds:.2f} s ({config.engine}, {count} threads): {folder / 'samples.png'}"
    )
    return {
        "samples": str(folder / "samples.npz"),
        "grid": str(folder / "samples.png"),
        "images": config.count,
        "engine": config.engine,
        "scheduler": config.scheduler if denoises(config.model) else None,
        "steps": config.steps if denoises(config.model) else 1,
        "seconds": seconds,
        "seconds_per_image": seconds / config.count,
        "threads": count,
        "batch": config.batch,
        "density": masks.density,
        "weights": weights,
    }


def draw(model: nn.Module, noise: Tensor, config: Sample, console: Console) -> Tensor:
    """Images (N, C, H, W) in [-1, 1] from noise or latents, in batches."""
    batches = noise.split(config.batch)
    found = []
    for index, part in enumerate(batches):
        if denoises(config.model):
            found.append(denoise(model, part, config.scheduler, config.steps, config.seed + index).clamp(-1, 1))
        else:
            found.append(model(part).clamp(-1, 1))
        if len(batches) > 1:
            console.line(f"batch {index + 1} of {len(batches)}")
    return torch.cat(found)


def grid(pixels: np.ndarray, path: Path) -> None:
    """Write images (N, H, W, C) of bytes as one picture, in rows of about the square root of N."""
    from matplotlib.image import imsave

    images, height, width, channels = pixels.shape
    across = int(np.ceil(np.sqrt(images)))
    down = -(-images // across)
    sheet = np.full((down * across, height + 1, width + 1, channels), 255, dtype=np.uint8)
    sheet[:images, :height, :width] = pixels
    whole = sheet.reshape(down, across, height + 1, width + 1, channels).swapaxes(1, 2)
    whole = whole.reshape(down * (height + 1), across * (width + 1), channels)
    imsave(path, np.repeat(whole, 3, axis=2) if channels == 1 else whole)


def _check(config: Sample) -> None:
    if not config.ticket:
        raise UsageError("name the folder of a ticket, as in: gen-tickets sample runs/0123456789ab/ticket")
    for name in ("count", "batch", "steps"):
        if getattr(config, name) < 1:
            raise UsageError(f"--{name} must be at least 1; found {getattr(config, name)}")
    if config.threads is not None and config.threads < 1:
        raise UsageError(f"--threads must be at least 1; found {config.threads}")
    for name, known in (("engine", ENGINES), ("scheduler", tuple(SCHEDULERS))):
        if getattr(config, name) not in known:
            raise UsageError(f"--{name} is one of {', '.join(known)}; found {getattr(config, name)!r}")
