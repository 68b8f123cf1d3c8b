"""The seeds of a run, each climbing its ladder on its own: in this process or in several, and resumable.

Every finished rung is a folder `rounds/seed-S/round-KK` with its ticket and, written last, `done.json`. The same call
goes on after the last rung that has one.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from common.runs.manifest import peak_rss_mb
from common.runs.session import same_data
from common.runs.store import Run
from common.runs.workers import in_processes
from common.ticket import Ticket
from glt.config import Find

__all__ = ["climb_all", "climb_seed", "jobs_for", "key"]


def key(seed: int, rung: int) -> str:
    """The name of a rung's folder below `rounds/`.

    >>> key(0, 7)
    'seed-0/round-07'
    """
    return f"seed-{seed}/round-{rung:02d}"


def jobs_for(config: Find) -> int:
    """How many seeds run at once: `config.jobs`, or one a core, never more than there are seeds."""
    return max(1, min(config.seeds, config.jobs or os.cpu_count() or 1))


def climb_seed(config: Find, seed: int, folder: Path, watch: Callable[[], Any] = lambda: None) -> int:
    """Climb one seed's ladder from its first unfinished rung, calling `watch` after each; returns how many."""
    from glt.data import load
    from glt.find import identity
    from glt.ladder import climb, densities

    run = Run(folder)
    rungs = len(densities(config))
    first = next((k for k in range(rungs) if run.done(key(seed, k)) is None), rungs)
    if first == rungs:
        return 0
    graph = load(config.dataset, config.data_root)
    same_data(config.dataset, graph.sha256, identity(config).get("data") or graph.sha256)
    start = Ticket.load(run.round(key(seed, first - 1))) if first else None
    for rung in climb(graph, config, seed, start=start, rung=first):
        name = key(seed, rung.number)
        recipe = {**rung.ticket.recipe, "find": identity(config), "seed": seed}
        replace(rung.ticket, recipe=recipe).save(run.round(name))
        result = {"accuracy": rung.accuracy, "controls": rung.controls, "counts": rung.counts}
        layers = {n: kept / total for n, (kept, total) in rung.ticket.masks.counts().items()}
        run.event("memory", seed=seed, peak_rss_mb=peak_rss_mb())
        run.finish(name, {"seed": seed, "round": rung.number, **result, "densities": layers})
        watch()
    return rungs - first


def climb_all(config: Find, folder: Path, watch: Callable[[], Any]) -> None:
    """Climb every seed's ladder, `jobs_for(config)` at a time; `watch` is called now and then, and at the end.

    Raises:
        WorkerDied: the process of a seed was killed; finished rungs stay.
        Exception: whatever a seed raised; finished rungs stay.
    """
    jobs = jobs_for(config)
    here = (watch,) if jobs == 1 else ()  # a watch of this process cannot go to another
    seeds = range(config.first_seed, config.first_seed + config.seeds)
    in_processes(climb_seed, {f"seed {seed}": (config, seed, folder, *here) for seed in seeds}, jobs, watch)
