"""Seeds in processes: one that dies is an error, and none is left behind."""

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from common.runs.store import Run
from common.runs.workers import WorkerDied, Workers
from glt.config import Find
from glt.find import identity
from glt.seeds import climb_all, climb_seed


def long_run(config: Find, npz: str) -> Find:
    return replace(config, dataset=npz, seeds=2, jobs=2, training=replace(config.training, epochs=100_000))


def test_a_killed_worker_is_named_and_the_others_are_ended(config: Find, npz: str, tmp_path: Path) -> None:
    config = long_run(config, npz)
    with Run.open(tmp_path, identity(config), seeds=[0, 1]) as store:
        workers = Workers(climb_seed, 1)
        workers.start("seed 0", (config, 0, store.folder))
        workers.start("seed 1", (config, 1, store.folder))
        (first, _), (second, _) = workers.running.values()
        os.kill(first.pid, signal.SIGKILL)
        with pytest.raises(WorkerDied, match=r"seed 0 died \(signal 9.*the same command goes on"):
            workers.wait(60)
        assert second.is_alive()
        workers.stop()
        assert not second.is_alive()


def test_an_error_in_a_worker_reaches_the_caller(config: Find, npz: str, tmp_path: Path) -> None:
    config = long_run(config, npz)
    with Run.open(tmp_path, identity(config), seeds=[0, 1]) as store:
        Path(npz).unlink()
        with pytest.raises(Exception, match=r"blocks\.npz"):
            climb_all(config, store.folder, lambda: None)
