"""Training for the schedule that a search has found: each ticket on its own stretch, or all with shared weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from common.ticket import Ticket
from gen_tickets._checkpoint import Checkpoints
from gen_tickets._intervals import SKIP, refuse
from gen_tickets.data import Images
from gen_tickets.ddpm import Settings
from gen_tickets.denoising import Denoising
from gen_tickets.recipes.ddpm import task_of
from gen_tickets.stepwise.curves import Curve, numbers
from gen_tickets.stepwise.family import DENSE, Family, family
from gen_tickets.stepwise.joint import Joining, joint
from gen_tickets.stepwise.search import Found, Searcher
from gen_tickets.stepwise.tune import Tuning, tune

__all__ = ["Curves", "trained"]

Curves = tuple[Mapping[str, np.ndarray], Sequence[int]]
_BATCH, _DECAY, _CHECKS, _TENTH = 64, 0.99, 10, 10


def trained(searcher: Searcher, found: Found, images: Images) -> tuple[Family, Curves]:
    """Train the networks of a schedule for it, as the settings say; what was trained before is read back.

    Args:
        searcher: of the search.
        found: by it.
        images: to train on, but for a tenth that losses are measured on.

    Returns:
        The family with the trained networks in place, and network to held-out losses (checks, intervals of the grid)
        with the steps of the checks.

    Raises:
        ScheduleError: no ticket is scheduled, so that there is nothing to train.
    """
    names = [found.names[choice] for choice in found.chosen.assignment]
    if not set(names) - {DENSE, SKIP}:
        refuse(f"a schedule of {' and '.join(dict.fromkeys(names))} alone", "one with a ticket to train",
               "Lower the --budget, or leave out --tune and --joint.")  # fmt: skip
    task, held_out = _split(task_of(searcher.family.network, images, "train"))
    bins = numbers(searcher.grid.bounds, searcher.levels)
    curve = Curve(held_out, bins)
    made, curves = (_tuned if searcher.config.tune else _joint)(searcher, names, task, curve)
    places = {name: member.folder for name, member in searcher.family.members.items()} | made
    return family(list(places.values())), curves


def _tuned(searcher: Searcher, names: Sequence[str], task: Denoising, curve: Curve) -> tuple[dict[str, str], Curves]:
    """Every scheduled ticket, on the timesteps of its own intervals."""
    config, made, curves = searcher.config, dict[str, str](), dict[str, np.ndarray]()
    how = Tuning(config.tune, _settings(searcher))
    for name in dict.fromkeys(names):
        if name in (DENSE, SKIP):
            continue
        key = f"training/{name}-{''.join(str(int(one == name)) for one in names)}"
        done = searcher.store.done(key)
        if done is None:
            own = torch.tensor([number for number, other in enumerate(names) if other == name])
            ticket = Ticket.load(searcher.family.members[name].folder)
            dense = searcher.family.models[DENSE]
            timesteps, kept = torch.isin(curve.bins, own), _checkpoints(searcher, key)
            result = tune(ticket, dense, task, timesteps, how, curve, checkpoints=kept)
            result.ticket.save(searcher.store.round(key))
            done = {"before": list(result.before), "after": list(result.after)}
            searcher.store.finish(key, done)
        made[name] = str(_folder(searcher, key))
        curves[name] = np.array([done["before"], done["after"]])
        before, after = (np.mean([done[when][i] for i, other in enumerate(names) if other == name])
                         for when in ("before", "after"))  # fmt: skip
        searcher.console.line(f"{name}: loss on its stretch {before:.4g} before, {after:.4g} after {how.steps} steps")
    return made, (curves, [0, how.steps])


def _joint(searcher: Searcher, names: Sequence[str], task: Denoising, curve: Curve) -> tuple[dict[str, str], Curves]:
    """Dense network and scheduled tickets, with shared weights."""
    config, key = searcher.config, f"training/joint-{'-'.join(str(searcher.names.index(one)) for one in names)}"
    used = [name for name in dict.fromkeys(names) if name not in (DENSE, SKIP)]
    done = searcher.store.done(key)
    if done is None:
        how = Joining(config.joint, _settings(searcher), every=max(1, config.joint // _CHECKS))
        dense, *rest = (Ticket.load(searcher.family.members[name].folder) for name in [DENSE, *used])
        tickets = dict(zip(used, rest, strict=True))
        model, kept = searcher.family.models[DENSE], _checkpoints(searcher, key)
        result = joint(dense, tickets, model, task, names, how, curve, checkpoints=kept)
        for name, ticket in {DENSE: result.dense, **result.tickets}.items():
            ticket.save(searcher.store.round(key) / name)
        checks = [check._asdict() for check in result.history]
        done = {"checks": checks, "stopped": result.stopped}
        searcher.store.finish(key, done)
    if done["stopped"]:
        searcher.console.warning(done["stopped"])
    curves = {what: np.array([check[what] for check in done["checks"]]) for what in ("dense", "scheduled")}
    folder = _folder(searcher, key)
    return {name: str(folder / name) for name in [DENSE, *used]}, (curves, [check["step"] for check in done["checks"]])


def _split(task: Denoising) -> tuple[Denoising, Denoising]:
    """The training images without the last tenth, and that tenth."""
    count = max(1, len(task.images) // _TENTH)
    labels = (None, None) if task.labels is None else (task.labels[:-count], task.labels[-count:])
    parts = task.images[:-count], task.images[-count:]
    first, last = (Denoising(own, known, task.scheduler) for own, known in zip(parts, labels, strict=True))
    return first, last


def _settings(searcher: Searcher) -> Settings:
    """An average that ends with a hundredth of its start at most, as in long trainings, and a short warm-up."""
    steps = searcher.config.tune or searcher.config.joint
    decay = min(_DECAY, 0.01 ** (1 / steps))
    return Settings(batch=_BATCH, lr=searcher.config.lr, warmup=min(50, steps // 10), decay=decay)


def _checkpoints(searcher: Searcher, key: str) -> Checkpoints:
    """Within the training of a key; cleared away with it."""
    return Checkpoints(_folder(searcher, key) / "training", seconds=300.0, about={"key": key})


def _folder(searcher: Searcher, key: str) -> Path:
    return searcher.store.folder / "rounds" / key
