"""The seeds of a run, each climbing its ladders on its own: in this process or in several, and resumable.

Every finished rung is a folder `rounds/seed-S/round-KK` with its ticket and, written last, `done.json`; where several
searches share a dense network, rungs after it are in `rounds/seed-S/LABEL/round-KK`. The same call goes on after the
last rung that has one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from common.runs.errors import DivergedError
from common.runs.manifest import forget_peak, peak_rss_mb
from common.runs.session import same_data
from common.runs.store import Run
from common.runs.workers import in_processes
from common.ticket import Ticket
from glt.compare_config import RANDOM_EDGES
from glt.config import Find
from glt.task_settings import metric_of

__all__ = ["climb_all", "climb_searches", "climb_seed", "jobs_for", "key", "rungs"]


def key(seed: int, rung: int, label: str = "") -> str:
    """The name of a rung's folder below `rounds/`; the dense network has no label.

    >>> key(0, 7), key(0, 7, "ugs"), key(0, 0, "ugs")
    ('seed-0/round-07', 'seed-0/ugs/round-07', 'seed-0/round-00')
    """
    return f"seed-{seed}/{label}/round-{rung:02d}" if label and rung else f"seed-{seed}/round-{rung:02d}"


def rungs(config: Find) -> list[int]:
    """The rounds after the dense one whose tickets are trained.

    >>> rungs(Find(rounds=4)), rungs(Find(rounds=4, rungs=[4, 2]))
    ([1, 2, 3, 4], [2, 4])
    """
    return [k for k in range(1, (config.rounds or 0) + 1) if config.rungs is None or k in config.rungs]


def jobs_for(config: Find) -> int:
    """How many seeds run at once: `config.jobs`, or one a core, never more than there are seeds."""
    return max(1, min(config.seeds, config.jobs or os.cpu_count() or 1))


def climb_seed(config: Find, seed: int, folder: Path, label: str = "", watch: Callable[[], Any] = lambda: None) -> int:
    """Climb one seed's ladder from its first unfinished rung, calling `watch` after each; returns how many.

    A comparison's runs on random edges are controls themselves and have none of their own.
    """
    from glt._runs import identity
    from glt.data import load
    from glt.ladder import climb

    run = Run(folder)
    wanted = [0, *rungs(config)]
    done = [k for k in wanted if run.done(key(seed, k, label)) is not None]
    first = next((k for k in wanted if k not in done), None)
    if first is None:
        return 0
    graph = load(config.dataset, config.data_root)
    same_data(config.dataset, graph.sha256, identity(config).get("data") or graph.sha256)
    before = max((k for k in done if k < first), default=None)
    dense = Ticket.load(run.round(key(seed, 0))) if first else None
    start = Ticket.load(run.round(key(seed, before, label))) if before is not None else None
    own = not label.endswith(RANDOM_EDGES)
    spent = _spent(run, key(seed, before, label)) if before else None
    for rung in climb(graph, config, seed, dense=dense, start=start, rung=first, spent=spent, controls=own):
        name = key(seed, rung.number, label)
        recipe = {**rung.ticket.recipe, "find": identity(config), "seed": seed}
        replace(rung.ticket, recipe=recipe).save(run.round(name))
        if rung.save is not None:
            rung.save(run.round(name))
        result = {"accuracy": rung.accuracy, "controls": rung.controls, "counts": rung.counts}
        layers = {n: kept / total for n, (kept, total) in rung.ticket.masks.counts().items()}
        cost = {"cpu_seconds": rung.seconds, "peak_rss_mb": rung.peak_mb["rung"], "search_mb": rung.peak_mb["search"]}
        run.event("memory", seed=seed, peak_rss_mb=rung.peak_mb["rung"])
        about = {"found": rung.ticket.recipe["found"]} if "found" in rung.ticket.recipe else {}
        about |= {"label": label} if label and rung.number else {}
        about |= {"metric": metric_of(config.task)}
        run.finish(name, {"seed": seed, "round": rung.number, **result, "densities": layers, **cost, **about})
        watch()
    return len(wanted) - len(done)


def _spent(run: Run, name: str) -> dict[str, float]:
    """What a search had cost when it chose a finished rung; runs of glt find from before it was kept do not know."""
    done = run.done(name) or {}
    return {"seconds": done["cpu_seconds"]["search"], "peak_mb": done.get("search_mb", 0.0)}


def climb_all(config: Find, folder: Path, watch: Callable[[], Any]) -> None:
    """Climb every seed's ladder, `jobs_for(config)` at a time; `watch` is called now and then, and at the end.

    Raises:
        WorkerDied: the process of a seed was killed; finished rungs stay.
        Exception: whatever a seed raised; finished rungs stay.
    """
    jobs = jobs_for(config)
    here = ("", watch) if jobs == 1 else ()  # a watch of this process cannot go to another
    seeds = range(config.first_seed, config.first_seed + config.seeds)
    in_processes(climb_seed, {f"seed {seed}": (config, seed, folder, *here) for seed in seeds}, jobs, watch)


def climb_searches(searches: Mapping[str, Find], folder: Path, watch: Callable[[], Any]) -> dict[str, str]:
    """Climb the ladders of several searches from dense networks that they share: first these, then the rest.

    A search that diverges leaves the others as they are; the same call tries it again.

    Args:
        searches: label to settings, alike but for the search; `jobs` of the first says how many run at once.
        folder: of the run.
        watch: is called now and then, and at the end.

    Returns:
        Label to what happened, of searches that diverged with some seed.

    Raises:
        WorkerDied: a process was killed; finished rungs stay.
        DivergedError: a dense network diverged.
        Exception: whatever else a search raised; finished rungs stay.
    """
    run, first = Run(folder), next(iter(searches.values()))
    seeds = range(first.first_seed, first.first_seed + first.seeds)
    shared = replace(first, method="random", edges="chosen", rungs=[])  # any method on edges that all layers share
    done = set(run.finished())
    stages = (
        {f"seed {seed}": (shared, seed, folder, "") for seed in seeds if key(seed, 0) not in done},
        {
            f"{label}, seed {seed}": (config, seed, folder, label)
            for seed in seeds
            for label, config in searches.items()
            if not {key(seed, rung, label) for rung in rungs(config)} <= done
        },
    )
    for pieces in stages:
        jobs = min(len(pieces), first.jobs or os.cpu_count() or 1)
        here = (watch,) if jobs <= 1 else ()
        in_processes(_piece, {name: (*words, *here) for name, words in pieces.items()}, jobs, watch)
    done, known = set(run.finished()), {event["label"]: event["why"] for event in run.events("diverged")}
    wanted = {label: {key(s, k, label) for s in seeds for k in rungs(find)} for label, find in searches.items()}
    return {label: known[label] for label, keys in wanted.items() if label in known and not keys <= done}


def _piece(config: Find, seed: int, folder: Path, label: str, watch: Callable[[], Any] = lambda: None) -> None:
    """One search of one seed, with a peak of memory of its own; that it diverged is an event of the run."""
    Run(folder).event("memory", seed=seed, peak_rss_mb=peak_rss_mb())
    forget_peak()
    try:
        climb_seed(config, seed, folder, label, watch)
    except DivergedError as error:
        if not label:
            raise DivergedError(f"the dense network, seed {seed}: {error}") from error
        Run(folder).event("diverged", label=label, why=f"{label}, seed {seed}: {error}")
