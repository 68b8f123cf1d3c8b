"""What schedules are worth: images drawn by each, scored by real ones, and timed beside the dense network."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from common.runs.race import race
from common.runs.stats import Estimate, estimate
from common.scoped import threads
from gen_tickets.data import Images
from gen_tickets.draw import denoise, draw, pixels
from gen_tickets.quality import score
from gen_tickets.scheduled import Scheduled
from gen_tickets.stepwise.family import DENSE
from gen_tickets.stepwise.search import Searcher

__all__ = ["judged", "shown", "speedup"]

_KINDS = ("frechet", "kernel")


def judged(searcher: Searcher, assignments: Mapping[str, Sequence[int]], images: Images) -> dict[str, dict[str, Any]]:
    """Scores of schedules on the same noises, seed by seed; what was scored before is not drawn again.

    Args:
        searcher: of the family.
        assignments: label to a choice for every interval.
        images: the real ones.

    Returns:
        Label to name of a score to its estimate over seeds.
    """
    config, store = searcher.config, searcher.store
    found: dict[str, dict[str, Any]] = {}
    for label, assignment in assignments.items():
        every: dict[str, list[float]] = {}
        for seed in range(config.first_seed, config.first_seed + config.seeds):
            which = "-".join(map(str, assignment))
            key = f"{searcher.stage}/quality-{config.samples}/{which}/seed-{seed}"
            known = store.done(key)
            if known is None:
                known = {"scores": _scores(searcher, assignment, images, seed)}
                store.finish(key, known)
            for name, value in known["scores"].items():
                every.setdefault(name, []).append(value)
        found[label] = {name: estimate(values) for name, values in every.items()}
        main: Estimate = next(iter(found[label].values()))
        searcher.console.line(f"{next(iter(every))} of {label}: {main}  ({searcher.said(assignment)})")
    return found


def _scores(searcher: Searcher, assignment: Sequence[int], images: Images, seed: int) -> dict[str, float]:
    drawn = _drawn(searcher, assignment, searcher.config.samples, seed)
    quality = score(drawn, images, searcher.extractor, seed=seed)
    return {quality.label(kind): quality.scores[quality.label(kind)] for kind in _KINDS}


def shown(searcher: Searcher, assignment: Sequence[int], count: int) -> np.ndarray:
    """The first images (N, H, W, C), bytes, of the first seed."""
    return pixels(_drawn(searcher, assignment, count, searcher.config.first_seed))


def _drawn(searcher: Searcher, assignment: Sequence[int], count: int, seed: int) -> Tensor:
    config, network = searcher.config, searcher.family.network
    noise = network.noise(count, seed)
    with threads(config.threads):
        return draw(network, denoiser(searcher, assignment), noise, searcher.sampler, batch=config.batch, seed=seed)


def denoiser(searcher: Searcher, assignment: Sequence[int]) -> Scheduled:
    """A schedule of the networks that the searcher holds, in the form of its engine."""
    return Scheduled(searcher.schedule(assignment), searcher.forms, searcher.levels).eval()


def speedup(searcher: Searcher, assignment: Sequence[int], repeats: int = 5) -> dict[str, Any]:
    """Time a batch by a schedule and by the dense network, eager and channels last, in turn.

    Returns:
        `measured_speedup` against the quicker of the dense ones, and `times`.
    """
    config, network = searcher.config, searcher.family.network
    noise = network.noise(config.batch, 0)
    labels = None if network.classes is None else network.labels(config.batch)
    last = cast(Any, copy.deepcopy(searcher.forms[DENSE])).to(memory_format=torch.channels_last)
    nets = {"eager": searcher.forms[DENSE], "channels-last": last, "schedule": denoiser(searcher, assignment)}
    with threads(config.threads), torch.no_grad():
        calls = {
            name: partial(denoise, net, noise, searcher.sampler, config=network.scheduler, labels=labels)
            for name, net in nets.items()
        }
        times = race(calls, repeats)
    dense = min(times["eager"]["seconds"], times["channels-last"]["seconds"])
    return {"measured_speedup": dense / times["schedule"]["seconds"], "times": times}
