"""What schedules are worth: images drawn by each, scored by real ones, and timed beside the dense network."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from common.runs.race import race
from common.runs.stats import Estimate, estimate
from common.scoped import threads
from gen_tickets.draw import denoise, draw, pixels
from gen_tickets.engines import channels_last
from gen_tickets.quality import score
from gen_tickets.stepwise.baselines import by_ticket
from gen_tickets.stepwise.bench import Bench
from gen_tickets.stepwise.costs import machine
from gen_tickets.stepwise.family import DENSE
from gen_tickets.stepwise.search import Found
from gen_tickets.stepwise.solve import point
from gen_tickets.stepwise.tried import Tried

__all__ = ["contenders", "judged", "shown", "speedup"]

_KINDS = ("frechet", "kernel")
_REPEATS = 5


def contenders(bench: Bench, found: Found) -> dict[str, Tried]:
    """The baselines at the budget, step by step; mixes with the ticket whose sum of damages is least.

    Returns:
        Label to schedule: those of `gen_tickets.stepwise.baselines`, and `fewer-steps` of the dense network, by the
        scheduler's own spacing or `thinned`.
    """
    budget, counts = bench.config.budget, bench.grid.counts
    costs = np.repeat(found.costs / np.array(counts)[:, None], counts, axis=0)
    damage = np.repeat(found.damage / np.array(counts)[:, None], counts, axis=0)
    every = by_ticket(costs, budget, bench.names)
    made: dict[str, Tried] = {}
    for label in dict.fromkeys(label for some in reversed(every) for label in some):
        several = [some[label] for some in every if label in some]
        if label == "ticket":
            several = several[-1:]  # the sparsest one, as its name says
        made[label] = bench.tried(min(several, key=lambda one: point(one, damage, costs).damage))
    fewer = int(budget * bench.sampler.steps + 1e-9)
    return made | ({"fewer-steps": bench.fewer(fewer), "thinned": bench.thinned(fewer)} if fewer else {})


def judged(bench: Bench, schedules: Mapping[str, Tried]) -> dict[str, dict[str, Estimate]]:
    """Scores of schedules on the same noises, seed by seed; what was scored before is not drawn again.

    Args:
        bench: of the family.
        schedules: label to schedule.

    Returns:
        Label to name of a score to its estimate over seeds.
    """
    config = bench.config
    found: dict[str, dict[str, Estimate]] = {}
    for label, one in schedules.items():
        every: dict[str, list[float]] = {}
        for seed in range(config.first_seed, config.first_seed + config.seeds):
            key = f"quality-{config.samples}/{one.key}/seed-{seed}"
            known = bench.once(key, partial(_scores, bench, one, seed))
            for name, value in known["scores"].items():
                every.setdefault(name, []).append(value)
        found[label] = {name: estimate(values) for name, values in every.items()}
        name, main = next(iter(found[label].items()))
        bench.console.line(f"{name} of {label}: {main}  ({one}; cost {one.cost:.1%})")
    return found


def _scores(bench: Bench, one: Tried, seed: int) -> dict[str, Any]:
    quality = score(_drawn(bench, one, bench.config.samples, seed), bench.images, bench.extractor, seed=seed)
    return {"scores": {quality.label(kind): quality.scores[quality.label(kind)] for kind in _KINDS}}


def shown(bench: Bench, one: Tried, count: int) -> np.ndarray:
    """The first images (N, H, W, C), bytes, of the first seed."""
    return pixels(_drawn(bench, one, count, bench.config.first_seed))


def _drawn(bench: Bench, one: Tried, count: int, seed: int) -> Tensor:
    network, batch = bench.family.network, bench.config.batch
    with threads(bench.config.threads):
        return draw(network, bench.denoiser(one), network.noise(count, seed), one.sampler, batch=batch, seed=seed)


def speedup(bench: Bench, one: Tried) -> dict[str, Any]:
    """Time a batch by a schedule and by the dense network in float32, eager and channels last, in turn.

    Returns:
        `measured_speedup` against the quicker of the dense ones, and `times`; as it was measured first on this machine.
    """
    return bench.once(f"speed-{machine()}/{one.key}", partial(_timed, bench, one))


def _timed(bench: Bench, one: Tried) -> dict[str, Any]:
    config, network = bench.config, bench.family.network
    noise = network.noise(config.batch, 0)
    labels = None if network.classes is None else network.labels(config.batch)
    dense = bench.family.models[DENSE]
    nets = {"eager": dense, "channels-last": channels_last(dense), "schedule": bench.denoiser(one)}
    with threads(config.threads), torch.no_grad():
        calls = {
            name: partial(denoise, net, noise, bench.sampler, config=network.scheduler, labels=labels)
            for name, net in nets.items()
        }
        times = race(calls, _REPEATS)
    quicker = min(times["eager"]["seconds"], times["channels-last"]["seconds"])
    return {"measured_speedup": quicker / times["schedule"]["seconds"], "times": times}
