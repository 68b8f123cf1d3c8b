"""`gen-tickets find`: search, controls, seeds, ticket and report in one command; `compare` does several methods so."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from common.runs.errors import UsageError
from common.runs.progress import Console
from common.runs.session import Watch, clock, peak_mb, remedy, worked
from common.runs.store import Run
from common.runs.words import command_line, plural
from common.runs.workers import in_processes
from common.ticket import Ticket
from gen_tickets import rounds
from gen_tickets._settings import check, check_counts
from gen_tickets.config import Find
from gen_tickets.data import Images
from gen_tickets.ladder import densities
from gen_tickets.presets import preset, size_of
from gen_tickets.report import About, write_report
from gen_tickets.rounds import Plan, dense_key, keys, opened_images, round_key
from gen_tickets.summary import Summary, summarise, verdict

__all__ = ["Finished", "about", "identity", "run", "search"]

_NOT_IDENTITY = ("out", "name", "fresh", "jobs", "json", "quiet", "data_root")


@dataclasses.dataclass(frozen=True)
class Finished:
    """A run that is done.

    Attributes:
        config: filled.
        images: the data.
        store: its folder, still ours.
        summary: what the seeds say together.
        seconds: of work, earlier sessions included.
    """

    config: Find
    images: Images
    store: Run
    summary: Summary
    seconds: float


def run(config: Find, console: Console) -> dict[str, Any]:
    """Find tickets for every seed, check them against their controls, write ticket and report.

    Returns:
        `ticket`, `report` (paths), `family`, `dataset`, `method`, `weights`, `quality`, `winning`, `seconds`,
        `peak_rss_mb`.

    Raises:
        UsageError: a setting is out of its range or does not go with the family.
        MissingData: the data, or the file of Inception, are not at hand.
        ValueError: images or a model to prune are damaged, or do not go together.
        DivergedError: a training diverged; finished rounds are kept.
        RunFolderError: the run folder cannot be written, or a file in it is damaged.
    """
    with search(config, [], console) as done:
        config, summary = done.config, done.summary
        method = str(config.method)
        ticket = _kept(done, method)
        folder = ticket.save(done.store.folder / "ticket")
        report = write_report(done.store, summary, about(done, "find", ticket.references))
        console.line(verdict(summary))
        console.line(f"ticket: {folder}")
        console.line(f"report: {report}")
        last = summary.methods[method][-1]
        masks = ticket.masks
        weights = {"total": masks.total, "kept": masks.kept, "density": masks.density}
        layers = {name: {"total": total, "kept": kept} for name, (kept, total) in masks.counts().items()}
        scores = {name: estimate.numbers() for name, estimate in last.scores.items()}
        return {
            "ticket": str(folder),
            "family": config.family,
            "dataset": done.images.name,
            "method": method,
            "weights": {**weights, "by_layer": layers},
            "quality": {"name": summary.label, "dense": summary.dense.numbers(), **scores},
            "winning": last.winning,
            "seconds": round(done.seconds, 3),
            "peak_rss_mb": round(peak_mb(done.store), 1),
            "report": str(report),
        }


@contextmanager
def search(config: Find, methods: Sequence[str], console: Console) -> Iterator[Finished]:
    """Go through all rounds of all methods and seeds that are not done yet; the run folder is ours inside the block.

    Args:
        config: as the user gave it.
        methods: the first one has controls; `config.method` if there is none.
        console: where to say how it goes.
    """
    preset(config)  # an unknown family is named before any data are read
    if config.densities and (config.rounds or config.density):
        raise UsageError("--densities says what every round keeps; leave out --rounds and --density")
    if "early-bird" in methods and len(methods) > 1:
        raise UsageError(
            "early-bird keeps a share of the channels, the other methods one of the weights; find it alone"
        )
    images = opened_images(config)
    config = preset(config, images)
    chosen = list(methods) or [str(config.method)]
    check(config, chosen)
    check_counts(config, images, chosen)
    known = identity(config, methods)
    facts = {"name": images.name, "sha256": images.sha256}
    seeds = range(config.first_seed, config.first_seed + config.seeds)
    bound = {**known, "data": images.sha256}
    with Run.open(
        Path(config.out), bound, name=config.name, fresh=config.fresh, seeds=list(seeds), data=facts
    ) as store:
        console.line(_opening(config, chosen, images, store))
        plan = Plan(config, store.folder, images.sha256, bound)
        with remedy(store):
            with clock(store) as tick:
                _work(plan, chosen, store, Watch(store, len(keys(config, chosen)), console, tick, _fields))
            results = [store.done(key) or {} for key in keys(config, chosen)]
            yield Finished(config, images, store, summarise(results), worked(store))


def about(done: Finished, command: str, references: Sequence[str]) -> About:
    """What a report says of a run beside its numbers.

    Args:
        done: the run.
        command: find or compare.
        references: of its tickets.
    """
    config = done.config
    usual = preset(type(config)(config.family, config.dataset, size=config.size), done.images)
    usual = dataclasses.replace(usual, size=size_of(done.images))  # said, where the images do not say it
    return About(
        title=f"{config.family}, {config.size}, on {done.images.name}",
        command=command_line(f"gen-tickets {command}", config, usual, positional=("family", "dataset")),
        settings=dataclasses.asdict(config),
        references=references,
        seed=config.first_seed,
    )


def identity(config: Find, methods: Sequence[str] = ()) -> dict[str, Any]:
    """What determines the result, and so names a run folder and is in a ticket's recipe."""
    settings = dataclasses.asdict(config)
    settings["training"].pop("save_every")
    kept = {name: value for name, value in settings.items() if name not in _NOT_IDENTITY}
    return {"command": "compare" if methods else "find", **kept}


