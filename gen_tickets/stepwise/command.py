"""`gen-tickets schedule`: which ticket may denoise which stretch, for a share of the dense network's time."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.runs.errors import UsageError
from common.runs.files import read_object
from common.runs.progress import Console
from common.runs.session import clock, worked
from common.runs.stats import is_winning
from common.runs.store import Run
from common.ticket_file import TICKET
from gen_tickets import data, extractors
from gen_tickets._config_schedule import Schedule
from gen_tickets.data import Images
from gen_tickets.draw import Sampler
from gen_tickets.engines import ENGINES
from gen_tickets.extractors import Extractor
from gen_tickets.quality import FEWEST
from gen_tickets.schedule import StepSchedule
from gen_tickets.stepwise.baselines import baselines
from gen_tickets.stepwise.family import Family, family, folders
from gen_tickets.stepwise.report import Outcome, write_report
from gen_tickets.stepwise.search import Found, Searcher
from gen_tickets.stepwise.training import trained
from gen_tickets.stepwise.verify import judged, speedup

__all__ = ["run"]

_NOT_IDENTITY = (
    "tickets", "budget", "looks", "refine", "samples", "seeds", "first_seed", "data_root", "out", "name", "fresh",
    "json", "quiet",
)  # fmt: skip


def run(config: Schedule, console: Console) -> dict[str, Any]:
    """Measure what tickets cost and damage, find the best schedule for a budget, judge it beside all baselines.

    Returns:
        `schedule` (path), `intervals` (each `log_snr_from`, `log_snr_to`, `ticket`, `density`), `cost_ratio`,
        `measured_speedup`, `quality` (`name`, `dense`, `schedule` and each baseline, all `mean`, `ci95`, `n`),
        `winning`, `damage` (`predicted`, `joint`), `search_seconds`, `seconds`, `report`; after training, what it was
        `before_training`.

    Raises:
        UsageError: a setting is out of its range.
        ScheduleError: tickets that do not go together, or a budget below the cheapest schedule.
        TicketError: a ticket cannot be read.
        MissingData: the data, or the file of Inception, are not at hand.
    """
    _check(config)
    found = family(folders(config.tickets or []))
    images = _images(config, found)
    extractor = _extractor(config, images, console)
    identity = _identity(config, found, images, extractor)
    facts = {"name": images.name, "sha256": images.sha256}
    with Run.open(Path(config.out), identity, name=config.name, fresh=config.fresh, data=facts) as store:
        console.line(f"{found.network} on {images.name}: {', '.join(found.names)}; in {store.folder}")
        with clock(store):
            outcomes = _outcomes(config, found, images, extractor, store, console)
        last = outcomes[-1]
        folder = last.schedule.save(store.folder / "schedule")
        report = write_report(store, config, outcomes, images)
        console.line(f"schedule: {folder}")
        console.line(f"report: {report}")
        result = {"schedule": str(folder), **_numbers(last), "seconds": round(worked(store), 3), "report": str(report)}
        return result | ({"before_training": _numbers(outcomes[0])} if len(outcomes) > 1 else {})


def _outcomes(
    config: Schedule, found: Family, images: Images, extractor: Extractor, store: Run, console: Console
) -> list[Outcome]:
    """What a search finds, and what another one finds once tickets are trained for the first."""
    first = _outcome(Searcher(config, found, extractor, store, console, "search"), images)
    if not (config.tune or config.joint):
        return [first]
    after, curves = trained(first.searcher, first.found, images)
    again = _outcome(Searcher(config, after, extractor, store, console, "trained"), images)
    return [first, dataclasses.replace(again, curves=curves)]


def _outcome(searcher: Searcher, images: Images) -> Outcome:
    config, found = searcher.config, searcher.run()
    others = baselines(found.costs, config.budget, found.names)
    quality = judged(searcher, {"schedule": found.chosen.assignment, **others}, images)
    timed = speedup(searcher, found.chosen.assignment)
    searcher.console.line(f"{searcher.stage}: {timed['measured_speedup']:.2f}x the best dense, measured")
    return Outcome(searcher, found, others, quality, timed, _schedule(searcher, found, quality))


def _schedule(searcher: Searcher, found: Found, quality: Mapping[str, Any]) -> StepSchedule:
    config = searcher.config
    about = {
        "budget": config.budget,
        "sampler": dataclasses.asdict(searcher.sampler),
        "space": config.space,
        "damage": {"joint": found.chosen.damage, "predicted": found.predicted},
        "quality": {label: {name: one.as_dict() for name, one in scores.items()} for label, scores in quality.items()},
        "search_seconds": found.seconds,
    }
    return searcher.schedule(found.chosen.assignment, **about)


def _numbers(outcome: Outcome) -> dict[str, Any]:
    found, schedule = outcome.found, outcome.schedule
    name = next(iter(outcome.quality["schedule"]))
    scores = {label: every[name] for label, every in outcome.quality.items()}
    density = {label: member.density for label, member in schedule.members.items()}
    return {
        "intervals": [
            {**dataclasses.asdict(one), "density": density.get(one.ticket, 0.0)} for one in schedule.intervals
        ],
        "cost_ratio": found.chosen.cost,
        "measured_speedup": outcome.timed["measured_speedup"],
        "quality": {"name": name, **{label: one.numbers() for label, one in scores.items()}},
        "winning": is_winning(scores["schedule"], scores["dense"], higher_is_better=False),
        "damage": {"predicted": found.predicted, "joint": found.chosen.damage},
        "search_seconds": round(found.seconds, 3),
    }


def _check(config: Schedule) -> None:
    if not config.tickets:
        raise UsageError("name tickets, or the run that they are of, as in: gen-tickets schedule runs/0123456789ab")
    for name, least in {"batch": 1, "threads": 1, "intervals": 1, "noises": 1, "looks": 1, "seeds": 1,
                        "refine": 0, "tune": 0, "joint": 0, "samples": FEWEST}.items():  # fmt: skip
        if getattr(config, name) < least:
            raise UsageError(f"--{name} must be at least {least}; found {getattr(config, name)}")
    if not 0 < config.budget <= 1:
        raise UsageError(f"--budget is a share of the dense network's cost, in (0, 1]; found {config.budget}")
    if config.engine not in ENGINES:
        raise UsageError(f"--engine is one of {', '.join(ENGINES)}; found {config.engine!r}")
    if config.tune and config.joint:
        raise UsageError("--tune trains every ticket alone and --joint all with shared weights; leave one of them out")
    if config.weights and config.extractor != extractors.INCEPTION:
        raise UsageError("--weights names the file of Inception-v3; add --extractor inception, or leave it out")
    Sampler(config.scheduler, config.steps).solver()


def _images(config: Schedule, found: Family) -> Images:
    if "dataset" not in found.find:
        raise UsageError("these tickets do not say which images they learnt from; find them with gen-tickets find")
    root = config.data_root or found.find.get("data_root")
    return data.load(str(found.find["dataset"]), root, size=found.find.get("image_size"))


def _extractor(config: Schedule, images: Images, console: Console) -> Extractor:
    name = config.extractor or f"{images.name}-cnn"
    given = images if name == f"{images.name}-cnn" else None
    return extractors.load(name, given, weights=config.weights, root=config.data_root, console=console)


def _identity(config: Schedule, found: Family, images: Images, extractor: Extractor) -> dict[str, Any]:
    """What determines all that is measured; budgets share it."""
    settings = {name: value for name, value in dataclasses.asdict(config).items() if name not in _NOT_IDENTITY}
    files = {name: read_object(Path(one.folder) / TICKET.manifest, "")["files"] for name, one in found.members.items()}
    tickets = {name: {file: known["sha256"] for file, known in of.items()} for name, of in files.items()}
    own = {"tickets": tickets, "data": images.sha256, "extractor_sha256": extractor.sha256}
    return {"command": "schedule", **settings, **own}
