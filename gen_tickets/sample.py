"""`gen-tickets sample`: images of a ticket, or of a schedule of tickets, by any engine."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from common.runs.errors import UsageError
from common.runs.progress import Console
from common.runs.ranges import AT_LEAST_ONE, check_ranges
from common.runs.words import plural
from common.scoped import threads
from common.ticket import Ticket
from gen_tickets.config import Sample
from gen_tickets.draw import Sampler, draw, grid, pixels
from gen_tickets.engines import ENGINES, engine
from gen_tickets.networks import Network, opened
from gen_tickets.schedule import StepSchedule

__all__ = ["run"]


def run(config: Sample, console: Console) -> dict[str, Any]:
    """Draw images of a ticket, or of a schedule, and write them.

    Returns:
        `samples` and `grid` (paths), `images`, `engine`, `scheduler`, `steps`, `seconds` (of sampling alone),
        `seconds_per_image`, `threads`, `batch`; of a ticket `density` and `weights` (`trained` or `rewound`), of a
        schedule `schedule` and `steps_of` (name of a network to how many steps it takes).

    Raises:
        UsageError: a setting is out of its range, or the model is unknown.
        TicketError: the ticket cannot be read, or belongs to another model.
        ScheduleError: the schedule cannot be read, or does not fit together.
    """
    _check(config)
    sampler, count = Sampler(config.scheduler, config.steps), config.threads or torch.get_num_threads()
    with threads(count), torch.no_grad():
        network, made, facts = (_scheduled if config.schedule else _ticket)(config, console)
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
        **facts,
    }


def _ticket(config: Sample, console: Console) -> tuple[Network, nn.Module, dict[str, Any]]:
    """The network of a ticket in its engine, and what to say of it."""
    ticket = Ticket.load(str(config.ticket))
    found = opened(ticket, config.model)
    masks, weights = found.masks or ticket.masks, "trained" if found.trained else "rewound"
    console.line(f"{found.network}: {masks.kept:,} of {masks.total:,} weights kept, {weights} ones")
    inputs = found.network.inputs(min(config.batch, config.count))
    made = engine(config.engine, found.maker, found.masks, inputs)
    return found.network, made, {"density": masks.density, "weights": weights}


def _scheduled(config: Sample, console: Console) -> tuple[Network, nn.Module, dict[str, Any]]:
    """The denoiser of a schedule, and which share of its steps every network takes."""
    schedule = StepSchedule.load(str(config.schedule))
    network = opened(schedule.ticket(schedule.intervals[0].ticket)).network
    made = schedule.denoiser(config.engine, min(config.batch, config.count))
    counts = schedule.steps_of(Sampler(config.scheduler, config.steps).solver(network.scheduler), made.levels)
    console.line(f"{network}: " + ", ".join(f"{plural(steps, 'step')} of {name}" for name, steps in counts.items()))
    return network, made, {"schedule": config.schedule, "steps_of": counts}


def _tell(config: Sample, console: Console) -> Callable[[int], None]:
    """Says how far it is, where there is more than one batch."""
    return lambda done: console.line(f"{done} of {config.count} images") if config.count > config.batch else None


def _check(config: Sample) -> None:
    if config.schedule and (config.ticket or config.model):
        raise UsageError("--schedule brings its own tickets; leave out the ticket and --model")
    if not config.ticket and not config.schedule:
        raise UsageError("name the folder of a ticket, as in: gen-tickets sample runs/0123456789ab/ticket")
    check_ranges(config, dict.fromkeys(("count", "batch", "threads"), AT_LEAST_ONE))
    if config.engine not in ENGINES:
        raise UsageError(f"--engine is one of {', '.join(ENGINES)}; found {config.engine!r}")