def _work(plan: Plan, methods: Sequence[str], store: Run, watch: Callable[[], None]) -> None:
    config = plan.config
    seeds = range(config.first_seed, config.first_seed + config.seeds)
    jobs = config.jobs or os.cpu_count() or 1
    first = {f"seed {seed}": (plan, seed) for seed in seeds if store.done(dense_key(seed)) is None}
    in_processes(rounds.dense, first, jobs, watch)
    rest = {
        f"{name}, seed {seed}": (plan, seed, name, config.controls if name == methods[0] else "none")
        for seed in seeds
        for name in methods
        if any(store.done(round_key(seed, name, k)) is None for k in range(1, len(densities(config)) + 1))
    }
    in_processes(rounds.method, rest, jobs, watch)


def _fields(done: Mapping[str, Any]) -> dict[str, Any]:
    """What is shown of a finished round."""
    label = next(iter(done["quality"]))
    kept = done["weights"]["kept"] / done["weights"]["total"]
    return {
        "round": f"{done['method']} {done['round']} of seed {done['seed']}",
        "weights kept": f"{kept:.1%}",
        label: f"{done['quality'][label]:.4g}",
        **{kind: f"{scores[label]:.4g}" for kind, scores in done["controls"].items()},
    }


def _opening(config: Find, methods: Sequence[str], images: Images, store: Run) -> str:
    finished = len(store.finished())
    going_on = f", going on after {finished} finished rounds" if finished else ""
    ladder = densities(config)
    return (
        f"{config.family}/{config.size} on {images.name}: {len(images.train):,} images of {images.shape}; "
        f"{', '.join(methods)}, {len(ladder)} rounds to {ladder[-1]:.1%} of the weights, {config.training.steps} steps "
        f"each, {plural(config.seeds, 'seed')}; in {store.folder}{going_on}"
    )


def _kept(done: Finished, method: str) -> Ticket:
    """The ticket that is kept: the last round of the first seed, so that no score chooses it."""
    last = done.summary.methods[method][-1]
    key = round_key(done.config.first_seed, method, last.round)
    ticket = Ticket.load(done.store.folder / "rounds" / key)
    scores = {name: estimate.as_dict() for name, estimate in last.scores.items()}
    metrics = {**ticket.metrics, "seeds": {"name": done.summary.label, "dense": done.summary.dense.as_dict(), **scores}}
    return dataclasses.replace(ticket, metrics=metrics)
