"""The report of `gen-tickets schedule`: verdict, scores, sensitivity, front, samples and time bars in one file."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from common.runs.pictures import fitting, image_rows
from common.runs.report import Figure, Report, render
from common.runs.stats import Estimate, is_winning
from common.runs.store import Run
from common.runs.words import command_line, number, spread
from gen_tickets._config_schedule import Schedule
from gen_tickets.data import Images
from gen_tickets.schedule import StepSchedule
from gen_tickets.stepwise.pictures import bars, front_curve, heat_map, losses
from gen_tickets.stepwise.search import Found, Searcher
from gen_tickets.stepwise.solve import Point, point
from gen_tickets.stepwise.verify import shown

__all__ = ["Outcome", "write_report"]

_REFERENCES = [
    "Pan et al., T-Stitch: Accelerating Sampling in Pre-Trained Diffusion Models with Trajectory Stitching, ICLR 2025",
    "Yang et al., Denoising Diffusion Step-aware Models, ICLR 2024",
    "Liu et al., OMS-DPM: Optimizing the Model Schedule for Diffusion Probabilistic Models, ICML 2023",
    "Nemhauser and Ullmann, Discrete Dynamic Programming and Capital Allocation, Management Science 1969",
    "Jiang, Hui, Liu and Yan, Successfully Applying Lottery Ticket Hypothesis to Diffusion Model, 2023",
]
_SPACES = {"features": "the extractor's features", "pixels": "pixels", "prior": "pixels, by a closed form"}


@dataclass(frozen=True)
class Outcome:
    """A search, and what its schedule and the baselines are worth.

    Attributes:
        searcher: of the family.
        found: by it.
        others: baseline to its assignment.
        quality: `schedule`, or a baseline, to name of a score to its estimate.
        timed: see `gen_tickets.stepwise.verify.speedup`.
        schedule: the one that was found.
        curves: network to held-out losses (checks, intervals), with the steps of the checks, of a training before.
    """

    searcher: Searcher
    found: Found
    others: Mapping[str, Sequence[int]]
    quality: Mapping[str, Mapping[str, Estimate]]
    timed: Mapping[str, Any]
    schedule: StepSchedule
    curves: tuple[Mapping[str, np.ndarray], Sequence[int]] | None = None


def write_report(store: Run, config: Schedule, outcomes: Sequence[Outcome], images: Images) -> Path:
    """Write `report.html` into the run folder and return its path.

    Args:
        store: the run.
        config: of the command.
        outcomes: of a search, and of another after training, if there was one.
        images: the data.
    """
    last = outcomes[-1]
    label = next(iter(last.quality["schedule"]))
    ours, dense = last.quality["schedule"][label], last.quality["dense"][label]
    speed = last.timed["measured_speedup"]
    report = Report(
        title=f"Schedule: {last.searcher.family.network} on {images.name}, {config.scheduler} in {config.steps} steps",
        verdict=f"at {last.found.chosen.cost:.0%} of the dense cost {label} is {spread(ours)}, the dense network's "
        f"{spread(dense)}; {speed:.2f}x as fast, measured.",
        winning=is_winning(ours, dense, higher_is_better=False),
        summary=_summary(config, outcomes),
        columns=["schedule", "cost", *last.quality["schedule"], "from noise to image"],
        rows=[row for one in outcomes for row in _rows(one, len(outcomes) > 1)],
        figures=[figure for one in outcomes for figure in _figures(one, len(outcomes) > 1)],
        command=command_line("gen-tickets schedule", config, Schedule(), positional=("tickets",)),
        settings=dataclasses.asdict(config),
        references=_REFERENCES,
        provenance=store.manifest,
    )
    return store.write_text("report.html", render(report))


def _summary(config: Schedule, outcomes: Sequence[Outcome]) -> list[str]:
    last = outcomes[-1]
    found, about = last.found, last.searcher.measured[1]
    texts = [
        "Small to large has the ticket in the early, noisy steps and the dense network in the late ones; large to "
        "small is the other way round.",
        f"Damage is the mean squared distance in {_SPACES[config.space]} from the dense network's images, from "
        f"{config.noises} noises. The schedule's is {number(found.chosen.damage)}; the sum of its single swaps is "
        f"{number(found.predicted)}.",
        f"The search took {number(found.seconds)} s. Costs: engine {about['engine']}, batch {about['batch']}, threads "
        f"{about['threads']}, on {about['hardware']}.",
        f"Scores are means over {config.seeds} seeds of the noise with 95 % intervals, {config.samples:,} images each.",
    ]
    if len(outcomes) > 1:
        what = "every ticket on its own stretch" if config.tune else "all networks together, with shared weights"
        texts.append(f"Then {config.tune or config.joint} steps of training, {what}, and another search, shown first.")
    return texts


def _rows(outcome: Outcome, staged: bool) -> list[list[str]]:
    found, searcher = outcome.found, outcome.searcher
    stage = f" ({'after' if searcher.stage == 'trained' else 'before'} training)" if staged else ""
    rows = []
    for label, scores in outcome.quality.items():
        assignment = found.chosen.assignment if label == "schedule" else outcome.others[label]
        cost = point(assignment, found.damage, found.costs).cost
        name = "the schedule found" if label == "schedule" else label
        rows.append([f"{name}{stage}", f"{cost:.1%}", *map(spread, scores.values()), searcher.said(assignment)])
    return rows


def _figures(outcome: Outcome, staged: bool) -> list[Figure]:
    found, searcher = outcome.found, outcome.searcher
    stage = f", {'after' if searcher.stage == 'trained' else 'before'} training" if staged else ""
    every = {"the schedule found": found.chosen.assignment, **outcome.others}
    points = {name: point(one, found.damage, found.costs) for name, one in every.items()}
    points["the schedule found, sampled as a whole"] = found.chosen
    starts = [f"{searcher.grid.levels[start]:.1f}" for start in searcher.grid.starts]
    drawn = [
        Figure(
            f"What every swap damages{stage}",
            "One interval by another network, all others by the dense one; blank where that is not allowed.",
            heat_map(found.damage, found.names, starts),
        ),
        Figure(
            f"Damage against cost{stage}",
            "The front is the best that the sum of single swaps allows at every budget.",
            front_curve(found.front, points, searcher.config.cost),
        ),
        Figure(f"Who denoises when{stage}", "Times as measured, one call after the other.", _bars(outcome, every)),
        _samples(outcome, stage),
    ]
    if outcome.curves is not None:
        drawn.append(
            Figure("Losses while training", "On held-out images, by interval, 1 at the start.", losses(*outcome.curves))
        )
    return drawn


def _bars(outcome: Outcome, every: Mapping[str, Sequence[int]]) -> str:
    found = outcome.found
    dense = found.costs[:, 0].sum()
    parts = {
        label: [(found.names[c], float(found.costs[i, c] / dense)) for i, c in enumerate(assignment)]
        for label, assignment in every.items()
    }
    return bars(parts, found.names)


def _samples(outcome: Outcome, stage: str) -> Figure:
    """Images of schedules along the front, from the same noise."""
    found, searcher = outcome.found, outcome.searcher
    along: dict[str, Point] = {"dense\n100%": Point((0,) * len(found.costs), 1.0, 0.0)}
    for share in (0.8, 0.6, 0.4, 0.2):
        payable = [one for one in found.front if one.cost <= share and np.isfinite(one.damage)]
        if payable:
            along[f"front\n{payable[-1].cost:.0%}"] = payable[-1]
    along[f"the schedule found\n{found.chosen.cost:.0%}"] = found.chosen
    height, width = searcher.family.network.image[1:]
    across = fitting(height, width)
    rows = {label: shown(searcher, one.assignment, across) for label, one in along.items()}
    text = "Place by place from the same noise: the first ones of the seed, none picked out; shares of the dense cost."
    return Figure(f"Samples along the budget{stage}", text, image_rows(rows, across))
