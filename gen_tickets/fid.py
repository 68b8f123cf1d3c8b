"""`gen-tickets fid`: images of a ticket, or of a schedule, scored by real ones, over several seeds of the noise.

A score carries its extractor's name: `FID[inception]`, and `FD[mnist-cnn]` by a classifier of the data at hand.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from common.runs.errors import UsageError
from common.runs.progress import Console
from common.runs.ranges import AT_LEAST_ONE, check_ranges
from common.scoped import threads
from common.ticket import Ticket
from gen_tickets import data, extractors
from gen_tickets._config_tools import Fid
from gen_tickets.data import Images
from gen_tickets.draw import Sampler, draw
from gen_tickets.engines import ENGINES, engine
from gen_tickets.extractors import Extractor
from gen_tickets.networks import Network, Opened, opened
from gen_tickets.quality import Quality, over_seeds, score
from gen_tickets.schedule import StepSchedule
from gen_tickets.scheduled import log_snr

__all__ = ["run"]


def run(config: Fid, console: Console) -> dict[str, Any]:
    """Draw images of a ticket for every seed, score them, and say all that a score depends on.

    The intervals are over seeds of the noise, for this one ticket; they say nothing of other trainings.

    Returns:
        `ticket`, `digest`, `network`, `density`, `state` (`trained` or `rewound`), `ema` (whether its weights are an
        average; None where that is not known); of a schedule `schedule`, `network`, `steps_of` (network to its number
        of steps), `state`, `ema`; `dataset`, `split`, `against`, `real` (images); `extractor` (`name`, `sha256`,
        `accuracy`); `samples`, `seeds`, `scheduler`, `steps`, `engine`, `batch`, `threads`; `settings` of kernel
        distance, precision and recall; `quality` (score to `mean`, `ci95`, `n`, `values`), `warnings`, `seconds`.

    Raises:
        UsageError: a setting is out of its range, or a model, a data set or an extractor is unknown.
        MissingData: the data or Inception's weights are not on this machine.
        TicketError: the ticket cannot be read, or belongs to another model.
        ValueError: there are too few images, or the real ones have another shape than the ticket's.
    """
    _check(config)
    schedule = StepSchedule.load(config.schedule) if config.schedule else None
    ticket = Ticket.load(str(config.ticket)) if schedule is None else schedule.ticket(schedule.intervals[0].ticket)
    begin = time.perf_counter()
    found = opened(ticket, config.model)
    config = _filled(config, ticket, found.network)
    images = _images(config, ticket, found.network)
    extractor = _extractor(config, images, console)
    about = _which(config, ticket, found) if schedule is None else _whole(config, schedule, found)
    qualities = _qualities(config, found, schedule, images, extractor, console)
    quality, warnings = over_seeds(qualities), _warnings(found.network, qualities)
    for text in warnings:
        console.warning(text)
    for label, value in quality.items():
        console.line(f"{label:24} {value}")
    first = qualities[0]
    return {
        **about,
        "dataset": images.name,
        "split": config.split,
        "against": first.against,
        "real": first.real,
        "extractor": _about(extractor),
        **{name: getattr(config, name) for name in ("samples", "scheduler", "steps", "engine", "batch", "threads")},
        "seeds": [part.seed for part in qualities],
        "settings": first.settings,
        "quality": quality,
        "warnings": warnings,
        "seconds": time.perf_counter() - begin,
    }


def _check(config: Fid) -> None:
    if config.schedule and (config.ticket or config.model):
        raise UsageError("--schedule brings its own tickets; leave out the ticket and --model")
    if not config.ticket and not config.schedule:
        raise UsageError("name the folder of a ticket, as in: gen-tickets fid runs/0123456789ab/ticket")
    check_ranges(config, dict.fromkeys(("samples", "seeds", "batch", "threads"), AT_LEAST_ONE))
    if config.weights and config.extractor != extractors.INCEPTION:
        raise UsageError("--weights names the file of Inception-v3; add --extractor inception, or leave it out")
    if config.engine not in ENGINES:
        raise UsageError(f"--engine is one of {', '.join(ENGINES)}; found {config.engine!r}")


def _filled(config: Fid, ticket: Ticket, network: Network) -> Fid:
    """Every None as the ticket's search had it."""
    searched = ticket.recipe.get("find") or {}
    judged = searched.get("quality") or {}
    dataset = config.dataset or searched.get("dataset")
    if dataset is None:
        raise UsageError("this ticket does not say which images it learnt from; name them, as in --dataset mnist")
    sampler = Sampler(config.scheduler or judged.get("scheduler") or "ddim", _steps(config, judged))
    steps = (sampler.scheduler, sampler.steps) if network.denoises else (None, 1)
    used = config.threads or torch.get_num_threads()
    return replace(config, dataset=dataset, scheduler=steps[0], steps=steps[1], threads=used)


