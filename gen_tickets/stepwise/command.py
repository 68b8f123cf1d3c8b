"""`gen-tickets schedule`: which ticket may denoise which stretch, for a share of the dense network's time."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.runs.errors import UsageError
from common.runs.progress import Console
from common.runs.session import clock, worked
from common.runs.stats import is_winning
from common.runs.store import Run
from gen_tickets import data, extractors
from gen_tickets._config_schedule import Schedule
from gen_tickets.data import Images
from gen_tickets.extractors import Extractor
from gen_tickets.stepwise._checks import check
from gen_tickets.stepwise.bench import Bench
from gen_tickets.stepwise.family import Family, family, folders
from gen_tickets.stepwise.report import Outcome, write_report
from gen_tickets.stepwise.search import Found, search
from gen_tickets.stepwise.training import trainable, trained
from gen_tickets.stepwise.tried import Tried
from gen_tickets.stepwise.verify import contenders, judged, speedup

__all__ = ["run"]

_IDENTITY = ("engine", "batch", "threads", "scheduler", "steps", "intervals", "grid", "noises")


def run(config: Schedule, console: Console) -> dict[str, Any]:
    """Measure what tickets cost and damage, find the best schedule for a budget, judge it beside all baselines.

    Returns:
        `schedule` (path), `intervals` (each `log_snr_from`, `log_snr_to`, `ticket`, `density`), `cost_ratio`,
        `measured_speedup`, `times` (of a batch), `quality` (`name`, `dense`, `schedule` and each baseline, all `mean`,
        `ci95`, `n` and `cost`), `kernel` (the same by the kernel distance), `winning`, `damage` (`predicted`,
        `joint`, `drift`), `search_seconds`, `seconds`, `report`; after training, `before_training` has what it was, and
        baselines are of the networks before.

    Raises:
        UsageError: a setting is out of its range.
        ScheduleError: tickets that do not go together, or a budget below the cheapest schedule.
        TicketError: a ticket cannot be read.
        MissingData: the data, or the file of Inception, are not at hand.
    """
    check(config)
    found = family(folders(config.tickets or []))
    images = _images(config, found)
    extractor = _extractor(config, images, console)
    settings = {name: getattr(config, name) for name in _IDENTITY}
    identity = {"command": "schedule", **settings, "tickets": found.files(), "data": images.sha256}
    facts = {"name": images.name, "sha256": images.sha256}
    bound = {**identity, "extractor_sha256": extractor.sha256}
    with Run.open(Path(config.out), bound, name=config.name, fresh=config.fresh, data=facts) as store:
        console.line(f"{found.network} on {images.name}: {', '.join(found.names)}; in {store.folder}")
        first = Bench(config, found, images, extractor, store, console, "search")
        with clock(store):
            outcomes = _outcomes(first)
        last, place = outcomes[-1], store.folder / "schedules" / _name(config)
        folder = last.schedule.save(place)
        report = write_report(place, store.manifest, config, outcomes)
        console.line(f"schedule: {folder}")
        console.line(f"report: {report}")
        result = {"schedule": str(folder), **_numbers(last, outcomes[0]), "seconds": round(worked(store), 3)}
        before = {} if len(outcomes) == 1 else {"before_training": _numbers(outcomes[0], outcomes[0])}
        return {**result, "report": str(report), **before}


def _name(config: Schedule) -> str:
    """Of what a search leaves; other budgets and trainings leave theirs beside it."""
    what = [f"budget-{config.budget:g}", *([f"tune-{config.tune}"] if config.tune else [])]
    what += [f"joint-{config.joint}"] if config.joint else []
    what += [f"lr-{config.lr:g}"] if config.tune or config.joint else []
    what += [] if config.space == Schedule().space else [config.space]
    what += ["monotone"] * config.monotone + ["no-skip"] * (not config.skip) + ["macs"] * (config.cost == "macs")
    if not config.monotone and set(config.paces) != set(Schedule().paces):
        what += ["paces", *map(str, sorted(set(config.paces)))]
    return "-".join(what)


def _outcomes(bench: Bench) -> list[Outcome]:
    """What a search finds, and what another one finds once tickets are trained for the first."""
    config, found = bench.config, search(bench)
    tried = {"schedule": bench.tried(found.chosen.assignment), **contenders(bench, found)}
    first = _outcome(bench, found, tried, bench.took())
    if not (config.tune or config.joint):
        return [first]
    if not trainable(found):
        bench.console.warning("no ticket is in the schedule, so that there is nothing to train; lower the --budget, or "
                              "leave out skipping and resting by --skip false --paces 1")  # fmt: skip
        return [first]
    after, curves, took = trained(bench, found)
    stage = f"trained-{after.fingerprint()}"
    second = Bench(config, after, bench.images, bench.extractor, bench.store, bench.console, stage)
    again = search(second)
    tried = {"schedule": second.tried(again.chosen.assignment)}
    if config.joint:
        tried["dense-trained"] = second.tried((0,) * len(second.grid.counts))
    seconds = first.seconds + took + second.took()
    return [first, dataclasses.replace(_outcome(second, again, tried, seconds), curves=curves)]


def _outcome(bench: Bench, found: Found, tried: Mapping[str, Tried], seconds: float) -> Outcome:
    quality, timed = judged(bench, tried), speedup(bench, tried["schedule"])
    bench.console.line(f"{bench.stage}: {timed['measured_speedup']:.2f}x the best dense float32, measured")
    about = {
        "budget": bench.config.budget,
        "sampler": dataclasses.asdict(bench.sampler),
        "space": bench.config.space,
        "damage": _damage(found),
        "quality": {label: {name: one.as_dict() for name, one in scores.items()} for label, scores in quality.items()},
        "search_seconds": seconds,
    }
    schedule = bench.schedule(tried["schedule"], about)
    return Outcome(bench, found, tried, quality, timed, schedule, seconds)


def _numbers(outcome: Outcome, before: Outcome) -> dict[str, Any]:
    """Plain numbers; baselines are those of the untrained networks."""
    found, schedule = outcome.found, outcome.schedule
    tried, quality = {**before.tried, **outcome.tried}, {**before.quality, **outcome.quality}
    density = {label: member.density for label, member in schedule.members.items()}
    names = list(quality["schedule"])
    scores = [
        {"name": name}
        | {label: {**every[name].numbers(), "cost": tried[label].cost} for label, every in quality.items()}
        for name in names
    ]
    ours, dense = (quality[label][names[0]] for label in ("schedule", "dense"))
    return {
        "intervals": [
            {**dataclasses.asdict(one), "density": density.get(one.ticket, 0.0)} for one in schedule.intervals
        ],
        "cost_ratio": outcome.tried["schedule"].cost,
        "measured_speedup": outcome.timed["measured_speedup"],
        "times": outcome.timed["times"],
        "quality": scores[0],
        "kernel": scores[1],
        "winning": is_winning(ours, dense, higher_is_better=False),
        "damage": _damage(found),
        "search_seconds": round(outcome.seconds, 3),
    }


def _damage(found: Found) -> dict[str, float]:
    return {"predicted": found.predicted, "joint": found.whole.damage, "drift": found.whole.drift}


def _images(config: Schedule, found: Family) -> Images:
    if "dataset" not in found.find:
        raise UsageError("these tickets do not say which images they learnt from; find them with gen-tickets find")
    root = config.data_root or found.find.get("data_root")
    images = data.load(str(found.find["dataset"]), root, size=found.find.get("image_size"))
    if wrong := images.other_than(found.find.get("data")):
        raise UsageError(f"{wrong}, which the tickets learnt from. Restore them.")
    return images


def _extractor(config: Schedule, images: Images, console: Console) -> Extractor:
    name = config.extractor or f"{images.name}-cnn"
    given = images if name == f"{images.name}-cnn" else None
    return extractors.load(name, given, weights=config.weights, root=config.data_root, console=console)
