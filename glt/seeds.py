"""The seeds of a run, each climbing its ladder on its own: in this process or in several, and resumable.

Every finished rung is a folder `rounds/seed-S/round-KK` with its ticket and, written last, `done.json`. The same call
goes on after the last rung that has one.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from common.runs.manifest import peak_rss_mb
from common.runs.store import Run
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
    from glt.ladder import climb, densities

    run = Run(folder)
    rungs = len(densities(config))
    first = next((k for k in range(rungs) if run.done(key(seed, k)) is None), rungs)
    if first == rungs:
        return 0
    graph = load(config.dataset, config.data_root)
    start = Ticket.load(run.round(key(seed, first - 1))) if first else None
    for rung in climb(graph, config, seed, start=start, rung=first):
        name = key(seed, rung.number)
        rung.ticket.save(run.round(name))
        result = {"accuracy": rung.accuracy, "controls": rung.controls, "counts": rung.counts}
        layers = {n: kept / total for n, (kept, total) in rung.ticket.masks.counts().items()}
        run.event("memory", seed=seed, peak_rss_mb=peak_rss_mb())
        run.finish(name, {"seed": seed, "round": rung.number, **result, "densities": layers})
        watch()
    return rungs - first


def climb_all(config: Find, folder: Path, watch: Callable[[], Any]) -> None:
    """Climb every seed's ladder, `jobs_for(config)` at a time; `watch` is called now and then, and at the end.

    Raises:
        Exception: whatever a seed raised; finished rungs stay.
    """
    seeds = range(config.first_seed, config.first_seed + config.seeds)
    jobs = jobs_for(config)
    if jobs == 1:
        for seed in seeds:
            climb_seed(config, seed, folder, watch)
        return
    import torch.multiprocessing as mp

    threads = max(1, (os.cpu_count() or 1) // jobs)
    with mp.get_context("spawn").Pool(jobs, initializer=_quiet_child, initargs=(threads,)) as pool:
        waiting = [pool.apply_async(climb_seed, (config, seed, folder)) for seed in seeds]
        for result in waiting:
            while not result.ready():
                result.wait(0.5)
                watch()
            result.get()
    watch()


def _quiet_child(threads: int) -> None:
    """A worker dies silently on Ctrl-C, since its parent says what there is to say, and keeps to its threads."""
    import torch

    signal.signal(signal.SIGINT, signal.SIG_DFL)
    torch.set_num_threads(threads)
