"""The rounds of a run on disk: dense networks first, then every method's rounds of every seed, side by side.

    rounds/seed-0/dense/              done.json, samples.npz, the dense network as a ticket, memory/
    rounds/seed-0/METHOD/round-01/    done.json, samples.npz, the ticket, raw.safetensors

`trained` of these tickets are the weights that images are drawn from, averages in place; `raw.safetensors` holds the
last round's own weights, and `memory/` what its trainer remembers, from which a search goes on in another process.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from safetensors.torch import load_file, save_file
from torch import Tensor

from common.runs.errors import DivergedError
from common.runs.manifest import peak_rss_mb
from common.runs.session import same_data
from common.runs.store import Run
from common.ticket import Ticket
from gen_tickets._checkpoint import Checkpoints
from gen_tickets.config import Find
from gen_tickets.data import Images, load
from gen_tickets.judge import Judgement
from gen_tickets.ladder import Ladder, Rung, densities

__all__ = ["Plan", "dense", "dense_key", "keys", "method", "opened_images", "round_key"]

_RAW, _MEMORY, _TRAINING = "raw.safetensors", "memory", "training"


@dataclass(frozen=True)
class Plan:
    """What a process works on.

    Attributes:
        config: filled by `gen_tickets.presets.preset`.
        folder: of the run.
        data: sha256 of the images that the run was opened with.
        identity: what determines the result, for every ticket's recipe.
    """

    config: Find
    folder: Path
    data: str
    identity: Mapping[str, Any]


def dense_key(seed: int) -> str:
    """Where a seed's dense network is, below `rounds/`."""
    return f"seed-{seed}/dense"


def round_key(seed: int, name: str, number: int) -> str:
    """Where a round of a method is, below `rounds/`.

    >>> round_key(0, "global", 3)
    'seed-0/global/round-03'
    """
    return f"seed-{seed}/{name}/round-{number:02d}"


def keys(config: Find, methods: Sequence[str]) -> list[str]:
    """Everything that a finished run has, below `rounds/`."""
    seeds = range(config.first_seed, config.first_seed + config.seeds)
    count = len(densities(config))
    rounds = [round_key(s, m, k) for s in seeds for m in methods for k in range(1, count + 1)]
    return [dense_key(seed) for seed in seeds] + rounds


def opened_images(config: Find) -> Images:
    """The data of a run."""
    return load(config.dataset, config.data_root, size=config.image_size)


def dense(plan: Plan, seed: int) -> None:
    """Train, judge and keep a seed's dense network, unless that is done."""
    run, key = Run(plan.folder), dense_key(seed)
    if run.done(key) is not None:
        return
    ladder = _ladder(plan, seed)
    _checkpoint(ladder, run, key, plan)
    with _last_good(ladder, run.round(key)):
        rung = ladder.dense()
    ladder.recipe.train.save_memory(run.round(key) / _MEMORY)
    _finish(run, key, plan, rung, "dense", {})


def method(plan: Plan, seed: int, name: str, controls: str) -> None:
    """All rounds of a method for a seed that are not done, after its dense network.

    Args:
        plan: of the run.
        seed: whose dense network is done.
        name: of the method.
        controls: at which rounds random and re-initialised tickets are trained: every, last or none.
    """
    run, wanted = Run(plan.folder), list(enumerate(densities(plan.config), 1))
    rest = _rest(run, seed, name, wanted)
    if not rest:
        return
    ladder, first = _ladder(plan, seed), run.round(dense_key(seed))
    ladder.recipe.train.load_memory(first / _MEMORY)
    whole = _start(first, _raw(ladder))
    before = run.round(round_key(seed, name, rest[0][0] - 1)) if rest[0][0] > 1 else None
    last = whole if before is None or not (before / _RAW).exists() else _start(before, load_file(before / _RAW))
    _checkpoint(ladder, run, round_key(seed, name, rest[0][0]), plan)
    rungs = ladder.climb(name, whole, last, rest)
    for number, _ in rest:
        key = round_key(seed, name, number)
        with _last_good(ladder, run.round(key)):
            rung = next(rungs)
            wished = controls == "every" or (controls == "last" and number == wanted[-1][0])
            judged = {kind: _control(ladder, kind, rung) for kind in ("random", "reinit")} if wished else {}
        _keep_raw(run.round(key), rung.ticket)
        _finish(run, key, plan, rung, name, judged)
        if rung.number > 1:
            (run.round(round_key(seed, name, rung.number - 1)) / _RAW).unlink(missing_ok=True)
        _checkpoint(ladder, run, round_key(seed, name, rung.number + 1), plan)


