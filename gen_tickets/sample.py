"""`gen-tickets sample`: images of a ticket, by any engine."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from common.runs.errors import UsageError
from common.runs.progress import Console
from common.scoped import threads
from common.ticket import Ticket
from gen_tickets.config import Sample
from gen_tickets.draw import Sampler, draw, grid, pixels
from gen_tickets.engines import ENGINES, engine
from gen_tickets.networks import opened

__all__ = ["run"]


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
    sampler, count = Sampler(config.scheduler, config.steps), config.threads or torch.get_num_threads()
    found = opened(ticket, config.model)
    network = found.network
    with threads(count), torch.no_grad():
        masks, weights = found.masks or ticket.masks, "trained" if found.trained else "rewound"
        console.line(f"{network}: {masks.kept:,} of {masks.total:,} weights kept, {weights} ones")
        made = engine(config.engine, found.maker, found.masks, network.inputs(min(config.batch, config.count)))
        noise = network.noise(config.count, config.seed)
        begin = time.perf_counter()
        images = draw(network, made, noise, sampler, batch=config.batch, seed=config.seed, watch=_tell(config, console))
        seconds = time.perf_counter() - begin
    folder = Path(config.out)
    folder.mkdir(parents=True, exist_ok=True)
    shown = pixels(images)
    np.savez_compressed(folder / "samples.npz", images=shown)
    grid(shown, folder / "samples.png")
    console.line(
        f"{config.count} images in {seconds:.2f} s ({config.engine}, {count} threads): {folder / 'samples.png'}"
    )
    return {
        "samples": str(folder / "samples.npz"),
        "grid": str(folder / "samples.png"),
        "images": config.count,
        "engine": config.engine,
        "scheduler": config.scheduler if network.denoises else None,
        "steps": config.steps if network.denoises else 1,
        "seconds": seconds,
        "seconds_per_image": seconds / config.count,
        "threads": count,
        "batch": config.batch,
        "density": masks.density,
        "weights": weights,
    }


def _tell(config: Sample, console: Console) -> Callable[[int], None]:
    """Says how far it is, where there is more than one batch."""
    return lambda done: console.line(f"{done} of {config.count} images") if config.count > config.batch else None


def _check(config: Sample) -> None:
    if not config.ticket:
        raise UsageError("name the folder of a ticket, as in: gen-tickets sample runs/0123456789ab/ticket")
    for name in ("count", "batch"):
        if getattr(config, name) < 1:
            raise UsageError(f"--{name} must be at least 1; found {getattr(config, name)}")
    if config.threads is not None and config.threads < 1:
        raise UsageError(f"--threads must be at least 1; found {config.threads}")
    if config.engine not in ENGINES:
        raise UsageError(f"--engine is one of {', '.join(ENGINES)}; found {config.engine!r}")
