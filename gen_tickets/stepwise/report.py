"""The report of `gen-tickets schedule`: verdict, scores, sensitivity, front, samples and time bars in one file."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from common.runs.files import write_atomic
from common.runs.pictures import fitting, image_rows
from common.runs.report import Figure, Report, render
from common.runs.stats import Estimate, is_winning
from common.runs.words import command_line, number, spread
from gen_tickets._config_schedule import Schedule
from gen_tickets._intervals import expanded
from gen_tickets.schedule import StepSchedule
from gen_tickets.stepwise.bench import Bench
from gen_tickets.stepwise.harms import FINAL, LOOK, noises
from gen_tickets.stepwise.pictures import bars, front_curve, heat_map, losses
from gen_tickets.stepwise.search import Found
from gen_tickets.stepwise.solve import Point, point
from gen_tickets.stepwise.tried import Tried
from gen_tickets.stepwise.verify import shown

__all__ = ["Outcome", "write_report"]

_REFERENCES = [
    "Pan et al., T-Stitch: Accelerating Sampling in Pre-Trained Diffusion Models with Trajectory Stitching, ICLR 2025",
    "Yang et al., Denoising Diffusion Step-aware Models, ICLR 2024",
    "Liu et al., OMS-DPM: Optimizing the Model Schedule for Diffusion Probabilistic Models, ICML 2023",
    "Nemhauser and Ullmann, Discrete Dynamic Programming and Capital Allocation, Management Science 1969",
    "Jiang, Hui, Liu and Yan, Successfully Applying Lottery Ticket Hypothesis to Diffusion Model, 2023",
]
_DAMAGE = {
    "features": "the mean squared distance in the extractor's features from the dense network's images",
    "pixels": "the mean squared distance in pixels from the dense network's images",
    "prior": "a closed form of the mean squared distance, in pixels or where it draws them in latents, from the dense "
    "network's images",
    "data": "by how much the Frechet distance from training images, in the extractor's features, rises above that of "
    "the dense network; below zero images are better",
}
_DRIFT = {
    "features": "the Frechet distance from the dense network's images",
    "data": "the Frechet distance from training images",
}


@dataclass(frozen=True)
class Outcome:
    """A search, and what its schedule and others are worth.

    Attributes:
        bench: where it was measured.
        found: by the search.
        tried: `schedule`, and label to every other one that was judged.
        quality: label to name of a score to its estimate.
        timed: see `gen_tickets.stepwise.verify.speedup`.
        schedule: the one that was found.
        seconds: of all measuring and training up to here.
        curves: network to held-out losses (checks, intervals), with the steps of the checks, of a training before.
    """

    bench: Bench
    found: Found
    tried: Mapping[str, Tried]
    quality: Mapping[str, Mapping[str, Estimate]]
    timed: Mapping[str, Any]
    schedule: StepSchedule
    seconds: float
    curves: tuple[Mapping[str, np.ndarray], Sequence[int]] | None = None


def write_report(folder: Path, manifest: Mapping[str, Any], config: Schedule, outcomes: Sequence[Outcome]) -> Path:
    """Write `report.html` and return its path.

    Args:
        folder: of the schedule.
        manifest: of the run.
        config: of the command.
        outcomes: of a search, and of another after training, if there was one.
    """
    first, last = outcomes[0], outcomes[-1]
    network, data = last.bench.family.network, last.bench.images.name
    label = next(iter(last.quality["schedule"]))
    ours, dense = last.quality["schedule"][label], first.quality["dense"][label]
    report = Report(
        title=f"Schedule: {network} on {data}, {config.scheduler} in {config.steps} steps",
        verdict=f"at {last.found.chosen.cost:.0%} of the dense cost {label} is {spread(ours)}, the dense network's "
        f"{spread(dense)}; {_speed(last)}.",
        winning=is_winning(ours, dense, higher_is_better=False),
        summary=_summary(config, outcomes),
        columns=["schedule", "cost", *last.quality["schedule"], "from noise to image"],
        rows=[row for one in outcomes for row in _rows(one, len(outcomes) > 1)],
        figures=[figure for one in outcomes for figure in _figures(one, len(outcomes) > 1)],
        command=command_line("gen-tickets schedule", config, Schedule(), positional=("tickets",)),
        settings=dataclasses.asdict(config),
        references=_REFERENCES,
        provenance=manifest,
    )
    path = folder / "report.html"
    write_atomic(path, render(report))
    return path


def _speed(outcome: Outcome) -> str:
    times = outcome.timed["times"]["schedule"]
    spread_of = f"{times['seconds_min']:.3g} to {times['seconds_max']:.3g} s a batch"
    return f"{outcome.timed['measured_speedup']:.2f}x as fast as the best dense float32, measured ({spread_of})"


def _summary(config: Schedule, outcomes: Sequence[Outcome]) -> list[str]:
    last = outcomes[-1]
    found, about = last.found, last.bench.measured[1]
    unit = ", in pixels" if config.space == "prior" else ""
    again = f", the best {len(found.finals)} again from {noises(FINAL, config.noises):,} more" if found.finals else ""
    seeds = f"means over {config.seeds} seeds of the noise with 95 % intervals" if config.seeds > 1 else "of one seed"
    texts = [
        "Small to large has a ticket in the early, noisy steps and the dense network in the late ones; large to small "
        "is the other way round; fewer steps are the dense network's.",
        f"Damage is {_DAMAGE[config.space]}. Single swaps were measured from {config.noises} noises, and "
        f"{len(found.looked)} whole schedules from {noises(LOOK, config.noises)} others{unit}{again}. The "
        f"schedule has {number(found.chosen.damage)}, the sum of its single swaps is {number(found.predicted)}. It "
        f"drifts least within the budget, {number(found.whole.drift)}: "
        f"{_DRIFT.get(config.space, 'the damage')}.",
        f"All measuring and training took {number(last.seconds)} s, that for other budgets and spaces of this run "
        f"included. "
        f"Costs: engine {about['engine']}, batch {about['batch']}, threads {about['threads']}, on {about['hardware']}.",
        f"Scores are {seeds}, {config.samples:,} images each.",
    ]
    if len(outcomes) > 1:
        what = "every scheduled ticket on its own stretch" if config.tune else "the dense network and scheduled tickets"
        steps = config.tune or config.joint
        texts.append(
            f"Then {steps} steps of training, {what}, and another search. Baselines are of the networks before."
        )
    return texts


def _rows(outcome: Outcome, staged: bool) -> list[list[str]]:
    stage = f" ({_when(outcome)} training)" if staged else ""
    rows = []
    for label, scores in outcome.quality.items():
        one = outcome.tried[label]
        name = "the schedule found" if label == "schedule" else label
        rows.append([f"{name}{stage}", f"{one.cost:.1%}", *map(spread, scores.values()), str(one)])
    return rows


def _when(outcome: Outcome) -> str:
    return "before" if outcome.bench.stage == "search" else "after"


def _figures(outcome: Outcome, staged: bool) -> list[Figure]:
    found, bench = outcome.found, outcome.bench
    stage = f", {_when(outcome)} training" if staged else ""
    starts = [f"{bench.grid.levels[start]:.1f}" for start in bench.grid.starts]
    looked = [Point(one, point(one, found.damage, found.costs).cost, did.damage) for one, did in found.looked.items()]
    drawn = [
        Figure(
            f"What every swap damages{stage}",
            "One interval by another network, all others by the dense one; blank where that is not allowed.",
            heat_map(found.damage, found.names, starts),
        ),
        Figure(
            f"Damage against cost{stage}",
            "The front is the best by the sum of single swaps, for every budget; points were sampled as a whole. "
            "The one of least drift within the budget is chosen, which need not be that of least damage.",
            front_curve(found.front, looked, found.chosen, bench.config.cost),
        ),
        Figure(f"Who denoises when{stage}", "Steps times the cost of a call.", _bars(outcome)),
        _samples(outcome, stage),
    ]
    if outcome.curves is not None:
        drawn.append(
            Figure("Losses while training", "On images held out, by interval, 1 at the start.", losses(*outcome.curves))
        )
    return drawn


def _bars(outcome: Outcome) -> str:
    bench = outcome.bench
    dense = bench.calls[bench.names[0]] * bench.sampler.steps
    parts: dict[str, list[tuple[str, float]]] = {}
    for label, one in outcome.tried.items():
        steps = iter(expanded(one.runs))
        parts[label] = [(name, sum(bench.calls[who] for who in islice(steps, n)) / dense) for name, n in one.runs]
    return bars(parts, outcome.found.names, bench.config.cost)


def _samples(outcome: Outcome, stage: str) -> Figure:
    """Images of schedules along the front, from the same noise."""
    found, bench = outcome.found, outcome.bench
    along = {"dense\n100%": bench.tried((0,) * len(found.costs))}
    for share in (0.8, 0.6, 0.4, 0.2):
        payable = [one for one in found.front if one.cost <= share and np.isfinite(one.damage)]
        if payable:
            along[f"front\n{payable[-1].cost:.0%}"] = bench.tried(payable[-1].assignment)
    along[f"schedule found\n{found.chosen.cost:.0%}"] = outcome.tried["schedule"]
    height, width = bench.family.network.image[1:]
    across = fitting(height, width)
    rows = {label: shown(bench, one, across) for label, one in along.items()}
    text = "Place by place from the same noise: the first ones of the seed, none picked out; shares of the dense cost."
    return Figure(f"Samples along the budget{stage}", text, image_rows(rows, across))