def _rest(run: Run, seed: int, name: str, wanted: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """The rounds to do: from the first that is missing on, or all, where the weights that it goes on from are gone.

    Only the last finished round keeps those, so a round that somebody deleted takes the ones before it along. Rounds
    after it are repeated as well, since each is pruned within the one before.
    """
    first = next((k for k, _ in wanted if run.done(round_key(seed, name, k)) is None), None)
    if first is None:
        return []
    before = run.round(round_key(seed, name, first - 1)) if first > 1 else None
    if before is not None and not (before / _RAW).exists() and Ticket.load(before).trained is not None:
        first = 1
    for number, _ in wanted[first - 1 :]:
        (run.folder / "rounds" / round_key(seed, name, number) / "done.json").unlink(missing_ok=True)
    return wanted[first - 1 :]


def _ladder(plan: Plan, seed: int) -> Ladder:
    images = opened_images(plan.config)
    same_data(plan.config.dataset, images.sha256, plan.data)
    return Ladder(plan.config, images, seed)


def _checkpoint(ladder: Ladder, run: Run, key: str, plan: Plan) -> None:
    """Checkpoints within a round lie in its folder until it is done."""
    seconds = plan.config.training.save_every
    where = run.folder / "rounds" / key / _TRAINING
    ladder.keep_states(Checkpoints(where, seconds=seconds, about={"data": plan.data, **plan.identity}))


def _raw(ladder: Ladder) -> dict[str, Tensor]:
    """The dense network's own weights, as its trainer remembers them."""
    held = ladder.recipe.train.kept[ladder.recipe.steps]
    return {n.removeprefix("model."): value for n, value in held.items() if n.startswith("model.")}


def _start(folder: Path, raw: Mapping[str, Tensor]) -> Ticket:
    """A round's ticket with its own weights in place of the averages."""
    ticket = Ticket.load(folder)
    return replace(ticket, trained={**(ticket.trained or {}), **raw})


def _control(ladder: Ladder, kind: str, rung: Rung) -> Judgement:
    """A control's judgement; one that diverges has no scores, and the search goes on."""
    try:
        return ladder.control(kind, rung.ticket)
    except DivergedError:
        scores = dict.fromkeys(rung.judged.scores, math.nan)
        return Judgement(scores, np.zeros_like(rung.judged.shown), rung.judged.about)


@contextmanager
def _last_good(ladder: Ladder, folder: Path) -> Iterator[None]:
    """Keep the last good weights of a training that diverges, and say where."""
    try:
        yield
    except DivergedError as error:
        path = folder / "last-good.safetensors"
        save_file({name: value.contiguous() for name, value in ladder.recipe.model.state_dict().items()}, path)
        raise DivergedError(f"{error} Those weights are in {path}; finished rounds are kept.") from error


def _keep_raw(folder: Path, ticket: Ticket) -> None:
    if ticket.trained is None:
        return
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f".{_RAW}.part"
    save_file({name: value.contiguous() for name, value in ticket.trained.items()}, part)
    part.replace(folder / _RAW)


def _finish(run: Run, key: str, plan: Plan, rung: Rung, name: str, controls: Mapping[str, Judgement]) -> None:
    """Save ticket and pictures, then say that the round is done."""
    folder = run.round(key)
    recipe = {**rung.ticket.recipe, "find": dict(plan.identity)}
    trained = None if rung.ticket.trained is None else dict(rung.sampled)
    metrics = {**rung.ticket.metrics, "quality": rung.judged.scores}
    replace(rung.ticket, recipe=recipe, trained=trained, metrics=metrics).save(folder)
    shown = {"ticket": rung.judged.shown} | {kind: judged.shown for kind, judged in controls.items()}
    np.savez_compressed(folder / "samples.npz", **cast(Any, shown))
    shutil.rmtree(folder / _TRAINING, ignore_errors=True)
    masks = rung.ticket.masks
    run.event("memory", key=key, peak_rss_mb=peak_rss_mb())
    run.finish(
        key,
        {
            "seed": rung.ticket.seeds[0],
            "method": name,
            "round": rung.number,
            "weights": {"total": masks.total, "kept": masks.kept},
            "by_layer": {tensor: list(count) for tensor, count in masks.counts().items()},
            "quality": rung.judged.scores,
            "controls": {kind: judged.scores for kind, judged in controls.items()},
            "seconds": rung.seconds,
            "cpu_seconds": rung.cpu_seconds,
            "metrics": rung.ticket.metrics,
            "about": rung.judged.about,
        },
    )
