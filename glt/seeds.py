"""The seeds of a run, each climbing its ladder on its own: in this process or in several, and resumable.

Every finished rung is a folder `rounds/seed-S/round-KK` with its ticket and, written last, `done.json`. The same call
goes on after the last rung that has one.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from common.runs.manifest import peak_rss_mb
from common.runs.store import Run
from common.ticket import Ticket
from glt.config import Find

__all__ = ["WorkerDied", "climb_all", "climb_seed", "jobs_for", "key"]


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
    expected = identity(config).get("data")
    if expected not in (None, graph.sha256):
        raise ValueError(
            f"{config.dataset} changed while the run was going on: found sha256 {graph.sha256[:12]}..., expected "
            f"{expected[:12]}... Start over (--fresh) with the data that count."
        )
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
    seeds = range(config.first_seed, config.first_seed + config.seeds)
    jobs = jobs_for(config)
    if jobs == 1:
        for seed in seeds:
            climb_seed(config, seed, folder, watch)
        return
    workers = _Workers(config, folder, max(1, (os.cpu_count() or 1) // jobs))
    try:
        waiting = list(seeds)
        while waiting or workers.running:
            while waiting and len(workers.running) < jobs:
                workers.start(waiting.pop(0))
            workers.wait(0.5)
            watch()
    finally:
        workers.stop()


class _Workers:
    """A process for every seed under way."""

    def __init__(self, config: Find, folder: Path, threads: int) -> None:
        self.running: dict[int, tuple[Any, Connection]] = {}
        self._config, self._folder, self._threads = config, folder, threads
        self._context = multiprocessing.get_context("spawn")

    def start(self, seed: int) -> None:
        """Climb a seed's ladder in a process of its own."""
        mine, its = self._context.Pipe(duplex=False)
        words = (self._config, seed, self._folder, self._threads, its)
        process = self._context.Process(target=_work, args=words, daemon=True)
        process.start()
        its.close()
        self.running[seed] = (process, mine)

    def wait(self, seconds: float) -> None:
        """Wait until a seed is done, or for so long.

        Raises:
            WorkerDied: a process ended without a word.
            Exception: what a seed raised.
        """
        ready = wait([connection for _, connection in self.running.values()], seconds)
        for seed, (process, connection) in list(self.running.items()):
            if connection not in ready:
                continue
            try:
                error = connection.recv()
            except EOFError:
                process.join()
                how = f"signal {-process.exitcode}" if process.exitcode < 0 else f"exit code {process.exitcode}"
                raise WorkerDied(
                    f"the process of seed {seed} died ({how}; out of memory?). Its finished rounds are kept: the same "
                    "command goes on, and --jobs 1 needs the memory of one seed only."
                ) from None
            process.join()
            del self.running[seed]
            if error is not None:
                raise error

    def stop(self) -> None:
        """End whatever still runs; finished rounds are kept."""
        for process, _ in self.running.values():
            process.terminate()
        for process, _ in self.running.values():
            process.join()


class WorkerDied(RuntimeError):
    """A seed's process was killed from outside."""


def _work(config: Find, seed: int, folder: Path, threads: int, parent: Connection) -> None:
    """What a process does: one seed, silently; an error goes to the parent, and without a parent there is no work."""
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent says what there is to say, and ends its workers
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    try:
        climb_seed(config, seed, folder)
    except Exception as error:
        parent.send(_sendable(error))
    else:
        parent.send(None)


def _sendable(error: Exception) -> Exception:
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