def _steps(config: Fid, judged: Mapping[str, Any]) -> int:
    return config.steps if config.steps is not None else judged.get("steps") or 50


def _images(config: Fid, ticket: Ticket, network: Network) -> Images:
    """The real images, cropped and resized as for the search."""
    searched = ticket.recipe.get("find") or {}
    root = config.data_root or searched.get("data_root")
    images = data.load(str(config.dataset), root, size=searched.get("image_size"))
    if images.shape != network.image:
        raise ValueError(
            f"{images.name}: found images of shape {images.shape}; expected {network.image}, as the ticket makes them. "
            "Name the data that it was found on by --dataset."
        )
    if config.dataset == searched.get("dataset") and (wrong := images.other_than(searched.get("data"))):
        raise ValueError(f"{wrong}, on which the ticket was found. Restore them, or name others by --dataset.")
    return images


def _extractor(config: Fid, images: Images, console: Console) -> Extractor:
    own = f"{images.name}-cnn"
    name = config.extractor or own
    given = images if name == own else None
    return extractors.load(name, given, weights=config.weights, root=config.data_root, console=console)


def _qualities(
    config: Fid, found: Opened, schedule: StepSchedule | None, images: Images, extractor: Extractor, console: Console
) -> list[Quality]:
    """The scores of every seed."""
    network, qualities = found.network, []
    sampler = Sampler(config.scheduler, config.steps or 1) if config.scheduler else None
    with threads(config.threads or 1), torch.no_grad():
        batch = min(config.batch, config.samples)
        maker = (
            engine(config.engine, found.maker, found.masks, network.inputs(batch))
            if schedule is None
            else schedule.denoiser(config.engine, batch)
        )
        for number in range(config.seeds):
            seed = config.first_seed + number
            fake = draw(network, maker, network.noise(config.samples, seed), sampler, batch=config.batch, seed=seed)
            quality = score(fake, images, extractor, seed=seed, split=config.split)
            qualities.append(quality)
            console.round(number + 1, config.seeds, {quality.label("frechet"): quality.frechet}, what="seed")
    return qualities


def _whole(config: Fid, schedule: StepSchedule, found: Opened) -> dict[str, Any]:
    """What is said of a schedule; its tickets are trained, their weights averages."""
    network, sampler = found.network, Sampler(str(config.scheduler), config.steps or 1)
    return {
        "schedule": config.schedule,
        "network": f"{network.family}/{network.size}",
        "steps_of": schedule.steps_of(sampler.solver(network.scheduler), log_snr(network.scheduler)),
        "state": "trained",
        "ema": True,
    }


def _which(config: Fid, ticket: Ticket, found: Opened) -> dict[str, Any]:
    known, network = "find" in ticket.recipe, found.network
    averaged = network.denoises or network.part == "generator"
    return {
        "ticket": config.ticket,
        "digest": ticket.digest,
        "network": f"{network.family}/{network.size}",
        "density": ticket.density,
        "state": "trained" if found.trained else "rewound",
        "ema": (found.trained and averaged) if known else None,
    }


def _warnings(network: Network, qualities: Sequence[Quality]) -> list[str]:
    prior = "an auto-encoder has no distribution of latents; images are decoded from latents of N(0, 1)"
    found = [prior] if network.family == "autoencoder" else []
    return list(dict.fromkeys([*found, *(text for part in qualities for text in part.warnings)]))


def _about(extractor: Extractor) -> dict[str, Any]:
    return {"name": extractor.name, "sha256": extractor.sha256, "accuracy": extractor.trained.get("accuracy")}
