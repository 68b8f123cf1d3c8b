"""Pieces of a run side by side, each in a process that ends with its parent and names itself when it dies."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection, wait
from typing import Any

__all__ = ["WorkerDied", "in_processes"]

Watch = Callable[[], Any]


class WorkerDied(RuntimeError):
    """A process was killed from outside."""


def in_processes(
    work: Callable[..., Any], pieces: Mapping[str, tuple[Any, ...]], jobs: int, watch: Watch = lambda: None
) -> None:
    """Call a function for every piece of work, so many at a time, with a share of the machine's threads for each.

    With one job, or one piece, they run here, one after the other, in this process.

    Args:
        work: a function of a module, of a piece's arguments; it keeps its own results, in files.
        pieces: what an error calls a piece (`seed 0`) to its arguments.
        jobs: how many at once.
        watch: is called now and then, and at the end.

    Raises:
        WorkerDied: a process was killed; what others had finished stays.
        Exception: whatever a piece raised.
    """
    jobs = min(jobs, len(pieces))
    if jobs <= 1:
        for arguments in pieces.values():
            work(*arguments)
            watch()
        return
    workers = Workers(work, max(1, (os.cpu_count() or 1) // jobs))
    try:
        waiting = dict(pieces)
        while waiting or workers.running:
            while waiting and len(workers.running) < jobs:
                label = next(iter(waiting))
                workers.start(label, waiting.pop(label))
            workers.wait(0.5)
            watch()
    finally:
        workers.stop()


class Workers:
    """A process for every piece under way.

    Args:
        work: the function that each of them calls.
        threads: torch's, in each.
    """

    def __init__(self, work: Callable[..., Any], threads: int) -> None:
        self.running: dict[str, tuple[Any, Connection]] = {}
        self._work, self._threads = work, threads
        self._context = multiprocessing.get_context("spawn")

    def start(self, label: str, arguments: tuple[Any, ...]) -> None:
        """Begin a piece in a process of its own."""
        mine, its = self._context.Pipe(duplex=False)
        words = (self._work, arguments, self._threads, its)
        process = self._context.Process(target=_work, args=words, daemon=True)
        process.start()
        its.close()
        self.running[label] = (process, mine)

    def wait(self, seconds: float) -> None:
        """Wait until a piece is done, or for so long.

        Raises:
            WorkerDied: a process ended without a word.
            Exception: what a piece raised.
        """
        ready = wait([connection for _, connection in self.running.values()], seconds)
        for label, (process, connection) in list(self.running.items()):
            if connection not in ready:
                continue
            try:
                error = connection.recv()
            except EOFError:
                process.join()
                how = f"signal {-process.exitcode}" if process.exitcode < 0 else f"exit code {process.exitcode}"
                raise WorkerDied(
                    f"the process of {label} died ({how}; out of memory?). Its finished rounds are kept: the same "
                    "command goes on, and --jobs 1 needs the memory of one process only."
                ) from None
            process.join()
            del self.running[label]
            if error is not None:
                raise error

    def stop(self) -> None:
        """End whatever still runs; finished rounds are kept."""
        for process, _ in self.running.values():
            process.terminate()
        for process, _ in self.running.values():
            process.join()


def _work(work: Callable[..., Any], arguments: tuple[Any, ...], threads: int, parent: Connection) -> None:
    """What a process does: one piece, silently; an error goes to the parent, and without a parent there is no work."""
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent says what there is to say, and ends its workers
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    try:
        work(*arguments)
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
